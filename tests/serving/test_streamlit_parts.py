"""What is behind the pages: links between modules, runs, reports, downloads, settings."""

import base64
import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penumbra.errors import PenumbraError, RunError, SettingsError
from penumbra.inference.contract import load_predictor
from penumbra.noise.patterns import Pattern
from penumbra.pages.render import render
from penumbra.serving.ui import canvas, figures, theme
from penumbra.serving.ui.backend import DoubtMap, Outcome, Question
from penumbra.serving.ui.canvas import Heat
from penumbra.serving.ui.downloads import archive
from penumbra.serving.ui.linker import linked
from penumbra.serving.ui.local import LocalBackend
from penumbra.serving.ui.report_frame import guarded, policy, sandbox
from penumbra.serving.ui.reports import evaluations_of, settings_of
from penumbra.serving.ui.runs import named_runs, offered_runs, runs_below
from penumbra.serving.ui.samples import sample_image, sample_names


def outcome(values=None):
    values = np.linspace(0, 0.7, 12, dtype=np.float32).reshape(3, 4) if values is None else values
    mask = (values > 0.3).astype(np.uint8)
    return Outcome(
        picture=np.zeros((*values.shape, 3), np.uint8), mask=mask, foreground=values,
        confidence=1 - values, doubt={"entropy": DoubtMap(values, (0.0, float(np.log(2))), "nat")},
        classes=("background", "nerve"), sampler="noise:8", passes=8, seed=3,
    )  # fmt: skip


# --- modules -----------------------------------------------------------------------------------


def test_modules_come_after_what_they_import():
    sources = {
        "canvas/index.js": "import { a } from \"./a.js\";\nimport {\n  b,\n} from '../b.js';\n",
        "canvas/a.js": 'export * from "../b.js";\n',
        "b.js": "/** @import { X } from './types.js' */\nexport const b = 1;\n",
        "unused.js": "export {};\n",
    }
    found = dict(linked(sources, "canvas/index.js"))
    assert list(found) == ["b.js", "canvas/a.js", "canvas/index.js"]
    assert 'export * from "module:b.js";' in found["canvas/a.js"]
    assert '} from "module:b.js";' in found["canvas/index.js"]
    assert found["b.js"] == sources["b.js"]


@pytest.mark.parametrize(
    "sources",
    [
        {"a.js": 'import "./gone.js";'},
        {"a.js": 'import x from "https://elsewhere.example/x.js";'},
        {"a.js": 'import "./b.js";', "b.js": 'import "./a.js";'},
    ],
    ids=["missing", "from elsewhere", "circle"],
)
def test_what_cannot_be_linked_is_refused(sources):
    with pytest.raises(SettingsError, match="Expected the modules"):
        linked(sources, "a.js")


def test_the_canvas_is_in_the_script_whole():
    script = canvas.script()
    assert "mountCanvas" in script
    assert script.count("export default") == 1
    assert script.endswith("export default hostOf(entry);\n")
    for import_line in script.splitlines():
        assert not import_line.startswith("import ")


# --- what goes to the canvas -------------------------------------------------------------------


@given(low=st.floats(-5, 5), width=st.floats(0.01, 10), share=st.floats(-1, 2, allow_nan=False))
def test_levels_lie_between_the_ends_of_the_scale(low, width, share):
    values = np.full((1, 2), low + share * width, np.float32)
    heat = Heat(values, (low, low + width), "any")
    picture = np.zeros((1, 2, 3), np.uint8)
    said = canvas.message(picture, mask=None, classes=("background", "x"), heat=heat)
    level = zlib.decompress(base64.b64decode(said["heat"]["data"]))[0]
    assert abs(level / 255 - min(max(share, 0), 1)) <= 0.5 / 255 + 1e-4


