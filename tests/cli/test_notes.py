"""What the verbs say beside their results, so that a figure is not taken for more than it is."""

import json
import re
import shutil

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.inference.calibration import AreaInterval, Calibration


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize(
    ("fitted", "split", "said"),
    [("val", "val", True), ("val", "test", False), ("all", "test", True), (None, "test", False)],
)
def test_a_figure_on_calibrated_samples_is_called_too_good(
    run, phantom, tmp_path, fitted, split, said
):
    own = tmp_path / "run"
    shutil.copytree(run, own)
    if fitted is not None:
        Calibration(record={"split": fitted, "source": "folder:set"}).write(own)
    found = invoke(
        "evaluate", own, f"folder:{phantom}", "--split", split, "--out", tmp_path / "out"
    )
    assert ("it looks too good here" in found.output) == said
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    on = {"source": "folder:set", "split": fitted}
    assert document["calibrated_on"] == (None if fitted is None else on)
    number = document["n_groups"]
    groups = f"{number} group{'s' * (number != 1)} say little"
    assert (groups in found.output) == (number < 5)


@pytest.mark.parametrize(
    ("sampler", "says"),
    [("deterministic", "makes 1 pass;"), ("dropout:2", "makes 2 passes; all are kept")],
)
def test_more_samples_than_there_are_passes_is_said(run, phantom, tmp_path, sampler, says):
    image = min((phantom / "images").iterdir())
    found = invoke(
        "predict", run, image, "--sampler", sampler, "--keep-samples", "5", "--out", tmp_path
    )
    assert says in found.output


def test_an_interval_without_ends_says_so(run, phantom, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(run, own)
    area = AreaInterval(
        level=0.9, class_names=("foreground",), quantile=(None,), group_quantile=(None,),
        n_groups=3,
    )  # fmt: skip
    Calibration(area=area).write(own)
    image = min((phantom / "images").iterdir())
    found = invoke("predict", own, image, "--out", tmp_path, "--json")
    (prediction,) = json.loads(found.stdout)["predictions"]
    (interval,) = json.loads((tmp_path / f"{image.stem}.json").read_text())[
        "area_intervals"
    ].values()
    assert interval["bounded"] is False
    assert prediction["flagged"] is None


def test_a_misspelt_manifest_is_not_called_a_folder(run, tmp_path):
    wish = ["evaluate", str(run), str(tmp_path / "no.csv"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, wish)
    assert result.exit_code == 1
    assert "the manifest" in result.output
    assert "checking the spelling" in result.output


def _verbs(command, words=()):
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, inner in command.commands.items():
        if not inner.hidden:
            yield from _verbs(inner, (*words, name))


def test_help_swallows_no_word_in_brackets():
    """Rich takes [sam] for a style unless it is escaped."""
    found = set()
    for words, command in _verbs(get_command(app)):
        texts = [command.help, *(getattr(each, "help", None) for each in command.params)]
        named = {word for text in texts for word in re.findall(r"\[[a-z#/@][a-z-]*\]", text or "")}
        shown = "".join(invoke(*words, "--help").stdout.split()) if named else ""
        assert named == {word for word in named if word in shown}, words
        assert "\\[" not in shown
        found |= named
    assert "[export]" in found


@pytest.mark.parametrize(
    ("stop", "status", "said"), [((), 130, "the keyboard"), (("SIGTERM",), 143, "SIGTERM")]
)
def test_what_stopped_a_verb_is_named(monkeypatch, tmp_path, stop, status, said):
    def opened(*_, **__):
        raise KeyboardInterrupt(*stop)

    monkeypatch.setattr("penumbra.data.layouts.open_source", opened)
    words = ["split", "folder:x", "--out", str(tmp_path / "m.csv")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == status
    assert f"Stopped by {said}" in done.output or f"({said})" in done.output
