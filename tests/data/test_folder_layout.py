"""The folder layout: pairing by name, what mask values mean, class names, groups."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import open_source
from penumbra.errors import ImageFileError, SourceError

SHAPE = (6, 7)


def put(path: Path, array: np.ndarray | list, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)
    return path


def make(root: Path, masks: dict[str, list[int]], *, folder: str = "masks", end: str = "") -> Path:
    """Images named by the keys; each mask holds the given values, row after row."""
    for name, values in masks.items():
        put(root / "images" / f"{name}.jpg", np.full(SHAPE, 50))
        put(root / folder / f"{name}{end}.png", np.resize(values, SHAPE))
    return root


def found(root: Path, **options: object) -> dict[str, tuple[str, ...]]:
    return {f.kind: f.samples for f in open_source(root, **options).findings}


@pytest.mark.parametrize("folder", ["masks", "labels", "ground_truth"])
@pytest.mark.parametrize("end", ["", "_mask"])
def test_masks_are_found_by_name(tmp_path: Path, folder: str, end: str) -> None:
    source = open_source(make(tmp_path, {"a": [0, 255], "b": [0]}, folder=folder, end=end))
    assert source.layout == "folder"
    assert source.class_names == ("background", "foreground")
    assert [sample.mask.max() for sample in source] == [1, 0]
    assert source.findings == ()


def test_other_files_are_passed_over_and_partners_are_missed(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255], "b": [0, 255]})
    for junk in ("Thumbs.db", ".DS_Store", "readme.txt", "._a.png"):
        (root / "images" / junk).write_bytes(b"junk")
        (root / "masks" / junk).write_bytes(b"junk")
    (root / "masks" / "a.png").rename(root / "masks" / "x.png")
    source = open_source(root)
    assert [record.id for record in source.records] == ["a", "b"]
    assert source[0].mask is None
    assert found(root) == {"missing-mask": ("a",), "orphan-mask": ("x.png",)}


def test_files_that_share_a_stem_get_ids_of_their_own(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255]})
    put(root / "images" / "a.png", np.zeros(SHAPE))
    source = open_source(root)
    assert [record.id for record in source.records] == ["a_jpg", "a_png"]
    assert all(sample.mask is not None for sample in source)


def test_numbers_sort_by_value(tmp_path: Path) -> None:
    root = make(tmp_path, {"s10": [0], "s9": [0], "S1": [0]})
    assert [record.id for record in open_source(root).records] == ["S1", "s9", "s10"]


def test_index_masks_keep_their_values_and_255_is_ignored(tmp_path: Path) -> None:
    source = open_source(make(tmp_path, {"a": [0, 1, 2, 255], "b": [0, 255], "c": [1]}))
    assert source.class_names == ("background", "class 1", "class 2")
    assert set(np.unique(source[0].mask)) == {0, 1, 2, 255}
    assert set(np.unique(source[1].mask)) == {0, 255}
    assert found(tmp_path) == {"mixed-mask-values": ("b.png",)}


def test_a_binary_folder_may_hold_a_mask_in_indices(tmp_path: Path) -> None:
    root = make(tmp_path, {f"i{n:02}": [0, 255] for n in range(30)})
    put(root / "masks" / "i01.png", np.resize([0, 1], SHAPE))
    source = open_source(root)
    assert set(np.unique(source[1].mask)) == {0, 1}
    assert set(np.unique(source[2].mask)) == {0, 1}


def test_one_bit_and_palette_masks(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255], "b": [0, 255]})
    Image.fromarray(np.resize([True, False], SHAPE)).save(root / "masks" / "b.png")
    source = open_source(root)
    assert source[1].mask[0, :2].tolist() == [1, 0]
    picture = Image.fromarray(np.resize([0, 3], SHAPE).astype(np.uint8)).convert("L")
    picture.putpalette([0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9])
    picture.save(root / "masks" / "b.png")
    assert set(np.unique(open_source(root, class_names=list("abcd"))[1].mask)) == {0, 3}


def test_jpeg_masks_are_thresholded_and_said(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0]})
    (root / "masks" / "a.png").unlink()
    half = np.zeros(SHAPE, np.uint8)
    half[:, 3:] = 255
    put(root / "masks" / "a.jpg", half, quality=60)
    np.testing.assert_array_equal(open_source(root)[0].mask, half // 255)
    assert "lossy-mask" in found(root)
    with pytest.raises(SourceError, match="lossless"):
        open_source(root, class_names=["a", "b", "c"])[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "\ufeffsky\nroad\n\ncar\n"),
        ("classes.json", json.dumps(["sky", "road", "car"])),
        ("classes.json", json.dumps({"0": "sky", "2": "car", "1": "road"})),
    ],
)
def test_class_names_come_from_the_folder_unless_given(
    tmp_path: Path, name: str, text: str
) -> None:
    root = make(tmp_path, {"a": [0, 1]})
    (root / name).write_text(text, encoding="utf-8")
    assert open_source(root).class_names == ("sky", "road", "car")
    assert open_source(root, class_names=("x", "y")).class_names == ("x", "y")


@pytest.mark.parametrize("text", ["{", "7", '{"0": "a", "2": "b"}', '["only"]', "[1, 2]"])
def test_a_broken_class_list_is_refused(tmp_path: Path, text: str) -> None:
    root = make(tmp_path, {"a": [0, 1]})
    (root / "classes.json").write_text(text)
    with pytest.raises(SourceError, match=r"^Expected .* Try .*\.$"):
        open_source(root)


def test_three_named_classes_make_255_ignore(tmp_path: Path) -> None:
    source = open_source(make(tmp_path, {"a": [0, 255]}), class_names=["a", "b", "c"])
    assert set(np.unique(source[0].mask)) == {0, 255}


def test_values_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"but got values such as \[0, 128, 255\]"):
        open_source(make(tmp_path / "greys", {"a": [0, 128, 255]}))
    source = open_source(make(tmp_path / "out", {"a": [0, 1, 5]}), class_names=["a", "b"])
    with pytest.raises(SourceError, match=r"class index 0–1 or 255 \(ignore\), but got \[5\]"):
        source[0]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255]})
    put(root / "masks" / "a.png", np.zeros((3, 3)))
    with pytest.raises(SourceError, match=r"6×7 \(height × width\), but got 3×3"):
        open_source(root)[0]


def test_a_broken_mask_does_not_stop_the_listing(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255], "b": [0, 255]})
    (root / "masks" / "a.png").write_bytes(b"")
    source = open_source(root)
    assert source[1].mask.max() == 1
    with pytest.raises(ImageFileError, match="empty file"):
        source[0]


def test_a_class_in_one_mask_only_is_not_missed(tmp_path: Path) -> None:
    root = make(tmp_path, {f"i{n:02}": [0, 1] for n in range(40)})
    put(root / "masks" / "i01.png", np.resize([0, 2], SHAPE))
    source = open_source(root)
    assert source.class_names == ("background", "class 1", "class 2")
    assert set(np.unique(source[1].mask)) == {0, 2}


def test_a_shaded_mask_does_not_stop_the_others(tmp_path: Path) -> None:
    root = make(tmp_path, {f"i{n}": [0, 255] for n in range(5)})
    put(root / "masks" / "i3.png", np.resize([0, 90, 255], SHAPE))
    source = open_source(root)
    assert source.class_names == ("background", "foreground")
    assert set(np.unique(source[0].mask)) == {0, 1}
    with pytest.raises(SourceError, match=r"got \[90\]"):
        source[3]


def test_drawn_masks_beside_zero_and_one_stay_foreground(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255], "b": [0, 255], "c": [0, 1]})
    assert [set(np.unique(sample.mask)) for sample in open_source(root)] == [{0, 1}] * 3
    assert found(root) == {"mixed-mask-values": ("a.png", "b.png")}
    put(root / "masks" / "c.png", np.resize([0, 1, 255], SHAPE))
    assert set(np.unique(open_source(root)[0].mask)) == {0, 255}


def test_listing_a_large_folder_decodes_only_a_few_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = put(tmp_path / "masks" / "i0.png", np.resize([0, 1], SHAPE)).read_bytes()
    (tmp_path / "images").mkdir()
    for folder, content in (("images", b"not an image at all"), ("masks", mask)):
        for number in range(301):
            (tmp_path / folder / f"i{number}.png").write_bytes(content)
    put(tmp_path / "masks" / "i1.png", np.resize([0, 2], SHAPE))
    opened: list[Path] = []
    original = Path.open

    def watched(self, *arguments, **options):
        # Layouts of other packages are looked for in their metadata, which is no reading of ours.
        if self.is_relative_to(tmp_path):
            opened.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    source = open_source(tmp_path)
    assert len(source) == 301
    assert {path.parent.name for path in opened} == {"masks"}
    assert len(set(opened)) <= 8
    monkeypatch.undo()
    # The class that the look missed is said, with what to do about it, when it turns up.
    put(tmp_path / "images" / "i1.png", np.zeros(SHAPE))
    with pytest.raises(SourceError, match=r"got \[2\]. Try naming every class \(--classes a,b,c"):
        source[1]
    assert set(np.unique(open_source(tmp_path, class_names=["a", "b", "c"])[1].mask)) == {0, 2}


def test_large_masks_are_looked_at_by_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path, {f"i{n:02}": [0, 1] for n in range(40)})
    put(root / "masks" / "i01.png", np.resize([0, 2], SHAPE))
    monkeypatch.setattr("penumbra.data.layouts.classes._ALL_PIXELS", 40 * 42 - 1)
    assert open_source(root).class_names == ("background", "foreground")


def test_groups_come_from_a_table(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": [0, 255], "b": [0, 255], "c": [0, 255]})
    (root / "groups.csv").write_text("id,group\na,p1\nb,p1\nz,p9\n")
    assert [record.group for record in open_source(root).records] == ["p1", "p1", "c"]
    assert found(root) == {"missing-group": ("c",), "unknown-id": ("z",)}
    (root / "groups.csv").write_text("name,group\na,p1\n")
    with pytest.raises(SourceError, match="adding id"):
        open_source(root)


def test_an_empty_images_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(SourceError, match="no image in images/"):
        open_source(tmp_path)


def test_images_in_sub_folders_only_are_said(tmp_path: Path) -> None:
    put(tmp_path / "images" / "cat2" / "a.png", np.zeros(SHAPE))
    put(tmp_path / "images" / "cat10" / "a.png", np.zeros(SHAPE))
    with pytest.raises(SourceError, match="sub-folders such as images/cat2/ are not searched"):
        open_source(tmp_path)


def test_files_of_one_stem_are_one_group(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    picture = Image.fromarray(np.zeros((4, 4), np.uint8))
    picture.save(tmp_path / "images" / "a.png")
    picture.save(tmp_path / "images" / "a.bmp")
    picture.save(tmp_path / "masks" / "a.png")
    records = open_source(f"folder:{tmp_path}").records
    assert len({record.id for record in records}) == 2
    assert {record.group for record in records} == {"a"}


def test_a_folder_of_bare_images_is_a_source_when_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b", "c_mask"):
        put(tmp_path / f"{name}.png", np.full(SHAPE, 50))
    put(tmp_path / "a_mask.png", np.resize([0, 255], SHAPE))
    source = open_source(f"folder:{tmp_path}")
    assert [record.id for record in source.records] == ["a", "b", "c_mask"]
    assert [None if s.mask is None else s.mask.max() for s in source] == [1, None, None]
    with pytest.raises(SourceError, match="layout"):  # only when asked for by name
        open_source(tmp_path)
