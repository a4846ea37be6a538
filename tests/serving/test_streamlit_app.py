"""The pages of the Streamlit app, run by Streamlit's own tester."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penumbra.serving
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.serving.specs import WorkerSettings
from penumbra.serving.ui import session
from penumbra.serving.ui.backend import register
from penumbra.serving.ui.local import LocalBackend

AppTest = pytest.importorskip("streamlit.testing.v1").AppTest
SCRIPT = Path(penumbra.serving.__file__).with_name("streamlit_app.py")
PAGES = {name: f"ui/pages/{name}.py" for name in ("compare", "noise", "report")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "nerve"
    details = {"preprocess": {"size": 32}, "class_names": ["background", "nerve"]}
    save_model(folder, UNet(1, 2, width=4, depth=2), details=details)
    return folder


class Counted(LocalBackend):
    asked = 0

    def segment(self, upload, question):
        self.asked += 1
        return super().segment(upload, question)


@pytest.fixture
def backend(run):
    runs = {"nerve": str(run), "otsu": "classical:otsu,foreground=dark"}
    made = Counted(runs, settings=WorkerSettings(max_samples=12, max_upload_bytes=100_000))
    register(made)
    yield made
    register(None)


@pytest.fixture
def app(backend):
    return AppTest.from_file(str(SCRIPT), default_timeout=60).run()


def png(side=24, seed=0):
    held = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def status(app):
    """The line under the canvas."""
    return next(one.value for one in app.caption if "seed" in one.value)


def upload(app, name, data, kind="image/png"):
    app.segmented_control(key="source").set_value("Upload").run()
    return app.file_uploader(key="file").set_value((name, data, kind)).run()


def test_a_sample_is_segmented_at_once(app, backend):
    assert not app.exception
    assert not app.error
    assert backend.asked == 1
    assert app.metric[0].label == "Area of nerve"
    assert "256 × 256" in status(app)
    assert "deterministic (1 pass)" in status(app)


def test_what_was_asked_before_is_not_asked_again(app, backend):
    app.slider(key="threshold").set_value(0.8).run()
    assert backend.asked == 2
    app.slider(key="threshold").set_value(0.5).run()
    app.selectbox(key="layer").set_value("confidence").run()
    assert backend.asked == 2


def test_the_parameters_reach_the_model(app):
    app.radio(key="mode").set_value("ensemble").run()
    app.slider(key="strength").set_value(0.6).run()
    app.selectbox(key="pattern").set_value("perlin").run()
    app.slider(key="length").set_value(16).run()
    app.slider(key="samples").set_value(4).run()
    app.number_input(key="seed").set_value(7).run()
    assert not app.exception
    assert "noise:4@0.6~perlin16 (4 passes)" in status(app)
    assert "seed 7" in status(app)


def test_model_and_mode_are_kept_in_the_address(backend):
    app = AppTest.from_file(str(SCRIPT), default_timeout=60)
    app.query_params["model"] = "otsu"
    app.query_params["mode"] = "monte_carlo"  # Which a classical method does not have.
    app.run()
    assert app.selectbox(key="model").value == "otsu"
    assert app.radio(key="mode").value == "the model's own"
    app.radio(key="mode").set_value("disabled").run()
    assert "disabled" in app.query_params["mode"]  # As text or in a list, by who set it.
    app.selectbox(key="model").set_value("nerve").run()
    assert set(app.query_params) == {"mode"}
    assert not app.exception


def test_every_mode_gives_its_maps(app):
    offered = {}
    for mode in ("disabled", "single", "ensemble", "monte_carlo"):
        app.radio(key="mode").set_value(mode).run()
        assert not app.exception
        offered[mode] = set(app.selectbox(key="layer").options)
    assert "Mutual information" not in offered["disabled"]
    assert {"Entropy", "Mutual information", "Variance", "Confidence"} <= offered["monte_carlo"]


def test_a_threshold_moves_the_area(app):
    areas = []
    for threshold in (0.05, 0.95):
        app.slider(key="threshold").set_value(threshold).run()
        areas.append(int(app.metric[0].value.removesuffix(" px").replace(" ", "")))
    assert areas[0] > areas[1]


def test_a_classical_method_offers_no_noise(app):
    app.selectbox(key="model").set_value("otsu").run()
    assert not app.exception
    assert app.radio(key="mode").options == ["Own", "Disabled"]


def test_an_upload_is_segmented(app):
    upload(app, "mine.png", png())
    assert not app.exception
    assert "mine.png" in status(app)
    assert "24 × 24" in status(app)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no image at all", "another kind"),
        (png()[:60], "damaged"),
        (png(side=400), "at most 100,000 bytes"),
    ],
    ids=["text", "damaged", "large"],
)
def test_a_bad_upload_is_a_sentence(app, data, says):
    upload(app, "bad.png", data)
    assert not app.exception
    assert len(app.error) == 1
    assert says in app.error[0].value
    assert "/tmp" not in app.error[0].value


def test_an_upload_is_still_there_after_another_page(app):
    upload(app, "mine.png", png())
    app.switch_page(PAGES["noise"]).run()
    app.switch_page("ui/pages/segment.py").run()
    assert "mine.png" in status(app)


def test_a_removed_upload_is_no_longer_in_use(app):
    upload(app, "mine.png", png())
    app.file_uploader(key="file").set_value(None).run()
    assert not app.exception
    assert not any("seed" in one.value for one in app.caption)
    assert "Give an image on the left" in app.info[0].value
    upload(app, "other.png", png(seed=1))
    app.switch_page(PAGES["noise"]).run()
    app.switch_page("ui/pages/segment.py").run()
    assert any("given before: other.png" in one.value for one in app.caption)
    app.button(key="forget").click().run()
    assert "Give an image on the left" in app.info[0].value


def test_two_sessions_share_no_image(app, backend):
    upload(app, "mine.png", png())
    asked = backend.asked
    other = AppTest.from_file(str(SCRIPT), default_timeout=60).run()
    other.segmented_control(key="source").set_value("Upload").run()
    assert "Give an image on the left" in other.info[0].value
    assert "penumbra_upload" in app.session_state
    assert "penumbra_upload" not in other.session_state
    upload(other, "yours.png", png(seed=1))
    assert "yours.png" in status(other)
    assert backend.asked == asked + 2
    assert "mine.png" in status(app.run())
    assert backend.asked == asked + 2


def test_models_that_were_read_anew_are_asked_again(app, backend, monkeypatch):
    app.run()
    assert backend.asked == 1
    monkeypatch.setattr(backend, "revision", lambda: "another")
    app.run()
    assert backend.asked == 2


def test_evaluations_of_one_name_are_told_apart(app, backend, monkeypatch, tmp_path):
    for folder in ("of_a/test", "of_b/test"):
        (tmp_path / "nerve" / folder).mkdir(parents=True)
        (tmp_path / "nerve" / folder / "report.html").write_text(f"<p>{folder}")
    monkeypatch.setattr(backend, "folders", lambda: {"nerve": tmp_path / "nerve"})
    app.switch_page(PAGES["report"]).run()
    offered = app.selectbox(key="report_evaluation").options
    assert offered == ["nerve/of_a/test", "nerve/of_b/test"]


def test_the_modes_stand_side_by_side(app):
    app.switch_page(PAGES["compare"]).run()
    assert not app.exception
    titles = " ".join(one.value for one in app.markdown)
    for word in ("Disabled", "Single", "Ensemble"):
        assert word in titles
    assert len(app.table) == 3
    assert len(app.get("image")) == 6


def test_a_classical_method_stands_alone(app):
    app.selectbox(key="model").set_value("otsu").run()
    app.switch_page(PAGES["compare"]).run()
    assert len(app.table) == 1
    assert "one way alone" in app.info[0].value


def test_the_patterns_are_shown_with_their_parameters(app):
    app.switch_page(PAGES["noise"]).run()
    assert not app.exception
    assert len(app.get("image")) == 4
    app.slider(key="noise_length").set_value(64).run()
    assert sum("64 px" in one.value for one in app.code) == 3


def test_a_run_without_evaluations_says_how_to_make_one(app):
    app.switch_page(PAGES["report"]).run()
    assert not app.exception
    assert any("penumbra evaluate" in one.value for one in app.info)


def test_an_evaluation_is_shown(app, run):
    folder = run / "evaluation"
    folder.mkdir()
    (folder / "report.html").write_text("<!doctype html><h1>Dice 0.9</h1>")
    (folder / "metrics.json").write_text('{"overall": {"dice": {"mean": 0.9}}}')
    (run / "experiment.yaml").write_text("seed: 3\n")
    rows = ['{"epoch": 0, "loss": 0.9}', '{"epoch": 1, "loss": 0.4, "validation_dice": 0.6}']
    (run / "history.jsonl").write_text("\n".join(rows))
    app.switch_page(PAGES["report"]).run()
    assert not app.exception
    assert app.dataframe[0].value["mean"].tolist() == [0.9]
    assert any("seed: 3" in one.value for one in app.code)
    (run / "history.jsonl").write_text("{")
    app.run()
    assert not app.exception
    assert "one JSON object a line" in app.error[0].value


def test_runs_come_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("PENUMBRA_RUNS", f"mine={run}")
    session._local.clear()
    app = AppTest.from_file(str(SCRIPT), default_timeout=60).run()
    assert not app.exception
    assert app.selectbox(key="model").options == ["mine"]
    session._local.clear()


def test_a_run_that_cannot_be_loaded_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PENUMBRA_RUNS", f"gone={tmp_path / 'gone'}")
    session._local.clear()
    app = AppTest.from_file(str(SCRIPT), default_timeout=60).run()
    assert not app.exception
    assert app.error[0].value.startswith("Expected ")
    session._local.clear()
