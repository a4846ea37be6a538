"""Bad input to every verb: one clear sentence, nothing half-written, nothing lost."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app

RUNNER = CliRunner()


def call(*arguments, code=0):
    """Run a verb in this process; its exit status must be `code`."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code).stdout)


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
        (["dataset", "make", "idcards", "--out", "{tmp}/d"], "Try `dataset make id-cards`"),
        (["dataset", "make", "id-cards", "--size", "64", "--out", "{tmp}/d"], "--size"),
        (["dataset", "make", "phantom", "--upside-down", "0", "--out", "{tmp}/d"], "--upside-down"),
        (["dataset", "make", "phantom", "--kinds", "mri", "--out", "{tmp}/d"], "mri"),
        (["split", "folder:{set}", "--fractions", "a,b", "--out", "{tmp}/m.csv"], "three numbers"),
        (["benchmark", "folder:{set}", "--run", "{tmp}/no-run", "--threshold", "1.5"], "IoU"),
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


def test_masks_of_another_size_are_named(phantom, tmp_path, quick):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    result = call("train", f"folder:{copy}", "--out", tmp_path / "r", *quick, code=1)
    assert "as large as its image" in result.stderr
    assert not (tmp_path / "r").exists()


def test_values_outside_the_classes_are_named(phantom, tmp_path, quick):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(path)
    result = call(
        "train", f"folder:{copy}", "--classes", "a,b", "--out", tmp_path / "r", *quick, code=1
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


def test_a_folder_without_images_is_a_finding(run, phantom, tmp_path):
    good = min((phantom / "images").iterdir())
    document = call_json("predict", run, phantom, good, "--out", tmp_path / "out", code=1)
    assert len(document["predictions"]) == 1
    assert "images" in document["findings"][0]["message"]


def test_of_several_sources_those_with_images_are_done(phantom, tmp_path):
    first, second, *_ = sorted(path for path in (phantom / "images").iterdir())
    for name, image in (("a", first), ("z", second)):
        (tmp_path / name).mkdir()
        shutil.copy(image, tmp_path / name)
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    sources = [tmp_path / "a", empty, tmp_path / "z"]
    result = call("predict", "classical:otsu,foreground=bright", *sources, "--out", out, code=1)
    assert f"error: Expected the folder {empty} to be one of image files" in result.stderr
    assert "2 of 2 images segmented" in result.stdout
    assert {path.name for path in out.glob("*_mask.png")} == {
        f"{image.stem}_mask.png" for image in (first, second)
    }


def test_masks_without_foreground_are_a_warning(phantom, tmp_path, quick):
    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    for path in (copy / "masks").iterdir():
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    result = call("train", f"folder:{copy}", "--out", tmp_path / "r", *quick)
    assert "No training mask holds any foreground" in result.stderr


def test_a_file_in_the_place_of_a_folder_is_named(run, phantom, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    good = min((phantom / "images").iterdir())
    result = call("predict", run, good, "--out", tmp_path / "file", code=1)
    assert "to be a folder, but got a file" in result.stderr
    result = call("predict", run / "model.safetensors", good, "--out", tmp_path / "o", code=1)
    assert "a run folder" in result.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_the_nearest_target_is_offered(tmp_path):
    (tmp_path / "images").mkdir()
    result = call(
        "split", f"covid-cxr:{tmp_path}", "--target", "lung", "--out", tmp_path / "m.csv", code=1
    )
    assert "--target lungs" in result.stderr
