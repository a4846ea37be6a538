"""Every verb from the outside: what it writes, what it prints, and how it takes bad input."""

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
from penumbra.data.phantom import make_phantom
from penumbra.imaging.write import read_unit_map

RUNNER = CliRunner()
QUICK = [
    "--set", "image.size=32", "--set", "training.samples_per_epoch=32",
    "--set", "training.threads=1",
    "--width", "4", "--epochs", "2",
]  # fmt: skip


def call(*arguments, code=0):
    """Run a verb in this process; its exit status must be `code`."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "set"
    make_phantom(folder, count=24, size=40, seed=1, kinds=("ultrasound", "xray"))
    return folder


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    call("train", f"folder:{phantom}", "--out", out, *QUICK)
    return out


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


def test_train_from_a_manifest_uses_its_split(phantom, tmp_path):
    manifest = tmp_path / "m.csv"
    call("split", f"folder:{phantom}", "--seed", 5, "--out", manifest)
    document = call_json("train", manifest, "--out", tmp_path / "run", *QUICK)
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


def test_a_bad_file_does_not_stop_the_others(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("I am no image")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    out = tmp_path / "out"
    bad = [empty, text, cut, tmp_path / "absent.png"]
    document = call_json("predict", run, *bad, good, "--out", out, code=1)
    assert [p["image"] for p in document["predictions"]] == [str(good)]
    assert [f["image"] for f in document["findings"]] == [str(path) for path in bad]
    assert all(f["message"].startswith("Expected ") for f in document["findings"])
    assert all(path.name.startswith(good.stem) for path in out.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds the whole path, not a name")
def test_a_name_too_long_for_its_results_does_not_stop_the_others(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    (tmp_path / "in").mkdir()
    for name in ("a" * 245 + ".png", "fits" * 59 + ".png", "ok.png"):
        shutil.copy(good, tmp_path / "in" / name)
    out = tmp_path / "out"
    document = call_json("predict", run, tmp_path / "in", "--out", out, code=1)
    assert len(document["predictions"]) == 2
    (finding,) = document["findings"]
    assert finding["kind"] == "unwritable"
    assert finding["message"].endswith("Try a shorter file name.")
    assert "bytes" in finding["message"]
    assert not list(out.glob("aaa*"))
    assert not list(out.glob(".*"))
    assert len(list(out.glob("fits*"))) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds the whole path, not a name")
def test_a_folder_that_cannot_be_written_stops_the_batch(run, phantom, tmp_path):
    out = tmp_path / ("o" * 300)
    result = call("predict", run, phantom / "images", "--out", out, code=1)
    assert result.stderr.count("Expected ") == 1
    assert "Try a shorter --out." in result.stderr


def test_equal_names_do_not_overwrite_each_other(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    (tmp_path / "a").mkdir()
    copy = shutil.copy(good, tmp_path / "a" / good.name)
    call("predict", run, good, copy, "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 2


def test_odd_names_are_kept_apart_and_hidden_files_passed_over(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    for folder, name in (("a", "scan.png"), ("b", "SCAN.png"), ("a", "._scan.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(good, tmp_path / folder / name)
    expected = {"scan", "SCAN-2"}
    if sys.platform != "win32":
        shutil.copy(good, tmp_path / "b" / "back\\slash.png")
        expected.add("back_slash")
    call("predict", run, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == expected


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


def test_a_moved_source_is_scored_on_the_runs_test_split(phantom, tmp_path):
    shutil.copytree(phantom, tmp_path / "here")
    call("train", f"folder:{tmp_path / 'here'}", "--out", tmp_path / "run", *QUICK)
    (tmp_path / "here").rename(tmp_path / "there")
    there = f"folder:{tmp_path / 'there'}"
    document = call_json("evaluate", tmp_path / "run", there, "--out", tmp_path / "test")
    assert document["n_images"] < 24
    assert document["threshold"] == 0.5


def test_a_run_is_not_compared_with_itself(run):
    result = call("benchmark", run / "manifest.csv", "--run", run, "--run", run, code=1)
    assert "twice" in result.stderr


@pytest.mark.parametrize("verb", ["train", "evaluate", "benchmark"])
def test_a_target_that_the_manifest_has_not_is_refused(run, tmp_path, verb):
    table = run / "manifest.csv"
    arguments = {
        "train": [table, "--out", tmp_path / "r"],
        "evaluate": [run, table, "--out", tmp_path / "e"],
        "benchmark": [table, "--run", run],
    }[verb]
    result = call(verb, *arguments, "--target", "lungs", code=1)
    assert "the target for" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_benchmark_compares(run, phantom, tmp_path):
    other = tmp_path / "other"
    call("train", run / "manifest.csv", "--out", other, *QUICK, "--seed", 7)
    document = call_json(
        "benchmark", run / "manifest.csv", "--run", run, "--run", other, "--threshold", 0.9
    )
    assert len(document["runs"]) == 2
    text = call("benchmark", run / "manifest.csv", "--run", run, "--run", other).stdout
    assert "average IoU" in text
    assert "images under IoU 0.9" in text


def test_models_are_listed():
    names = [row["name"] for row in call_json("models")["models"]]
    assert names == ["unet", "noise-unet", "wrap"]


def test_dataset_make_is_repeatable(tmp_path):
    for name in ("a", "b"):
        call("dataset", "make", "phantom", "--count", 6, "--size", 32, "--out", tmp_path / name)
    for folder in ("images", "masks", "truth", "readers"):
        files = sorted((tmp_path / "a" / folder).iterdir())
        assert files
        for file in files:
            assert file.read_bytes() == (tmp_path / "b" / folder / file.name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nonsense:{set}", "--out", "{tmp}/r"], "one of"),
        (["train", "folder:{tmp}/absent", "--out", "{tmp}/r"], "existing folder"),
        (["train", "folder:{set}", "--out", "{tmp}/r", "--model", "unnet"], "one of unet"),
        (["train", "folder:{set}", "--out", "{tmp}/r", "--set", "training.los=ce"], "'loss'"),
        (["train", "--out", "{tmp}/r"], "given a source"),
        (["train", "folder:{set}", "--out", "{set}"], "new or empty folder"),
        (["train", "--out", "{tmp}/none", "--resume"], "run folder"),
        (["predict", "{tmp}", "{set}/images"], "model.json"),
        (["evaluate", "{tmp}", "folder:{set}", "--out", "{tmp}/e"], "model.json"),
        (["evaluate", "{run}", "folder:{tmp}", "--out", "{tmp}/e"], "Expected"),
        (["dataset", "make", "fantom", "--out", "{tmp}/d"], "phantom"),
        (["dataset", "make", "phantom", "--kinds", "mri", "--out", "{tmp}/d"], "mri"),
        (["split", "folder:{set}", "--fractions", "a,b", "--out", "{tmp}/m.csv"], "three numbers"),
        (["split", "folder:{set}", "--folds", "99", "--out", "{tmp}/m.csv"], "Expected"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, said, run, phantom, tmp_path):
    places = {"set": phantom, "tmp": tmp_path, "run": run}
    result = call(*(argument.format(**places) for argument in arguments), code=1)
    error = result.stderr
    assert said in error
    assert "Expected " in error
    assert "Try " in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_errors_are_json_too(tmp_path):
    document = call_json("train", "nonsense:x", "--out", tmp_path / "r", code=1)
    assert document["error"]["type"] == "SourceError"


def test_masks_of_another_size_are_named(phantom, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    result = call("train", f"folder:{copy}", "--out", tmp_path / "r", *QUICK, code=1)
    assert "as large as its image" in result.stderr
    assert not (tmp_path / "r").exists()


def test_values_outside_the_classes_are_named(phantom, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(path)
    result = call(
        "train", f"folder:{copy}", "--classes", "a,b", "--out", tmp_path / "r", *QUICK, code=1
    )
    assert "class" in result.stderr
    assert not (tmp_path / "r").exists()


def test_no_disk_space_leaves_nothing_half_written(run, phantom, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = call("evaluate", run, run / "manifest.csv", "--out", tmp_path / "e", code=1)
    assert "freeing space" in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_wrong_mask_is_left_out_and_said_before_training(phantom, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    victim = min((copy / "masks").iterdir())
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(victim)
    result = call("split", f"folder:{copy}", "--out", tmp_path / "m.csv", code=1)
    assert victim.stem in result.stderr
    assert victim.stem not in (tmp_path / "m.csv").read_text(encoding="utf-8")


def test_notes_and_epochs_go_to_standard_error(phantom, tmp_path):
    result = call("train", f"folder:{phantom}", "--out", tmp_path / "a run", *QUICK)
    assert "samples to train" in result.stderr
    assert "epoch 1" in result.stderr
    assert f"penumbra evaluate '{tmp_path}/a run'" in result.stdout


def test_a_folder_without_images_is_a_finding(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    document = call_json("predict", run, phantom, good, "--out", tmp_path / "out", code=1)
    assert len(document["predictions"]) == 1
    assert "images" in document["findings"][0]["message"]


def test_masks_without_foreground_are_a_warning(phantom, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    result = call("train", f"folder:{copy}", "--out", tmp_path / "r", *QUICK)
    assert "No training mask holds any foreground" in result.stderr
