"""`penumbra export`: a tuned run as one whole model, a network as one file."""

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


def test_a_promptable_run_takes_no_options_of_networks(tuned, tmp_path):
    result = penumbra("export", tuned, "--out", tmp_path / "whole", "--uncalibrated")
    assert result.exit_code == 1
    assert "for networks alone" in result.stderr
    assert not (tmp_path / "whole").exists()


def test_a_network_becomes_one_file_with_its_record(run, tmp_path):
    out = tmp_path / "network.pt2"
    result = penumbra("export", run, "--out", out)
    assert result.exit_code == 0, result.output
    first, *_, last = result.stdout.splitlines()
    assert f"{out} takes images whose sides are multiples of 16, from 32" in first
    assert last.startswith(f"Next: {out}.json says how images are prepared")
    record = json.loads((tmp_path / "network.pt2.json").read_text())
    images = torch.randn(3, 1, 48, 80)
    assert torch.export.load(out).module()(images).shape == (3, 2, 48, 80)
    again = penumbra("export", run, "--out", out, "--json")
    assert again.exit_code == 1
    assert "a new file" in json.loads(again.stdout)["error"]["message"]
    assert json.loads((tmp_path / "network.pt2.json").read_text()) == record


def test_json_is_all_that_is_printed(run, tmp_path):
    result = penumbra("export", run, "--out", tmp_path / "network.onnx", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["form"] == "onnx"
    assert document["versions"]["opset"] >= 18
    assert document["parity"]["largest"] <= document["parity"]["limit"] == 1e-4


def test_what_cannot_be_exported_is_refused_in_one_sentence(run, tmp_path):
    result = penumbra("export", run, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1
    message = json.loads(result.stdout)["error"]["message"]
    assert "FILE.pt2" in message
    assert "Traceback" not in result.output
    missing = penumbra("export", tmp_path / "nowhere", "--out", tmp_path / "out.pt2")
    assert missing.exit_code == 1
    assert "no such folder" in missing.stderr
    assert list(tmp_path.iterdir()) == []
