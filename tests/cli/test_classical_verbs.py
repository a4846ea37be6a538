"""Classical methods under the verbs of a run."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Images whose foreground is plainly dark, with masks."""
    folder = tmp_path_factory.mktemp("classical") / "set"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:40, :48]
    for index in range(12):
        mask = (rows - 20) ** 2 + (columns - 15 - index) ** 2 < 80
        noise = np.random.default_rng(index).normal(0, 8, mask.shape)
        image = np.clip(np.where(mask, 60, 160) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"p{index}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"p{index}.png")
    return folder


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("method", ["otsu", "grabcut"])
def test_evaluate_learns_the_foreground_from_training_samples(bright, tmp_path, method):
    out = tmp_path / "out"
    result = invoke("evaluate", f"classical:{method}", f"folder:{bright}", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert document["run"] == f"classical:{method},foreground=dark"
    assert document["cost"] == "no forward pass"
    assert document["overall"]["dice"]["mean"] > 0.95
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"classical:{method},foreground=dark" in report
    assert "no training" in report
    assert (out / "per_image.csv").is_file()


def test_what_is_scored_is_never_learned_from(bright, tmp_path):
    result = invoke("evaluate", "classical:otsu", f"folder:{bright}", "--out", tmp_path,
                    "--split", "all")  # fmt: skip
    assert result.exit_code == 1
    assert "foreground=bright" in result.output
    said = invoke("evaluate", "classical:otsu,foreground=dark", f"folder:{bright}",
                  "--out", tmp_path / "all", "--split", "all")  # fmt: skip
    assert said.exit_code == 0, said.output


def test_shifts_and_thresholds_are_those_of_any_run(bright, tmp_path):
    result = invoke("evaluate", "classical:otsu", f"folder:{bright}", "--out", tmp_path,
                    "--shift", "blur:2", "--threshold", "0.7")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "shift" / "blur-2" / "report.html").is_file()
    assert json.loads((tmp_path / "metrics.json").read_text())["threshold"] == 0.7


@pytest.mark.parametrize("option", [("--sampler", "noise:4"), ("--uncalibrated",)])
def test_options_of_networks_are_refused(bright, tmp_path, option):
    result = invoke("evaluate", "classical:otsu", f"folder:{bright}", "--out", tmp_path, *option)
    assert result.exit_code == 1
    assert "a classical method" in result.output


def test_a_benchmark_shows_what_a_network_buys(phantom, run, tmp_path):
    result = invoke(
        "benchmark", f"folder:{phantom}", "--run", run, "--run", "classical:otsu",
        "--run", "classical:adaptive,block=21", "--out", tmp_path, "--json",
    )  # fmt: skip
    document = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in document["runs"]]
    assert names == ["run", "classical:otsu", "classical:adaptive,block=21"], result.output
    assert len({row["n_images"] for row in document["runs"]}) == 1
    assert all(row["n_paired_images"] == row["n_images"] for row in document["runs"][1:])


def test_predict_goes_on_after_a_bad_file(bright, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    image = bright / "images" / "p0.png"
    result = invoke("predict", "classical:otsu,foreground=dark", tmp_path / "bad.png", image,
                    "--out", tmp_path / "out", "--json")  # fmt: skip
    assert result.exit_code == 1
    written = json.loads((tmp_path / "out" / "p0.json").read_text(encoding="utf-8"))
    assert written["run"] == "classical:otsu,foreground=dark"
    found = np.asarray(Image.open(tmp_path / "out" / "p0_mask.png"))
    truth = np.asarray(Image.open(bright / "masks" / "p0.png")) > 0
    assert ((found == 1) == truth).mean() > 0.98


def test_predict_asks_what_the_foreground_is(bright, tmp_path):
    result = invoke("predict", "classical:otsu", bright / "images", "--out", tmp_path)
    assert result.exit_code == 1
    assert "foreground=bright" in result.output


def test_more_than_two_classes_are_refused(tmp_path):
    for split in ("train", "val", "test"):
        for folder in (split, f"{split}annot"):
            place = tmp_path / "set" / folder
            place.mkdir(parents=True)
            Image.fromarray(np.ones((16, 16), np.uint8)).save(place / f"{split}.png")
    result = invoke("evaluate", "classical:otsu", f"camvid:{tmp_path / 'set'}",
                    "--out", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 1
    assert "two classes" in result.output