def test_what_is_not_a_number_is_no_doubt():
    heat = Heat(np.array([[np.nan, 1.0]], np.float32), (0.0, 1.0), "any")
    picture = np.zeros((1, 2, 3), np.uint8)
    said = canvas.message(picture, mask=None, classes=("background", "x"), heat=heat)
    assert json.loads(json.dumps(said))["heat"]["scale"] == [0.0, 1.0]


# --- questions and answers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_",
    [{"threshold": 0.0}, {"threshold": 1.0}, {"strength": 2.1}, {"samples": 0}, {"seed": -1},
     {"mode": "loud"}, {"strength": float("nan")}],
    ids=str,
)  # fmt: skip
def test_impossible_questions_are_refused(given_):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        Question(model="a", **given_)


def test_an_unknown_model_is_refused():
    backend = LocalBackend({"otsu": "classical:otsu,foreground=dark"})
    with pytest.raises(PenumbraError, match="otsu"):
        backend.segment(sample_image("Ultrasound A").png, Question(model="../otsu"))


def test_a_local_answer_is_the_predictors():
    backend = LocalBackend({"otsu": "classical:otsu,foreground=dark"})
    sample = sample_image("Ultrasound A")
    answer = backend.segment(sample.png, Question(model="otsu", seed=5))
    predictor = load_predictor("classical:otsu,foreground=dark")
    image = np.asarray(Image.open(io.BytesIO(sample.png)))[..., None]
    assert np.array_equal(answer.mask, predictor([image])[0].mask)
    assert answer.seed == 5
    assert backend.folders() == {}


@pytest.mark.parametrize("name", sample_names())
def test_samples_are_the_same_at_every_call(name):
    with Image.open(io.BytesIO(sample_image(name).png)) as picture:
        assert picture.size == (256, 256)


def test_a_download_holds_everything_and_can_be_read_back():
    question = Question(model="a", mode="ensemble", pattern=Pattern(name="perlin"), seed=3)
    answer = outcome()
    packed = archive(answer, question)
    assert packed == archive(answer, question)
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        facts = json.loads(files.read("answer.json"))
        mask = np.asarray(Image.open(io.BytesIO(files.read("mask.png"))))
        levels = np.asarray(Image.open(io.BytesIO(files.read("entropy.png")))).astype(float)
        names = set(files.namelist())
    assert names == {"answer.json", "mask.png", "overlay.png", "heatmap.png", "probability.png",
                     "confidence.png", "entropy.png"}  # fmt: skip
    assert np.array_equal(mask, answer.mask)
    low, high = facts["maps"]["entropy"]["scale"]
    values = np.minimum(answer.doubt["entropy"].values, high)
    assert np.allclose(low + levels / 65535 * (high - low), values, atol=1e-5)
    assert facts["seed"] == 3
    assert facts["pattern"]["name"] == "perlin"


def test_a_histogram_counts_every_pixel():
    drawn = figures.histogram(np.array([0.0, 0.0, 5.0], np.float32), (0.0, 1.0), label="doubt")
    assert str(drawn).count('class="doubt"') == 2  # The value outside is at the end.
    assert figures.histogram(np.zeros(0, np.float32), (0.0, 1.0), label="doubt")


def test_a_history_needs_two_epochs():
    assert figures.history([]) is None
    assert figures.history([{"epoch": 0, "loss": 1.0}]) is None
    rows = [{"epoch": k, "loss": 1 / (k + 1), "validation_dice": None} for k in range(3)]
    assert "over 3 epochs" in str(figures.history(rows))


# --- runs and reports --------------------------------------------------------------------------


def run_at(folder):
    folder.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_runs_are_named():
    assert named_runs("a=x/y,classical:otsu") == {"a": "x/y", "classical:otsu": "classical:otsu"}
    assert offered_runs({"PENUMBRA_RUNS": "a=x"}) == {"a": "x"}
    for wrong in ("a=x,a=y", " , "):
        with pytest.raises(SettingsError):
            named_runs(wrong)


