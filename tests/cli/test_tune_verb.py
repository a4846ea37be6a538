"""`penumbra train --model sam:NAME`, and what other verbs say about such a run."""

import json

import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app

QUICK = [
    "--epochs", "1", "--set", "training.threads=1", "--set", "tune.validation_images=1",
    "--set", "tune.least_area=4",
]  # fmt: skip


def penumbra(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def tuned(phantom, tiny_sam, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune_verb") / "run"
    result = penumbra(
        "train", f"folder:{phantom}", "--model", f"sam:{tiny_sam}", "--tune", "decoder",
        "--out", out, *QUICK, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["epochs"] == 1
    return out


def test_the_run_says_how_it_was_made(tuned):
    info = json.loads((tuned / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["kind"] == "promptable"
    assert 0 < info["tuned_parameters"] < info["parameters"]


def test_resume_knows_a_tuning_by_its_folder(tuned):
    result = penumbra("train", "--out", tuned, "--resume", "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert "after 2 epochs" in result.stdout
    assert "penumbra segment IMAGE --box" in result.stdout


def test_an_experiment_with_a_section_tune_is_a_tuning(tuned, tmp_path):
    result = penumbra(
        "train", "--experiment", tuned / "experiment.yaml", "--epochs", "1",
        "--tune", "lora", "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_predict_says_what_to_use_instead(tuned, phantom, tmp_path):
    result = penumbra("predict", tuned, phantom / "images", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "penumbra segment IMAGE --box" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "unet", "--tune", "lora"], "sam:NAME"),
        (["--model", "sam:small", "--width", "8"], "--width"),
        (["--model", "sam:small", "--tune", "some"], "tune.mode"),
        (["--model", "sam:small", "--set", "tune.klicks=2"], "clicks"),
        (["--model", "sam:no/such/place"], "no/such/place"),
    ],
)
def test_mistakes_are_said_in_one_sentence(phantom, tmp_path, options, said):
    result = penumbra("train", f"folder:{phantom}", "--out", tmp_path / "run", *options)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()
