"""Every verb from the outside: what it writes and what it prints."""

import csv
import json
import math
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.imaging.write import read_unit_map

RUNNER = CliRunner()


def call(*arguments, code=0):
    """Run a verb in this process; its exit status must be `code`."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code).stdout)


def test_help_answers_quickly():
    best = math.inf
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "penumbra", "--help"], capture_output=True, check=True, text=True
        )
        best = min(best, time.perf_counter() - started)
    assert "evaluate" in done.stdout
    assert best < 0.7


@pytest.mark.parametrize(
    "verb",
    [
        ["split"],
        ["train"],
        ["predict"],
        ["evaluate"],
        ["benchmark"],
        ["dataset", "make"],
        ["models"],
    ],
)
def test_every_verb_has_help_and_json(verb):
    assert "--json" in call(*verb, "--help").stdout


def test_split_writes_a_manifest(phantom, tmp_path):
    out = tmp_path / "manifest.csv"
    document = call_json("split", f"folder:{phantom}", "--seed", 3, "--out", out)
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert len(rows) == sum(document["samples"].values()) == 24
    by_group = {}
    for row in rows:
        by_group.setdefault(row["group"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_group.values())
    assert "--force" in call("split", f"folder:{phantom}", "--out", out, code=1).output
    again = tmp_path / "again.csv"
    call("split", f"folder:{phantom}", "--seed", 3, "--out", again)
    assert [r["split"] for r in csv.DictReader(again.open(encoding="utf-8"))] == [
        r["split"] for r in rows
    ]


def test_train_from_a_manifest_uses_its_split(phantom, tmp_path, quick):
    manifest = tmp_path / "m.csv"
    call("split", f"folder:{phantom}", "--seed", 5, "--out", manifest)
    document = call_json("train", manifest, "--out", tmp_path / "run", *quick)
    assert document["epochs"] == 2
    kept = {r["id"]: r["split"] for r in csv.DictReader((tmp_path / "run" / "manifest.csv").open())}
    assert kept == {r["id"]: r["split"] for r in csv.DictReader(manifest.open())}


def test_predict_writes_what_is_promised(run, phantom, tmp_path):
    images = sorted((phantom / "images").iterdir())[:2]
    out = tmp_path / "out"
    document = call_json("predict", run, *images, "--out", out)
    assert len(document["predictions"]) == 2
    stem = images[0].stem
    for part in ("mask.png", "probability.png", "uncertainty.png", "overlay.png", "heatmap.png"):
        assert (out / f"{stem}_{part}").is_file()
    facts = json.loads((out / f"{stem}.json").read_text(encoding="utf-8"))
    assert facts["image"] == str(images[0])
    mask = np.array(Image.open(out / f"{stem}_mask.png"))
    raw = cv2.imread(str(out / f"{stem}_probability.png"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16
    assert mask.shape == raw.shape == (40, 40)
    probability = read_unit_map(out / f"{stem}_probability.png", scale=1.0)
    clear = np.abs(probability - 0.5) > 1e-3
    assert np.array_equal(mask[clear], (probability >= 0.5)[clear])
    doubt = read_unit_map(out / f"{stem}_uncertainty.png", scale=math.log(2))
    q = np.clip(probability, 1e-6, 1 - 1e-6)
    by_hand = -(q * np.log(q) + (1 - q) * np.log(1 - q))
    np.testing.assert_allclose(doubt, by_hand, atol=1e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds the whole path, not a name")
def test_a_folder_that_cannot_be_written_stops_the_batch(run, phantom, tmp_path):
    out = tmp_path / ("o" * 300)
    result = call("predict", run, phantom / "images", "--out", out, code=1)
    assert result.stderr.count("Expected ") == 1
    assert "Try a shorter --out." in result.stderr


def test_masks_beside_the_images_are_never_overwritten(run, phantom, tmp_path):
    image = shutil.copy(min((phantom / "images").iterdir()), tmp_path / "scan.png")
    (tmp_path / "scan_mask.png").write_text("years of work")
    result = call("predict", run, image, "--out", tmp_path, code=1)
    assert "another folder" in result.stderr
    assert (tmp_path / "scan_mask.png").read_text() == "years of work"


def test_evaluate_writes_metrics_and_report(run, phantom, tmp_path):
    out = tmp_path / "test"
    call("evaluate", run, run / "manifest.csv", "--split", "test", "--out", out)
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    wanted = {"dice", "iou", "precision", "recall", "specificity", "pixel_accuracy"}
    wanted |= {"boundary_f1", "hd95", "brier", "nll", "ece"}
    assert wanted <= set(document["overall"])
    assert set(document["overall"]["dice"]) == {"mean", "low", "high"}
    assert set(document["per_class"]) == {"background", "foreground"}
    rows = list(csv.DictReader((out / "per_image.csv").open(encoding="utf-8")))
    assert len({row["id"] for row in rows}) == document["n_images"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<img" in page


def test_a_layout_is_scored_on_the_runs_own_test_split(run, phantom, tmp_path):
    by_layout = call_json("evaluate", run, f"folder:{phantom}", "--out", tmp_path / "a")
    by_manifest = call_json("evaluate", run, run / "manifest.csv", "--out", tmp_path / "b")
    assert by_layout["overall"] == by_manifest["overall"]
    everything = call_json(
        "evaluate", run, f"folder:{phantom}", "--split", "all", "--out", tmp_path
    )
    assert everything["n_images"] == 24


def test_a_moved_source_is_scored_on_the_runs_test_split(phantom, tmp_path, quick):
    shutil.copytree(phantom, tmp_path / "here")
    call("train", f"folder:{tmp_path / 'here'}", "--out", tmp_path / "run", *quick)
    (tmp_path / "here").rename(tmp_path / "there")
    there = f"folder:{tmp_path / 'there'}"
    document = call_json("evaluate", tmp_path / "run", there, "--out", tmp_path / "test")
    assert document["n_images"] < 24
    assert document["threshold"] == 0.5


def test_a_run_is_not_compared_with_itself(run):
    result = call("benchmark", run / "manifest.csv", "--run", run, "--run", run, code=1)
    assert "twice" in result.stderr


def test_benchmark_compares(run, phantom, tmp_path, quick):
    other = tmp_path / "other"
    call("train", run / "manifest.csv", "--out", other, *quick, "--seed", 7)
    document = call_json(
        "benchmark", run / "manifest.csv", "--run", run, "--run", other, "--threshold", 0
    )
    assert len(document["runs"]) == 2
    text = call("benchmark", run / "manifest.csv", "--run", run, "--run", other).stdout
    assert "average IoU" in text
    assert "images under IoU 0.9" in text


def test_models_are_listed():
    names = [row["name"] for row in call_json("models")["models"]]
    assert names == ["unet", "noise-unet", "ssn-unet", "vgg16-unet", "vgg16-fcn8s", "wrap"]


def test_dataset_make_is_repeatable(tmp_path):
    for name in ("a", "b"):
        call("dataset", "make", "phantom", "--count", 6, "--size", 32, "--out", tmp_path / name)
    for folder in ("images", "masks", "truth", "readers"):
        files = sorted((tmp_path / "a" / folder).iterdir())
        assert files
        for file in files:
            assert file.read_bytes() == (tmp_path / "b" / folder / file.name).read_bytes()


def test_notes_and_epochs_go_to_standard_error(phantom, tmp_path, quick):
    result = call("train", f"folder:{phantom}", "--out", tmp_path / "a run", *quick)
    assert "samples to train" in result.stderr
    assert "epoch 1" in result.stderr
    assert f"penumbra evaluate '{tmp_path}/a run'" in result.stdout