def test_runs_below_a_folder_are_found_and_links_are_not_followed(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", run_at(tmp_path / "elsewhere" / "c")
    run_at(here / "a")
    run_at(here / "x" / "b")
    run_at(here / ".hidden")
    (here / "linked").symlink_to(elsewhere)
    assert list(runs_below(here)) == ["a", "x/b"]
    monkeypatch.chdir(here)
    assert list(offered_runs({})) == ["a", "x/b"]
    monkeypatch.chdir(tmp_path / "elsewhere" / "c")
    assert list(offered_runs({}).values()) == ["classical:otsu,foreground=dark"]


def test_evaluations_inside_and_beside_a_run_are_found(tmp_path):
    run = run_at(tmp_path / "a")
    for folder, said in ((run / "test", "a"), (tmp_path / "of_a", str(run.resolve())),
                         (tmp_path / "of_b", "runs/b")):  # fmt: skip
        folder.mkdir()
        (folder / "report.html").write_text("<p>Hello")
        (folder / "metrics.json").write_text(json.dumps({"run": said}))
    found = evaluations_of(run)
    assert [one.name for one in found] == ["test", "of_a"]
    assert found[0].report() == "<p>Hello"
    assert found[0].overall() == []
    assert settings_of(run) is None
    (run / "test" / "report.html").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RunError, match=r"report\.html"):
        found[0].report()


def test_a_report_may_reach_nothing_and_runs_no_script_but_penumbras(tmp_path):
    page = guarded("<!doctype html><html><script>fetch('/v1/models')</script>")
    assert page.index(policy()) < page.index("<script>")
    assert "default-src 'none'" in policy()
    assert "connect-src" not in policy()
    (tmp_path / "one.html.j2").write_text("{% extends 'page.html.j2' %}")
    own = render(tmp_path / "one.html.j2", title="Report")
    allowed = re.findall(r"script-src '(sha256-[^']+)'", own)
    assert len(allowed) == 1
    assert policy().endswith(f"script-src '{allowed[0]}'")
    assert sandbox(own) == "allow-scripts"


@pytest.mark.parametrize(
    "meta",
    ['<meta http-equiv="refresh" content="0;url=https://elsewhere.example/">',
     "<META HTTP-EQUIV=refresh content=0>", "<meta\nhttp-equiv\n=\n're&#102;resh'>",
     '<meta http-equiv="Content-Security-Policy" http-equiv="refresh">'],
    ids=["plain", "capitals", "encoded", "twice"],
)  # fmt: skip
def test_a_page_that_could_go_elsewhere_runs_nothing(meta):
    assert sandbox(f"<!doctype html><p>Hello{meta}") == ""


# --- settings ----------------------------------------------------------------------------------


def test_nothing_is_told_to_anybody_and_nobody_else_is_let_in():
    options = theme.options()
    assert options["browser.gatherUsageStats"] is False
    assert options["server.address"] == "127.0.0.1"
    assert options["client.showErrorDetails"] == "none"
    assert options["server.enableStaticServing"] is False
    assert "server.enableXsrfProtection" not in options  # It is on by itself.


def test_streamlit_knows_every_setting():
    from streamlit import config

    assert theme.options().keys() <= config.get_config_options().keys()


def test_amber_stays_with_doubt():
    colours = {name: value for name, value in theme.options().items() if name.endswith("Color")}
    assert "#E89B1C" not in {str(value).upper() for value in colours.values()}


def test_modules_beside_the_script_hide_none_of_pythons():
    # Streamlit puts the script's folder first on the path.
    folder = Path(theme.CONFIG).parents[1]
    names = {path.stem for path in folder.iterdir()} - {"__init__"}
    assert not names & sys.stdlib_module_names


def test_a_spawned_process_that_imports_the_script_does_nothing():
    code = (
        "import runpy, sys; sys.argv = ['x'];"
        "runpy.run_module('penumbra.serving.streamlit_app', run_name='__mp_main__');"
        "print('streamlit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
