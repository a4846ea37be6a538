"""Names that file systems allow and programs trip over, in every place that names a file."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import LAYOUTS, open_source, recognise
from penumbra.data.layouts.inside import path_inside
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.split import split_source
from penumbra.data.tables import read_table
from penumbra.errors import SourceError

ODD = ["with space", 'q"uote', "it's", "com,ma", "semi;colon", "🧠 émoji", "CON", "nul.tar", "-x"]


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(6, dtype=np.uint8) * 255).save(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses such names")
def test_odd_names_go_through_a_manifest_and_back(tmp_path: Path) -> None:
    for name in ODD:
        put(tmp_path / "set" / "images" / f"{name}.png")
        put(tmp_path / "set" / "masks" / f"{name}.png")
    source = open_source(tmp_path / "set")
    assert {record.id for record in source.records} == set(ODD)
    write_manifest(tmp_path / "manifest.csv", source, split_source(source, seed=0))
    again, _ = read_manifest(tmp_path / "manifest.csv")
    assert again.records[0].image.is_file()
    assert {record.id for record in again.records} == set(ODD)
    assert all(sample.mask is not None and sample.mask.sum() == 6 for sample in again)


def test_circular_links_are_no_folders(tmp_path: Path) -> None:
    for name in ("images", "loop", "train"):
        (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(SourceError, match="none that is recognised"):
        recognise(tmp_path)
    for layout in LAYOUTS:
        with pytest.raises(SourceError, match=r"^Expected .* Try "):
            layout.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/../../b", "/etc/passwd", "\\\\host\\a", "C:\\a", "c:a", "\\a", "a\0"]
)
def test_paths_out_of_the_set_are_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"in t\.csv to be relative and inside the data set"):
        path_inside(Path("set"), text, named_in=Path("t.csv"))


@pytest.mark.parametrize("text", ["a/b c.png", "a\\b c.png", "./a//b c.png"])
def test_paths_inside_are_joined(text: str) -> None:
    assert path_inside(Path("set"), text, named_in=Path("t")) == Path("set/a/b c.png")


def test_the_table_of_structures_cannot_point_out_of_its_set(tmp_path: Path) -> None:
    root = tmp_path / "set"
    put(root / "images" / "a.png")
    put(tmp_path / "secret.png")
    (root / "structure.csv").write_text(
        "Filename,Template Name,Mask,Resolution,Top,Left\n"
        "a.png,Consolidation,../secret.png,6x6,0,0\n"
    )
    with pytest.raises(SourceError, match=r"got '\.\./secret\.png'"):
        open_source(root)


def test_tables_with_either_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfid;x;"a,b"\r\n1;y;2,5\r\n')
    assert read_table(path, ("id",), delimiters=",;") == [{"id": "1", "x": "y", "a,b": "2,5"}]
    path.write_text("id,x\n1;1,2\n")
    assert read_table(path, ("id",), delimiters=",;") == [{"id": "1;1", "x": "2"}]


def test_tables_are_bounded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("penumbra.data.tables.MAX_BYTES", 10)
    path = tmp_path / "t.csv"
    path.write_text("id\n" + "1\n" * 10)
    with pytest.raises(SourceError, match="at most 10 bytes, but got 23"):
        read_table(path, ("id",))
