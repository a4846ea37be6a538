"""Manifests: what is written opens again, moved or not, and wrong ones are refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import open_source
from penumbra.data.manifest import (
    Assignment,
    read_assignment,
    read_manifest,
    select,
    write_manifest,
)
from penumbra.data.split import split_source
from penumbra.errors import SourceError

IDS = tuple(f"i{number}" for number in range(9))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for name in IDS:
        Image.new("L", (5, 4), 9).save(tmp_path / "set" / "images" / f"{name}.png")
        Image.new("L", (5, 4), 255).save(tmp_path / "set" / "masks" / f"{name}.png")
    return tmp_path / "set"


@pytest.fixture
def manifest(root: Path) -> Path:
    source = open_source(root)
    path = root.parent / "tables" / "manifest.csv"
    write_manifest(path, source, split_source(source, folds=3))
    return path


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_round_trip_with_folds(root: Path, manifest: Path) -> None:
    wanted = split_source(open_source(root), folds=3)
    source, assignment = read_manifest(manifest)
    assert dict(assignment.splits) == dict(wanted.splits)
    assert dict(assignment.folds or {}) == dict(wanted.folds or {})
    assert [record.id for record in source.records] == list(IDS)
    assert source[0].mask.max() == 1
    train = select(source, assignment, "train")
    assert {record.id for record in train.records} == set(assignment.ids("train"))


def test_the_root_is_relative_with_forward_slashes(manifest: Path) -> None:
    head, first = manifest.read_text(encoding="utf-8").splitlines()[:2]
    assert head == "id,group,split,fold,layout,root,target,image"
    cells = first.split(",")
    assert cells[4:] == ["folder", "../set", "", "images/i0.png"]


def test_it_opens_after_moving_together_with_its_data(root: Path, manifest: Path) -> None:
    moved = root.parent / "elsewhere" / "deep"
    moved.parent.mkdir()
    before = read_manifest(manifest)[1]
    shutil.copytree(root, moved / "set")
    shutil.copytree(manifest.parent, moved / "tables")
    shutil.rmtree(root)
    source, assignment = read_manifest(moved / "tables" / "manifest.csv")
    assert dict(assignment.splits) == dict(before.splits)
    np.testing.assert_array_equal(source[0].image, 9)


def test_order_rows_and_groups_are_those_of_the_manifest(manifest: Path) -> None:
    lines = manifest.read_text(encoding="utf-8").splitlines()
    kept = [lines[0], lines[5], lines[2].replace("i1,i1,", "i1,patient,")]
    manifest.write_text("\n".join(kept), encoding="utf-8")
    source = open_source(manifest)
    assert [(r.id, r.group) for r in source.records] == [("i4", "i4"), ("i1", "patient")]
    assert all(record.split in {"train", "val", "test"} for record in source.records)


def test_a_given_split_reads_the_manifest(manifest: Path) -> None:
    source, assignment = read_manifest(manifest)
    assert dict(split_source(source, strategy="given").splits) == dict(assignment.splits)


def test_wrong_manifests_are_refused(root: Path, manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    row = text.splitlines()[1]
    cases = {
        "one of train, val, test, but got 'dev'": text.replace(",train,", ",dev,"),
        "repeated, such as 'i0'": text + row + "\n",
        "columns id, group, split": text.replace("id,group,split", "id,split"),
        "a row per sample, but got no row": text.splitlines()[0],
        r"'\.\./gone'": text.replace("../set", "../gone"),
        "1 that are gone, such as 'zz'": text.replace("i0,i0", "zz,i0"),
        "the same in every row": text.replace("folder", "isbi", 1),
        "one of dsb2018, .*but got 'fodler'": text.replace("folder", "fodler"),
        "whole number": text.replace(
            row, row.replace(",0,", ",x,").replace(",1,", ",x,").replace(",2,", ",x,")
        ),
    }
    for match, content in cases.items():
        manifest.write_text(content, encoding="utf-8")
        with pytest.raises(SourceError, match=match):
            open_source(manifest)
    manifest.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(SourceError, match="CSV file in UTF-8"):
        open_source(manifest)


def test_a_removed_image_is_named(root: Path, manifest: Path) -> None:
    (root / "images" / "i3.png").unlink()
    with pytest.raises(SourceError, match="gone, such as 'i3'"):
        read_manifest(manifest)


def test_another_target_or_an_alien_split_is_refused(root: Path, manifest: Path) -> None:
    with pytest.raises(SourceError, match="that of the manifest"):
        open_source(manifest, target="lungs")
    with pytest.raises(SourceError, match="a sample of folder"):
        write_manifest(manifest, open_source(root), Assignment({"alien": "train"}))
    with pytest.raises(SourceError, match="one of train, val, test"):
        select(open_source(root), Assignment({"i0": "train"}), "training")


def test_the_splits_are_read_without_the_data(root: Path, manifest: Path) -> None:
    whole = read_manifest(manifest)[1]
    shutil.rmtree(root)
    assert read_assignment(manifest) == whole


def test_another_target_than_the_manifests_is_refused(manifest: Path) -> None:
    with pytest.raises(SourceError, match="the target"):
        read_manifest(manifest, target="lungs")
