"""COCO: polygons, both kinds of run lengths, crowds, overlaps, and files that make no sense."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import open_source, recognise
from penumbra.data.source import Source
from penumbra.errors import SourceError

SIZE = (12, 16)
NAMES = ["a b.png", 'quo"te.png', "com,ma.png", "🐈.png", "AUX.png"]
BIG = [1, 1, 11, 1, 11, 9, 1, 9]
SMALL = [3, 3, 6, 3, 6, 6, 3, 6]


def put(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape or (*SIZE, 3), 7, dtype=np.uint8)).save(path)
    return path


def entry(image: object, category: int, shape: object, **more: object) -> dict[str, object]:
    return {
        "id": 1,
        "image_id": image,
        "category_id": category,
        "segmentation": shape,
        "bbox": [1, 1, 10, 8],
        **more,
    }


def runs_of(mask: np.ndarray) -> list[int]:
    """Count runs down the columns, background first, by looking at one pixel after the other."""
    counts, value = [0], 0
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def compressed(counts: list[int]) -> str:
    """Write counts as the format describes it, one number and one group of bits at a time."""
    text = ""
    for index, count in enumerate(counts):
        left = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != -1 if bits & 16 else left != 0
            text += chr(48 + (bits | 32 if more else bits))
    return text


def document(annotations: list[object], **more: object) -> dict[str, object]:
    return {
        "images": [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name in enumerate(NAMES)
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        **more,
    }


def make(root: Path, annotations: list[object], **more: object) -> Path:
    for name in NAMES:
        put(root / "images" / name)
    (root / "any name.json").write_text(json.dumps(document(annotations, **more)))
    return root


def found(source: Source) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.samples for finding in source.findings}


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[rows, columns] = 1
    return mask


def test_polygons_and_both_kinds_of_run_lengths_draw_the_same(tmp_path: Path) -> None:
    counts = runs_of(block(slice(1, 9), slice(1, 11)))
    shapes = [[BIG], {"size": [*SIZE], "counts": counts}]
    shapes.append({"size": [*SIZE], "counts": compressed(counts)})
    root = make(tmp_path, [entry(number, 3, shape) for number, shape in enumerate(shapes)])
    assert recognise(root).name == "coco"
    source = pickle.loads(pickle.dumps(open_source(root)))
    assert source.class_names == ("background", "dog", "cat")
    for number in range(3):
        np.testing.assert_array_equal(source[number].mask, block(slice(1, 9), slice(1, 11)))
        np.testing.assert_array_equal(source[number].boxes, [[1, 1, 11, 9]])
    assert not source[3].mask.any()
    assert source[3].boxes.shape == (0, 4)
    assert [record.id for record in source.records] == [name[:-4] for name in NAMES]


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_object_wins_whatever_the_order(tmp_path: Path, order: int) -> None:
    pair = [entry(0, 3, [BIG]), entry(0, 7, [SMALL])]
    mask = open_source(make(tmp_path, pair[::order]))[0].mask
    expected = block(slice(1, 9), slice(1, 11))
    expected[3:6, 3:6] = 2
    np.testing.assert_array_equal(mask, expected)


def test_of_equally_large_objects_the_last_wins(tmp_path: Path) -> None:
    source = open_source(make(tmp_path, [entry(0, 3, [BIG]), entry(0, 7, [BIG])]))
    assert set(np.unique(source[0].mask)) == {0, 2}


def test_crowds_are_ignored_below_objects_and_have_no_box(tmp_path: Path) -> None:
    crowd = {"size": [*SIZE], "counts": runs_of(block(slice(1, 9), slice(1, 11)))}
    entries = [entry(0, 7, [SMALL], bbox=[3, 3, 300, 3]), entry(0, 3, crowd, iscrowd=1)]
    sample = open_source(make(tmp_path, entries))[0]
    expected = block(slice(1, 9), slice(1, 11)) * np.uint8(255)
    expected[3:6, 3:6] = 2
    np.testing.assert_array_equal(sample.mask, expected)
    np.testing.assert_array_equal(sample.boxes, [[3, 3, 16, 6]])


def test_entries_that_make_no_sense_cost_their_image_alone(tmp_path: Path) -> None:
    entries = [
        entry(0, 3, [BIG]),
        entry(1, 99, [BIG], id="strange"),
        entry(2, 3, []),
        entry(404, 3, [BIG]),
        "no object",
        entry(3, 3, [BIG], bbox=[1, 1, float("inf"), 1]),
    ]
    source = open_source(make(tmp_path, entries))
    masks = [sample.mask is not None for sample in source]
    assert masks == [True, False, False, True, True]
    assert source[3].boxes is None
    told = found(source)
    assert [text.split(": ")[1] for text in told["invalid-annotation"]] == [
        "annotation strange",
        "annotation 1",
        "annotation 4",
    ]
    assert told["orphan-annotation"] == ("any name.json: image 404",)
    assert told["missing-mask"] == ('quo"te', "com,ma")


@pytest.mark.parametrize(
    "shape",
    [
        [[1, 1, 2]],
        [[1, 1, 2, 2, 3, "x"]],
        [[1, 1, 2, 2, 3, 1e300]],
        [[1, 1, 2, 2, float("nan"), 1]],
        {"size": [3, 3], "counts": [9]},
        {"size": [*SIZE], "counts": [5]},
        {"size": [*SIZE], "counts": "\x00"},
        {"counts": []},
    ],
    ids=str,
)
def test_shapes_that_cannot_be_drawn_name_the_sample(tmp_path: Path, shape: object) -> None:
    source = open_source(make(tmp_path, [entry(0, 3, shape), entry(1, 3, [BIG])]))
    with pytest.raises(SourceError, match=r"'a b' cannot be drawn\. Expected .* Try "):
        source[0]
    assert source[1].mask.sum() == 80


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, [entry(0, 3, [BIG])])
    put(root / "images" / NAMES[0], 6, 8)
    with pytest.raises(SourceError, match=r"any name\.json, 12×16 .* but got 6×8"):
        open_source(root)[0]


def test_paths_that_leave_the_set_are_never_opened(tmp_path: Path) -> None:
    put(tmp_path / "secret.png")
    root = make(tmp_path / "set", [entry(0, 3, [BIG])])
    names = ["../secret.png", str(tmp_path / "secret.png"), "C:\\a.png", "", "a\0b", "loop/a.png"]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    images.append({"id": 99, "file_name": "images\\a b.png"})
    (root / "loop").symlink_to(root / "loop")
    (root / "any name.json").write_text(json.dumps(document([], images=images)))
    source = open_source(root)
    assert [record.image.name for record in source.records] == ["a b.png"]
    kinds = [finding.kind for finding in source.findings]
    assert kinds.count("unsafe-path") == 5
    assert found(source)["missing-image"] == ("loop/a.png",)
    # Not a single annotation: the file says nothing about masks.
    assert source[0].mask is None
    assert source[0].boxes is None


def test_the_published_folders_and_their_split(tmp_path: Path) -> None:
    for part in ("train2017", "val2017"):
        put(tmp_path / part / f"{part}.png")
        image = {"id": 1, "file_name": f"{part}.png"}
        text = json.dumps(document([entry(1, 3, [SMALL])], images=[image]))
        for kind in ("instances", "person_keypoints"):
            path = tmp_path / "annotations" / f"{kind}_{part}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    source = open_source(tmp_path)
    assert source.layout == "coco"
    assert [(r.id, r.split) for r in source.records] == [
        ("train2017", "train"),
        ("val2017", "val"),
    ]
    assert source[1].mask.sum() == 9


def test_files_beside_their_images(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        put(tmp_path / part / "same.png")
        image = {"id": 0, "file_name": "same.png"}
        text = json.dumps(document([entry(0, 3, [SMALL])], images=[image]))
        (tmp_path / part / "_annotations.coco.json").write_text(text)
    source = open_source(tmp_path)
    assert {record.split for record in source.records} == {"train", "val", "test"}
    assert len({record.id for record in source.records}) == 3


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path, [entry(0, 3, [BIG])])
    (root / "again.json").write_text(json.dumps(document([])))
    with pytest.raises(SourceError, match=r"5 listed twice.*keeping one of again\.json, any name"):
        open_source(root)
    other = document([], categories=[{"id": 1, "name": "cow"}])
    (root / "again.json").write_text(json.dumps(other))
    with pytest.raises(SourceError, match="the same in all of them"):
        open_source(root)


@pytest.mark.parametrize(
    ("more", "got"),
    [
        ({"categories": [{"id": 1}]}, "the category"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "the category"),
        ({"categories": []}, "0 categories"),
        ({"categories": [{"id": n, "name": f"{n}"} for n in range(255)]}, "255 categories"),
        ({"images": 3}, "without a list 'images'"),
        ({"images": []}, "none of its 0"),
        ({"images": [{"id": 1, "file_name": "gone.png"}]}, "none of its 1, such as 'gone.png'"),
    ],
)
def test_files_without_sense_are_refused(tmp_path: Path, more: dict, got: str) -> None:
    root = make(tmp_path, [], **more)
    with pytest.raises(SourceError, match=f"^Expected .*but got .*{got}.* Try "):
        open_source(f"coco:{root}")


def test_broken_deep_and_large_files_are_refused(tmp_path: Path, monkeypatch) -> None:
    root = make(tmp_path, [entry(0, 3, [BIG])])
    keys = '{"images": [], "categories": '
    for text in (keys, keys + "[" * 200_000, keys + "1" + "0" * 5000 + "}"):
        (root / "any name.json").write_text(text)
        with pytest.raises(SourceError, match="a COCO file: a JSON object with images"):
            open_source(root)
    monkeypatch.setattr("penumbra.data.layouts.coco_file.MAX_BYTES", 1000)
    (root / "any name.json").write_text(json.dumps(document([])) + " " * 1000)
    with pytest.raises(SourceError, match=r"bytes \(at most 1,000 are read\)"):
        open_source(root)


def test_equal_names_and_a_background_of_its_own(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "Background"},
        {"id": 1, "name": "cell"},
        {"id": 2, "name": "cell"},
    ]
    root = make(tmp_path, [entry(0, 2, [BIG]), entry(0, 0, [SMALL])], categories=categories)
    source = open_source(root)
    assert source.class_names == ("background", "cell", "cell (2)")
    assert source[0].mask.sum() == 2 * (80 - 9)


def test_other_json_files_are_no_annotations(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png")
    (tmp_path / "classes.json").write_text('["background", "nerve"]')
    assert recognise(tmp_path).name == "folder"
    with pytest.raises(SourceError, match=r"a COCO file \(JSON\) and images, but got none"):
        open_source(f"coco:{tmp_path}")
