"""`penumbra export`: a tuned run as one whole model, and what it says of other runs."""

import json

import pytest
import torch
from transformers import SamModel
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.promptable.segmenter import PromptableSegmenter


def penumbra(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def tuned(phantom, tiny_sam, tmp_path_factory):
    out = tmp_path_factory.mktemp("export_verb") / "run"
    result = penumbra(
        "train", f"folder:{phantom}", "--model", f"sam:{tiny_sam}", "--tune", "decoder",
        "--out", out, "--epochs", "1", "--set", "training.threads=1",
        "--set", "tune.validation_images=1", "--set", "tune.least_area=4",
        "--set", "image.filters=[clahe]",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize(("name", "form"), [("whole", "transformers"), ("whole.pth", "meta")])
def test_the_exported_model_has_the_tuned_weights(tuned, tmp_path, name, form):
    out = tmp_path / name
    result = penumbra("export", tuned, "--out", out, "--offline", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["form"], document["out"]) == (form, str(out))
    wanted = PromptableSegmenter.from_pretrained(tuned, precision="float32").model.state_dict()
    if form == "transformers":
        found = SamModel.from_pretrained(out).state_dict()
    else:
        from penumbra.promptable.meta_weights import from_meta_names, read_meta_file

        found = from_meta_names(read_meta_file(out))
    assert found
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


def test_filters_are_named_since_no_model_holds_them(tuned, tmp_path):
    result = penumbra("export", tuned, "--out", tmp_path / "whole")
    assert result.exit_code == 0, result.output
    assert "Apply its filters to the images yourself: clahe" in result.stdout


def test_nothing_is_overwritten(tuned, tmp_path):
    (tmp_path / "mine.pth").write_bytes(b"mine")
    result = penumbra("export", tuned, "--out", tmp_path / "mine.pth")
    assert result.exit_code == 1
    assert "new or empty" in result.stderr
    assert (tmp_path / "mine.pth").read_bytes() == b"mine"


def test_other_runs_are_refused_in_one_sentence(run, tmp_path):
    result = penumbra("export", run, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1
    message = json.loads(result.stdout)["error"]["message"]
    assert "exporting such runs is not there yet" in message
    assert "Traceback" not in result.output
    missing = penumbra("export", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "no such folder" in missing.stderr
    assert not (tmp_path / "out").exists()
