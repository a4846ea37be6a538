"""Sets that ship boxes: RSNA and NIH, their tables, their boxes in the image, filled on demand."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penumbra.data.layouts import open_source, recognise
from penumbra.data.layouts.boxes import Box, BoxReader, boxes_as_detail, boxes_in
from penumbra.data.sample import Record
from penumbra.data.source import Source, require_masks
from penumbra.data.split import split_source
from penumbra.errors import SourceError

NAMES = ["a b", 'quo"te', "com,ma", "🫁", "CON"]
HEAD = ("patientId", "x", "y", "width", "height", "Target")


def put(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, 7, dtype=np.uint8)).save(path)
    return path


def write_rows(path: Path, rows: list[tuple], delimiter: str = ",") -> Path:
    def cell(value: object) -> str:
        text = str(value)
        is_plain = delimiter not in text and '"' not in text
        return text if is_plain else '"' + text.replace('"', '""') + '"'

    lines = [delimiter.join(map(cell, row)) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return path


def make_rsna(root: Path, delimiter: str = ";", side: int = 20) -> Path:
    for name in NAMES:
        put(root / "stage_2_train_images" / f"{name}.png", side, side)
    rows = [
        HEAD,
        ("a b", "2.0", "3.0", "4.0", "5.0", 1),
        ("a b", "10.0", "0.0", "10.0", "20.0", 1),
        ('quo"te', "", "", "", "", 0),
        ("com,ma", "1.0", "1.0", "2.5", "2.5", 1),
        ("🫁", "1", "x", "2", "2", 1),
        ("away", "", "", "", "", 0),
    ]
    write_rows(root / "stage_2_train_labels.csv", rows, delimiter)
    classes = [("patientId", "class"), ("a b", "Lung Opacity"), ('quo"te', "Lung Opacity")]
    write_rows(root / "stage_2_detailed_class_info.csv", classes)
    return root


def found(source: Source) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.samples for finding in source.findings}


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_rsna_boxes_travel_and_no_mask_is_made_up(tmp_path: Path, delimiter: str) -> None:
    root = make_rsna(tmp_path, delimiter)
    assert recognise(root).name == "rsna"
    source = pickle.loads(pickle.dumps(open_source(root)))
    samples = {sample.id: sample for sample in source}
    assert source.target == "none"
    assert all(sample.mask is None for sample in samples.values())
    np.testing.assert_array_equal(samples["a b"].boxes, [[2, 3, 6, 8], [10, 0, 20, 20]])
    assert samples["a b"].boxes.dtype == np.float32
    assert samples['quo"te'].boxes.shape == (0, 4)
    assert samples["🫁"].boxes is None
    assert samples["CON"].boxes is None
    assert all(sample.image.shape == (20, 20, 1) for sample in samples.values())
    assert found(source) == {
        "missing-label": ("CON",),
        "invalid-box": ("🫁",),
        "class-conflict": ('quo"te',),
        "missing-image": ("away",),
    }
    with pytest.raises(SourceError, match="Try --target boxes"):
        require_masks(source)


def test_rsna_boxes_are_filled_where_asked(tmp_path: Path) -> None:
    source = open_source(make_rsna(tmp_path), target="boxes")
    samples = {sample.id: sample for sample in source}
    expected = np.zeros((20, 20), dtype=np.uint8)
    expected[3:8, 2:6] = 1
    expected[0:20, 10:20] = 1
    np.testing.assert_array_equal(samples["a b"].mask, expected)
    assert not samples['quo"te'].mask.any()
    # 1 to 3.5 holds the centres 1.5 and 2.5, and 3.5 is the centre that the next box would hold.
    assert samples["com,ma"].mask.sum() == 4
    assert samples["🫁"].mask is None
    assert samples["CON"].mask is None
    require_masks(source)


def test_rsna_groups_by_patient_across_files(tmp_path: Path) -> None:
    root = make_rsna(tmp_path)
    put(root / "a b.bmp", 20, 20)
    source = open_source(root)
    ids = {record.id for record in source.records if record.group == "a b"}
    assert ids == {"a b_bmp", "a b_png"}
    assignment = split_source(source, seed=1)
    assert len({assignment.splits[name] for name in ids}) == 1


def test_rsna_contradictions_leave_the_boxes_unknown(tmp_path: Path) -> None:
    bad = {
        "both": [("", "", "", "", 0), (1, 1, 2, 2, 1)],
        "none": [("", "", "", "", 1)],
        "zero": [(1, 1, 2, 2, 0)],
        "flat": [(1, 1, 0, 2, 1)],
        "left": [(-1, 1, 2, 2, 1)],
        "nan": [("nan", 1, 2, 2, 1)],
        "endless": [("1e999", 1, 2, 2, 1)],
        "word": [(1, 1, 2, 2, "yes")],
    }
    rows = [HEAD, *((name, *row) for name, own in bad.items() for row in own)]
    write_rows(tmp_path / "stage_2_train_labels.csv", rows)
    for name in bad:
        put(tmp_path / f"{name}.png", 8, 8)
    source = open_source(tmp_path, target="boxes")
    assert set(found(source)["invalid-box"]) == set(bad)
    assert all(sample.boxes is None and sample.mask is None for sample in source)


def test_rsna_smaller_copies_are_noticed_and_scaled(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / "images" / f"{name}.png", 256, 256)
    rows = [HEAD, ("a", 100, 200, 300, 400, 1), ("z", 600, 0, 424, 1024, 1)]
    write_rows(tmp_path / "stage_2_train_labels.csv", rows)
    source = open_source(tmp_path, target="boxes")
    np.testing.assert_allclose(source[0].boxes, [[25, 50, 100, 150]])
    assert source[0].mask.sum() == 75 * 100
    assert "1024×1024" in next(f.message for f in source.findings if f.kind == "scaled-boxes")


def test_a_box_beyond_its_image_names_the_likely_reason(tmp_path: Path) -> None:
    put(tmp_path / "a.png", 20, 20)
    put(tmp_path / "b.png", 20, 30)
    rows = [HEAD, ("a", 10, 10, 10.5, 10, 1), ("b", 10, 10, 10, 30, 1)]
    write_rows(tmp_path / "stage_2_train_labels.csv", rows)
    source = open_source(tmp_path)
    np.testing.assert_array_equal(source[0].boxes, [[10, 10, 20, 20]])
    with pytest.raises(SourceError, match=r"'b'.*30×20 \(width × height\).*y = 40.*original"):
        source[1]


def test_rsna_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"stage_2_train_labels\.csv, but got none"):
        open_source(f"rsna:{tmp_path}")
    table = write_rows(tmp_path / "stage_2_train_labels.csv", [HEAD])
    with pytest.raises(SourceError, match=r"DICOM or PNG files.*but got no image"):
        open_source(tmp_path)
    put(tmp_path / "a.png", 4, 4)
    table.write_text("patientId;x\n")
    with pytest.raises(SourceError, match=r"columns patientId, x, y.* patientId, x\. Try adding y"):
        open_source(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "images").symlink_to(tmp_path / "images")
    write_rows(table, [HEAD])
    assert len(open_source(tmp_path)) == 1


# --- NIH -------------------------------------------------------------------------------------

BOX_HEAD = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def make_nih(root: Path) -> Path:
    for name in ("00000013_000", "00000013_001"):
        put(root / "images_001" / "images" / f"{name}.png", 512, 256)
    put(root / "images_002" / "00000020_000.png", 1024, 1024)
    put(root / "images_002" / "odd name.png", 64, 64)
    rows = [
        BOX_HEAD,
        "00000013_000.png,Mass,100.5,200,400,400,,,",
        "00000013_000.png,Nodule,200,300,10,10,,,",
        "00000020_000.png,Unheard of,1,1,2,2,,,",
        "00000099_000.png,Infiltrate,1,1,2,2,,,",
    ]
    (root / "BBox_List_2017.csv").write_text("\n".join(rows))
    (root / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Patient ID\n00000013_000.png,Mass|Nodule,13\n"
    )
    (root / "test_list.txt").write_text("00000020_000.png\r\n")
    (root / "train_val_list.txt").write_text("00000013_000.png\n00000013_001.png\n")
    return root


def test_nih_patients_splits_and_boxes_in_the_pixels_at_hand(tmp_path: Path) -> None:
    root = make_nih(tmp_path)
    assert recognise(root).name == "nih"
    source = pickle.loads(pickle.dumps(open_source(root)))
    groups = [record.group for record in source.records]
    assert groups == ["00000013", "00000013", "00000020", "odd name"]
    assert [record.split for record in source.records] == ["train", "train", "test", None]
    assert dict(source.records[0].details)["findings"] == "Mass|Nodule"
    np.testing.assert_allclose(
        source[0].boxes, [[25.125, 100, 125.125, 300], [50, 150, 52.5, 155]], rtol=1e-6
    )
    assert source[1].boxes is None
    assert source[2].boxes is None
    assert all(sample.mask is None for sample in source)
    assert found(source) == {
        "unknown-name": ("odd name",),
        "invalid-box": ("00000020_000",),
        "missing-image": ("00000099_000.png",),
    }


def test_nih_filled_boxes_have_classes_and_the_smaller_one_wins(tmp_path: Path) -> None:
    source = open_source(make_nih(tmp_path), target="boxes")
    mask = source[0].mask
    assert {source.class_names[index] for index in np.unique(mask)} == {
        "background",
        "Mass",
        "Nodule",
    }
    assert source.class_names[mask[152, 51]] == "Nodule"
    assert (mask == source.class_names.index("Nodule")).sum() == 5 * 2
    assert source[1].mask is None


def test_nih_is_not_mistaken_for_a_folder_with_masks(tmp_path: Path) -> None:
    put(tmp_path / "own" / "images" / "00000001_000.png", 4, 4)
    put(tmp_path / "own" / "masks" / "00000001_000.png", 4, 4)
    assert recognise(tmp_path / "own").name == "folder"
    put(tmp_path / "bare" / "00000001_000.png", 4, 4)
    assert recognise(tmp_path / "bare").name == "nih"
    assert open_source(tmp_path / "bare")[0].boxes is None
    (tmp_path / "bare" / "test_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="a list of file names in UTF-8"):
        open_source(tmp_path / "bare")


# --- boxes -----------------------------------------------------------------------------------

edges = st.floats(0, 30, allow_nan=False, width=32)
sides = st.floats(0.125, 30, allow_nan=False, width=32)
drawn = st.builds(Box, edges, edges, sides, sides, st.integers(1, 3))


@given(st.lists(drawn, max_size=5))
def test_boxes_return_from_a_record_as_they_were(boxes: list[Box]) -> None:
    record = Record(id="a", group="a", image=Path("a"), details=(boxes_as_detail(boxes),))
    assert boxes_in(record) == tuple(boxes)


@given(st.lists(drawn, max_size=4))
def test_filled_boxes_equal_a_look_at_every_pixel(boxes: list[Box]) -> None:
    size = (60, 60)
    record = Record(
        id="a",
        group="a",
        image=Path("a"),
        masks=(Path("t"),),
        details=(boxes_as_detail(boxes),),
    )
    mask = BoxReader().filled(record, size)
    expected = np.zeros(size, dtype=np.uint8)
    xyxy = BoxReader().boxes(record, size)
    areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in xyxy]
    for row in range(size[0]):
        for column in range(size[1]):
            held = [
                (areas[i], -i)
                for i, (x0, y0, x1, y1) in enumerate(xyxy)
                if x0 <= column + 0.5 < x1 and y0 <= row + 0.5 < y1
            ]
            if held:
                expected[row, column] = boxes[-min(held)[1]].class_index
    np.testing.assert_array_equal(mask, expected)
