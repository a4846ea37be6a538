"""The pages of a server, asked as the server asks: through the queue, of an engine with bounds."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import penumbra.serving
from penumbra.errors import SettingsError
from penumbra.inference.presence import PresenceRule
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.serving.engine import load_engine
from penumbra.serving.settings import ServeSettings
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.ui.backend import Question, register
from penumbra.serving.ui.downloads import archive
from penumbra.serving.ui.samples import sample_image
from penumbra.serving.ui_backend import ServedBackend

AppTest = pytest.importorskip("streamlit.testing.v1").AppTest
SCRIPT = Path(penumbra.serving.__file__).with_name("streamlit_app.py")
MOST = 4


def saved(folder, n_classes=1, names=("background", "nerve")):
    torch.manual_seed(0)
    network = UNet(1, n_classes, width=4, depth=2).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, 32, 32))
    details = {"preprocess": {"size": 256}, "class_names": list(names)}
    save_model(folder, network.eval(), details=details)
    return str(folder)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """Networks of two classes, of three, and with a rule that empties every mask."""
    folder = tmp_path_factory.mktemp("served_pages")
    runs = {
        "two": saved(folder / "two"),
        "three": saved(folder / "three", 3, ("background", "nerve", "vessel")),
        "ruled": saved(folder / "ruled"),
    }
    PresenceRule(threshold=1.5).write(folder / "ruled")
    specs = [ModelSpec(name=name, source=path) for name, path in runs.items()]
    return load_engine(specs, WorkerSettings(precision="fp32", max_samples=MOST))


class Queue:
    """In place of the batcher: the engine at once."""

    def __init__(self, engine):
        self.engine = engine

    async def submit(self, job):
        (answer,) = self.engine.handle([job])
        if hasattr(answer, "detail"):
            raise SettingsError(answer.detail)
        return answer


@pytest.fixture
def backend(engine):
    """What the pages of a server ask, with at most four passes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    rows = [{"pid": 11, "state": "ready"}, {"pid": None, "state": "missing"}]
    service = SimpleNamespace(
        settings=ServeSettings.of(
            runs={"two": "two"}, ui=False, max_samples=MOST, request_timeout_s=300
        ),
        loop=loop, models=engine.models, batcher=Queue(engine),
        pool=SimpleNamespace(status=lambda: rows),
    )  # fmt: skip
    made = ServedBackend(service)
    made.rows = rows
    register(made)
    yield made
    register(None)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


@pytest.fixture
def app(backend):
    return AppTest.from_file(str(SCRIPT), default_timeout=60).run()


def captions(app):
    return " ".join(one.value for one in app.caption)


def test_a_server_of_few_passes_answers_every_mode(app):
    for mode in app.radio(key="mode").options:
        chosen = {"Own": "the model's own", "Monte Carlo": "monte_carlo"}.get(mode, mode.lower())
        app.radio(key="mode").set_value(chosen).run()
        assert not app.exception
        assert not app.error, (mode, [one.value for one in app.error])
        assert "seed 0" in captions(app)
    assert app.slider(key="samples").max == MOST
    assert "(4 passes)" in captions(app)
    app.switch_page("ui/pages/compare.py").run()
    assert not app.error
    assert len(app.table) == 3


@pytest.mark.parametrize("mode", [None, "disabled", "single"])
def test_a_number_of_passes_that_is_not_asked_for_is_not_refused(backend, mode):
    upload = sample_image("Ultrasound A").png
    assert backend.segment(upload, Question(model="two", mode=mode, samples=8)).passes == 1


@pytest.mark.parametrize("mode", ["ensemble", "monte_carlo"])
def test_more_passes_than_there_may_be_are_refused(backend, mode):
    with pytest.raises(SettingsError, match="at most 4"):
        backend.segment(b"", Question(model="two", mode=mode, samples=5))


@pytest.mark.parametrize("mode", ["disabled", "ensemble", "monte_carlo"])
def test_what_is_cut_under_the_image_is_what_the_mask_is_cut_from(backend, mode):
    upload = sample_image("Ultrasound A").png
    question = Question(model="two", mode=mode, strength=1.0, samples=2)
    answer = backend.segment(upload, question)
    assert np.array_equal(answer.mask, answer.cut >= np.float32(0.5))
    other = float(np.quantile(answer.cut, 0.7))
    again = backend.segment(upload, Question(model="two", mode=mode, strength=1.0, samples=2,
                                             threshold=other))  # fmt: skip
    assert np.array_equal(again.mask, answer.cut >= np.float32(other))
    assert answer.has_own_cut == (mode == "monte_carlo")
    assert (b"mask_probability.png" in archive(answer, question)) == answer.has_own_cut


def test_a_mask_that_was_emptied_says_so_and_has_no_slider(app):
    app.selectbox(key="model").set_value("ruled").run()
    assert any("presence rule emptied the mask" in one.value for one in app.info)
    assert "no map alone gives it at another threshold" in captions(app)
    app.selectbox(key="model").set_value("three").run()
    assert "The likeliest class wins" in captions(app)
    app.selectbox(key="model").set_value("two").run()
    assert not app.info
    assert "wins" not in captions(app)
    assert "no map alone" not in captions(app)


def test_the_models_of_other_workers_are_others(backend):
    before = backend.revision()
    backend.rows.append({"pid": 12, "state": "starting"})
    assert backend.revision() == before
    backend.rows[:] = [{"pid": 11, "state": "leaving"}, {"pid": 12, "state": "busy"}]
    assert backend.revision() != before
    backend.rows[1] = {"pid": 12, "state": "ready"}
    assert backend.revision() == "12"
