"""A corrected set of files that cannot be copied: each costs itself alone, and is named."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.apply import apply
from penumbra.audit.placement import Duplicate
from penumbra.data.layouts import open_source


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for name in "abcde":
        pixels = rng.integers(0, 255, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "images" / f"{name}.png")
        Image.fromarray((pixels > 99) * np.uint8(255)).save(tmp_path / f"set/masks/{name}.png")
    return tmp_path / "set"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("bad", [a_loop, a_pipe])
def test_a_file_that_cannot_be_copied_costs_itself_alone(root: Path, tmp_path: Path, bad) -> None:
    image, mask = root / "images" / "d.png", root / "masks" / "e.png"
    for path in (image, mask):
        path.unlink()
        bad(path)
    pairs = [Duplicate("a", "b"), Duplicate("b", "c")]
    out = tmp_path / "new"
    done = apply(open_source(f"folder:{root}"), f"folder:{out}", policy="keep-first", pairs=pairs)
    found = {finding.samples: finding for finding in done.findings}
    assert {(each.kind, each.severity) for each in found.values()} == {
        ("not-copied", "error"),
        ("unreadable", "error"),
    }
    assert str(image) in found["d",].message
    assert str(mask) in found["e",].message
    opened = open_source(f"folder:{out}")
    assert {sample.id: sample.mask is None for sample in opened} == {"a": False, "e": True}
    assert done.account.counts == {
        "samples": 5,
        "kept": 2,
        "left_out": 2,
        "not_copied": 1,
        "masks_changed": 0,
    }
    account = (out / "account.md").read_text(encoding="utf-8")
    assert "1 could not be copied" in account
    assert "not-copied: " in account


def test_a_manifest_leaves_bad_files_where_they_are(root: Path, tmp_path: Path) -> None:
    (root / "images" / "d.png").unlink()
    a_loop(root / "images" / "d.png")
    pairs = [Duplicate("a", "b")]
    source = open_source(f"folder:{root}")
    done = apply(source, str(tmp_path / "new.csv"), policy="keep-first", pairs=pairs)
    assert {record.id for record in open_source(done.out).records} == {"a", "c", "d", "e"}
