"""`dataset export` from the outside; `dataset download` is tested with its server."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source
from penumbra.training.run import Run
from penumbra.training.samples import open_for_run


def call(*words: object):
    return CliRunner().invoke(app, ["dataset", *map(str, words)])


@pytest.mark.parametrize("form", ["folder", "coco", "nerve"])
def test_export_writes_what_opens_again(phantom: Path, tmp_path: Path, form: str) -> None:
    done = call("export", f"folder:{phantom}", "--to", form, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 24
    before = sum(int((sample.mask == 1).sum()) for sample in open_source(f"folder:{phantom}"))
    again = open_source(f"{form}:{tmp_path / 'out'}")
    assert sum(int((sample.mask == 1).sum()) for sample in again) == before


def test_export_says_what_was_left_out_and_what_comes_next(phantom: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    name = next((phantom / "images").iterdir()).name
    for folder in ("images", "masks"):
        (root / folder / name).write_bytes((phantom / folder / name).read_bytes())
    (root / "images" / "zz_torn.png").write_bytes((phantom / "images" / name).read_bytes()[:90])
    done = call("export", f"folder:{root}", "--to", "yolo", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "zz_torn" in done.output
    assert str(tmp_path) not in (tmp_path / "out" / "export.json").read_text()
    assert "1 of 2 samples" in done.output
    assert call("export", root, "--to", "yolo", "--out", tmp_path / "out").exit_code == 1
    again = call("export", root, "--to", "folder", "--out", tmp_path / "out", "--overwrite")
    assert "Next: penumbra audit folder:" in again.output
    assert np.array_equal(
        open_source(f"folder:{tmp_path / 'out'}")[0].image, open_source(f"folder:{root}")[0].image
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_export_passes_a_pipe_over(phantom: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    names = sorted(path.name for path in (phantom / "images").iterdir())[:3]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).write_bytes((phantom / folder / name).read_bytes())
    (root / "masks" / names[1]).unlink()
    os.mkfifo(root / "masks" / names[1])
    os.mkfifo(root / "images" / "zz.png")
    done = call("export", f"folder:{root}", "--to", "coco", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "zz.png to be a plain file" in done.output
    assert f"{names[1]} to be a plain file" in done.output
    assert len(open_source(f"coco:{tmp_path / 'out'}")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "voc"], "one of folder, coco, rsna, nerve, yolo"),
        (["--to", "coco", "--with-masks"], "--to rsna"),
    ],
)
def test_export_refuses_in_one_sentence(
    phantom: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = call("export", f"folder:{phantom}", *words, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_a_run_on_boxes_is_checked_against_hidden_masks(
    phantom: Path, run: Path, tmp_path: Path
) -> None:
    call("export", f"folder:{phantom}", "--to", "rsna", "--with-masks", "--out", tmp_path / "boxes")
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    text = (copy / "experiment.yaml").read_text()
    assert "target: null" in text
    (copy / "experiment.yaml").write_text(text.replace("target: null", "target: boxes"))
    hidden = open_for_run(Run(copy), f"folder:{tmp_path / 'boxes' / 'hidden'}", split="all")
    weak = open_for_run(Run(copy), f"rsna:{tmp_path / 'boxes'}", split="all")
    assert (len(hidden), hidden.target, weak.target) == (24, None, "boxes")
