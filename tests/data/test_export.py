"""Export in every form: what is opened again is what was written, and nothing else is touched."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from numpy.typing import NDArray
from PIL import Image

from penumbra.data.export import FORMS, export_source
from penumbra.data.export.names import safe_stem
from penumbra.data.export.rsna import boxes_of
from penumbra.data.layouts import open_source
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError, StorageError
from penumbra.imaging.polygons import Polygon, polygons_to_mask
from penumbra.imaging.rle import decode_pairs

FORM_NAMES = tuple(form.name for form in FORMS)
SIZE = (23, 31)


def masks(*, classes: int = 2, ignore: bool = False) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(8)
    noisy = rng.integers(0, classes, SIZE, dtype=np.uint8)
    ring = np.zeros(SIZE, dtype=np.uint8)
    ring[2:20, 3:25] = classes - 1
    ring[6:15, 8:20] = 0
    ring[9:11, 10:12] = 1
    empty = np.zeros(SIZE, dtype=np.uint8)
    doubtful = empty.copy()
    doubtful[4:9, 4:9] = 255 if ignore else 1
    return [noisy, ring, empty, doubtful]


def made(
    held: list[NDArray[np.uint8] | None],
    *,
    images: list[NDArray[np.generic]] | None = None,
    root: Path = Path("nowhere"),
    names: tuple[str, ...] = ("background", "one"),
    ids: list[str] | None = None,
) -> Source:
    """A source that lives in memory; where an image should be `None`, reading it fails."""
    rng = np.random.default_rng(4)
    ids = ids or [f"s{number}" for number in range(len(held))]
    pictures = images or [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in held]
    by_path = {root / name: picture for name, picture in zip(ids, pictures, strict=True)}
    by_id = dict(zip(ids, held, strict=True))

    def read_image(path: Path) -> NDArray[np.generic]:
        if by_path[path] is None:
            raise ImageFileError(f"Expected {path.name} to be whole, but got half. Try another.")
        return by_path[path]

    records = tuple(
        Record(id=name, group=f"g{number // 2}", image=root / name, split=split)
        for number, (name, split) in enumerate(
            zip(ids, cycle(("train", "val", "test", None)), strict=False)
        )
    )
    return Source(
        layout="memory",
        root=root,
        records=records,
        class_names=names,
        read_image=read_image,
        read_mask=lambda record, size: by_id[record.id],
        findings=(Finding("orphan-mask", "warning", ("x",), "A mask has no image."),),
    )


def same(source: Source, held: list[NDArray[np.uint8]]) -> None:
    read = {sample.id: sample.mask for sample in source}
    assert len(read) == len(held)
    for (name, mask), wanted in zip(sorted(read.items()), held, strict=True):
        assert mask is not None, name
        assert np.array_equal(mask, wanted), name


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("form", ["folder", "coco"])
def test_masks_with_classes_and_ignored_pixels_come_back(
    tmp_path: Path, form: str, classes: int
) -> None:
    held = masks(classes=classes, ignore=True)
    names = ("background", "one", "two", "three")[:classes]
    source = made(held, names=names)
    export_source(source, tmp_path / "out", form=form)
    opened = open_source(f"{form}:{tmp_path / 'out'}")
    same(opened, held)
    assert opened.class_names == names
    assert all(np.array_equal(a.image, b.image) for a, b in zip(source, opened, strict=True))


def test_a_mask_of_only_ignored_pixels_stays_one(tmp_path: Path) -> None:
    held = [masks(ignore=True)[3]]
    export_source(made(held), tmp_path / "out")
    same(open_source(f"folder:{tmp_path / 'out'}"), held)


def test_nerve_tiffs_and_run_lengths_agree(tmp_path: Path) -> None:
    held = masks()
    export_source(made(held), tmp_path / "out", form="nerve")
    opened = open_source(f"nerve:{tmp_path / 'out'}")
    same(opened, held)
    assert [record.group for record in opened.records] == ["1", "1", "2", "2"]
    with (tmp_path / "out" / "train_masks.csv").open() as handle:
        rows = {f"{row['subject']}_{row['img']}": row["pixels"] for row in csv.DictReader(handle)}
    for frame, mask in zip(("1_1", "1_2", "2_1", "2_2"), held, strict=True):
        assert np.array_equal(decode_pairs(rows[frame], SIZE), mask == 1)
        tiff = tifffile.imread(tmp_path / "out" / "train" / f"{frame}_mask.tif")
        assert np.array_equal(tiff, (mask == 1) * np.uint8(255))


def test_frames_that_have_nerve_names_keep_them(tmp_path: Path) -> None:
    source = made(masks()[:2], ids=["g0_3", "g0_9"])
    export_source(source, tmp_path / "renamed", form="nerve")
    assert (tmp_path / "renamed" / "train" / "1_2_mask.tif").is_file()
    again = open_source(f"nerve:{tmp_path / 'renamed'}")
    export_source(again, tmp_path / "kept", form="nerve")
    assert [r.id for r in open_source(f"nerve:{tmp_path / 'kept'}").records] == ["1_1", "1_2"]


def slow_boxes(mask: NDArray[np.bool_]) -> set[tuple[int, int, int, int]]:
    """Flood fill over the eight neighbours, pixel by pixel."""
    left = set(zip(*np.nonzero(mask), strict=True))
    boxes = set()
    while left:
        todo, area = [left.pop()], []
        while todo:
            y, x = todo.pop()
            area.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        ys, xs = [y for y, _ in area], [x for _, x in area]
        boxes.add((min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1))
    return {tuple(map(int, box)) for box in boxes}


def test_rsna_boxes_are_tight_and_hidden_masks_open(tmp_path: Path) -> None:
    held = [*masks(), None]
    export_source(made(held), tmp_path / "out", form="rsna", with_masks=True)
    opened = open_source(f"rsna:{tmp_path / 'out'}")
    by_id = {sample.id: sample for sample in opened}
    for number, mask in enumerate(held):
        boxes = by_id[f"s{number}"].boxes
        if mask is None:
            assert boxes is None
            continue
        found = {(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes.tolist()}
        assert found == slow_boxes(mask == 1)
    hidden = open_source(f"folder:{tmp_path / 'out' / 'hidden'}")
    for sample, mask in zip(hidden, held, strict=True):
        assert (sample.mask is None) if mask is None else np.array_equal(sample.mask, mask)


def test_rsna_masks_stay_away_unless_asked(tmp_path: Path) -> None:
    export_source(made(masks()), tmp_path / "out", form="rsna")
    assert not (tmp_path / "out" / "hidden").exists()
    assert boxes_of(np.full((2, 2), 255, dtype=np.uint8)) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rsna_images_are_dicom_files_of_the_same_pixels(tmp_path: Path, dtype: type) -> None:
    pytest.importorskip("pydicom")
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, np.iinfo(dtype).max, (*SIZE, 1)).astype(dtype) for _ in range(4)]
    export_source(made(masks(), images=pictures), tmp_path / "out", form="rsna")
    opened = open_source(f"rsna:{tmp_path / 'out'}")
    assert {record.image.suffix for record in opened.records} == {".dcm"}
    for sample, picture in zip(opened, pictures, strict=True):
        assert np.array_equal(sample.image, picture)


def test_boxes_without_masks_are_passed_on(tmp_path: Path) -> None:
    export_source(made(masks()), tmp_path / "first", form="rsna")
    first = open_source(f"rsna:{tmp_path / 'first'}")
    export_source(first, tmp_path / "second", form="rsna")
    second = open_source(f"rsna:{tmp_path / 'second'}")
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one.boxes, two.boxes)


def yolo_mask(path: Path) -> NDArray[np.uint8]:
    mask = np.zeros(SIZE, dtype=np.uint8)
    for line in path.read_text().splitlines():
        index, *shares = line.split()
        ring = np.array(shares, dtype=np.float64).reshape(-1, 2) * SIZE[::-1]
        mask[polygons_to_mask([Polygon(ring)], SIZE)] = int(index) + 1
    return mask


def test_yolo_polygons_give_the_masks_back_holes_included(tmp_path: Path) -> None:
    held = masks(classes=3)
    export_source(made(held, names=("background", "a: b", "two")), tmp_path / "o", form="yolo")
    for number, (split, mask) in enumerate(
        zip(("train", "val", "test", "train"), held, strict=True)
    ):
        assert np.array_equal(yolo_mask(tmp_path / "o/labels" / split / f"s{number}.txt"), mask)
        assert (tmp_path / "o/images" / split / f"s{number}.png").is_file()
    settings = yaml.safe_load((tmp_path / "o" / "data.yaml").read_text())
    assert settings["names"] == {0: "a: b", 1: "two"}
    assert (settings["val"], settings["test"]) == ("images/val", "images/test")


def test_coco_json_is_one_document_of_plain_values(tmp_path: Path) -> None:
    export_source(made(masks(ignore=True)), tmp_path / "out", form="coco")
    document = json.loads((tmp_path / "out/annotations/instances.json").read_text())
    assert [image["id"] for image in document["images"]] == [1, 2, 3, 4]
    assert {image["group"] for image in document["images"]} == {"g0", "g1"}
    numbers = [entry["id"] for entry in document["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    kinds = {type(entry["segmentation"]) for entry in document["annotations"]}
    assert kinds == {list, dict}
    assert sum(entry["iscrowd"] for entry in document["annotations"]) == 1
    assert not (tmp_path / "out/annotations/annotations.part").exists()


@pytest.mark.parametrize("form", FORM_NAMES)
def test_bad_samples_become_findings_and_the_rest_is_written(tmp_path: Path, form: str) -> None:
    held: list[NDArray[np.uint8] | None] = [*masks(classes=3, ignore=True), None]
    pictures = [np.full((*SIZE, 1), 9, dtype=np.uint16)] * 3 + [None]
    pictures.append(np.full((*SIZE, 1), 0.5, dtype=np.float32))
    held[1] = np.zeros((2, 2), dtype=np.uint8)  # a mask of another size
    source = made(held, images=pictures, names=("background", "one", "two"))
    exported = export_source(source, tmp_path / "out", form=form)
    found = {finding.kind: finding for finding in exported.findings}
    assert ("depth-lost" in found) == (form == "rsna")
    unread = [f.samples for f in exported.findings if f.kind == "unreadable"]
    assert unread == [("s1",), ("s3",)]
    assert found["orphan-mask"].samples == ("x",)
    assert found["no-mask-written"].samples == ("s4",)
    assert (exported.samples, exported.masks) == (3, 2)
    document = json.loads((tmp_path / "out" / "export.json").read_text())
    assert document["samples"] == 3
    assert len(document["findings"]) == len(exported.findings)
    assert str(tmp_path) not in json.dumps(document)


def test_what_a_form_cannot_say_is_said(tmp_path: Path) -> None:
    held = masks(classes=3, ignore=True)
    source = made(held, names=("background", "one", "two"))
    kinds = {
        f.kind: f.samples for f in export_source(source, tmp_path / "n", form="nerve").findings
    }
    assert kinds["ignore-lost"] == ("s3",)
    assert kinds["classes-merged"] == ("s0", "s1")
    assert "ignore-lost" in {
        f.kind for f in export_source(source, tmp_path / "y", form="yolo").findings
    }


@pytest.mark.parametrize("form", FORM_NAMES)
def test_colour_that_is_not_read_again_is_said_once(tmp_path: Path, form: str) -> None:
    grey = np.arange(SIZE[0] * SIZE[1]).reshape(*SIZE, 1) % 251
    flat, coloured = (np.uint8(grey), np.uint8(grey * (1, 2, 3)))
    pictures = [flat, coloured, np.repeat(flat, 3, axis=-1), coloured]
    exported = export_source(made(masks(), images=pictures), tmp_path / "out", form=form)
    found = [finding for finding in exported.findings if finding.kind == "colour-not-read"]
    assert [finding.samples for finding in found] == (
        [("s1", "s3")] if form in ("rsna", "nerve") else []
    )
    if found:
        again = open_source(f"{form}:{tmp_path / 'out'}")
        assert {sample.image.shape[-1] for sample in again} == {1}


@pytest.mark.parametrize("form", ["rsna", "nerve"])
def test_classes_that_become_one_are_said(tmp_path: Path, form: str) -> None:
    # One class in each mask, and several in the set: they become one as well.
    held = [np.full(SIZE, value, dtype=np.uint8) for value in (1, 2, 0, 255)]
    several = made(held, names=("background", "one", "two"))
    (found,) = [
        finding
        for finding in export_source(several, tmp_path / "several", form=form).findings
        if finding.kind == "classes-merged"
    ]
    assert found.samples == ("s0", "s1")
    assert "several classes became one" in found.message
    one = export_source(made(masks()), tmp_path / "one", form=form)
    assert "classes-merged" not in {finding.kind for finding in one.findings}
    street = replace(several, has_background=False)
    kinds = {f.kind: f.samples for f in export_source(street, tmp_path / "s", form=form).findings}
    assert kinds["classes-merged"] == (("s0", "s1", "s2") if form == "rsna" else ("s0", "s1"))


def test_hostile_ids_become_safe_names(tmp_path: Path) -> None:
    ids = ["../../up", "CON", "a:b?", "A", "a", "🧠 'x', \"y\"", "."]
    source = made([masks()[1]] * len(ids), ids=ids, root=Path("/nowhere"))
    exported = export_source(source, tmp_path / "out")
    assert "renamed" in {finding.kind for finding in exported.findings}
    assert len(open_source(f"folder:{tmp_path / 'out'}")) == len(ids)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [("nul.txt", "_nul.txt"), ("a ", "a"), (".hidden", "_.hidden"), ("\x00", "_"), ("", "_")],
)
def test_names_that_a_system_refuses_are_mended(name: str, stem: str) -> None:
    assert safe_stem(name) == stem
    assert len(safe_stem("é" * 300).encode()) <= 200


def test_nothing_is_overwritten_unless_it_is_an_earlier_export(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = made(masks())
    export_source(source, out)
    with pytest.raises(StorageError, match="--overwrite"):
        export_source(source, out)
    (out / "notes.txt").write_text("mine")
    export_source(source, out, form="coco", overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "masks").exists()
    same(open_source(f"coco:{out}"), masks())
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="left alone"):
        export_source(source, other, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file"):
        export_source(source, tmp_path / "file")


def test_the_source_itself_is_never_the_target(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    source = made(masks(), root=tmp_path / "data")
    (tmp_path / "data").mkdir()
    for out in (tmp_path / "data", tmp_path / "data" / "inside", tmp_path):
        with pytest.raises(StorageError, match="outside the source"):
            export_source(source, out, overwrite=True)


def test_an_export_that_stops_leaves_the_earlier_one(tmp_path: Path) -> None:
    out, source = tmp_path / "out", made(masks())
    export_source(source, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def stopping(items: Iterator[int], *, total: int, what: str) -> Iterator[int]:
        yield from list(items)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_source(source, out, form="coco", overwrite=True, progress=stopping)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        export_source(source, tmp_path / "new", progress=stopping)
    assert not (tmp_path / "new").exists()


def test_unknown_forms_and_sources_without_a_readable_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one of folder, coco, rsna, nerve, yolo"):
        export_source(made(masks()), tmp_path / "out", form="voc")
    with pytest.raises(SourceError, match="readable samples"):
        export_source(made([None], images=[None]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_says_what_its_masks_hold(tmp_path: Path) -> None:
    export_source(made(masks()), tmp_path / "out")
    (tmp_path / "out" / "mask_values.txt").write_text("something")
    with pytest.raises(SourceError, match="drawn or indices"):
        open_source(f"folder:{tmp_path / 'out'}")


@pytest.mark.parametrize("form", ["folder", "coco"])
def test_class_0_stays_where_it_is_no_background(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(3)
    held = [rng.integers(0, 3, SIZE, dtype=np.uint8) for _ in range(4)]
    held[1][5:9, 5:9] = 255
    held[2][:] = 0
    held[3][:] = 255
    names = ("sky", "Background", "car")
    source = replace(made([*held, None], names=names), has_background=False)
    export_source(source, tmp_path / "out", form=form)
    again = open_source(f"{form}:{tmp_path / 'out'}")
    assert again.class_names == names
    assert [record.id for record in again.records if not record.masks] == ["s4"]
    same(again.subset(range(4)), held)
    if form == "coco":
        assert not again.has_background
        document = json.loads((tmp_path / "out/annotations/instances.json").read_text())
        assert [entry["id"] for entry in document["categories"]] == [1, 2, 3]
