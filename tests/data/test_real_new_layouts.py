"""RSNA, NIH, MIDV-500 and COCO on the real files that they were written for."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import open_source, recognise
from penumbra.data.layouts.midv500 import quad_of, read_quad
from penumbra.errors import SourceError

pytestmark = pytest.mark.real_data


def shoelace(points: np.ndarray) -> float:
    x, y = np.asarray(points, dtype=float).T
    return abs(float(x @ np.roll(y, -1) - np.roll(x, -1) @ y)) / 2


@pytest.fixture(scope="module")
def rsna_rows(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "rsna" / "stage_2_train_labels.csv").open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter=";"))


@pytest.fixture(scope="module")
def rsna_set(real_data: Path, tmp_path_factory: pytest.TempPathFactory, rsna_rows) -> Path:
    """The real table with a small stand-in for every tenth patient's image."""
    root = tmp_path_factory.mktemp("rsna")
    table = real_data / "rsna" / "stage_2_train_labels.csv"
    (root / table.name).write_bytes(table.read_bytes())
    blank = root / "blank.bmp"
    Image.new("L", (1024, 1024)).save(blank)
    (root / "images").mkdir()
    for patient in sorted({row["patientId"] for row in rsna_rows})[::10]:
        (root / "images" / f"{patient}.bmp").hardlink_to(blank)
    blank.unlink()
    return root


def test_rsna_the_whole_table_of_boxes(rsna_set: Path, rsna_rows) -> None:
    assert len(rsna_rows) == 30_227
    assert sum(row["Target"] == "1" for row in rsna_rows) == 9_555
    assert recognise(rsna_set).name == "rsna"
    source = open_source(rsna_set, target="boxes")
    assert len(source) == 2_669
    assert {finding.kind for finding in source.findings} == {"missing-image"}
    counts = Counter(row["patientId"] for row in rsna_rows if row["Target"] == "1")
    size = (1024, 1024)
    for record in source.records:
        boxes = source.read_boxes(record, size)
        assert boxes.shape == (counts[record.group], 4)
    several = [record for record in source.records if counts[record.group] >= 3]
    assert several
    for record in several:
        expected = np.zeros(size, dtype=np.uint8)
        for row in rsna_rows:
            if row["patientId"] == record.group:
                x, y, w, h = (int(float(row[key])) for key in ("x", "y", "width", "height"))
                expected[y : y + h, x : x + w] = 1
        np.testing.assert_array_equal(source.read_mask(record, size), expected)


def test_rsna_a_real_dicom_that_the_table_does_not_know(real_data: Path) -> None:
    pytest.importorskip("pydicom")
    source = open_source(real_data / "rsna")
    assert source.layout == "rsna"
    assert [finding.kind for finding in source.findings] == ["missing-label", "missing-image"]
    assert len(source.findings[1].samples) == 26_684
    sample = source[0]
    assert sample.image.shape == (1024, 1024, 1)
    assert sample.boxes is None
    assert sample.mask is None


def test_nih_patients(real_data: Path) -> None:
    source = open_source(real_data / "nih_cxr")
    assert source.layout == "nih"
    assert {record.group for record in source.records} == {"00000001"}
    assert source.findings == ()
    assert source[0].image.shape == (512, 512, 1)
    assert source[0].boxes is None


def test_midv500_a_photograph_with_its_quadrilateral(real_data: Path) -> None:
    root = real_data / "midv500"
    assert recognise(root).name == "midv500"
    source = open_source(root)
    assert len(source) == 1
    sample = source[0]
    assert sample.group == "43_tur_id"
    assert sample.image.shape == (1920, 1080, 3)
    quad = quad_of(source.records[0])
    assert quad.tolist() == [[139, 678], [940, 689], [966, 1180], [88, 1167]]
    assert abs(int(sample.mask.sum()) - shoelace(quad)) < 0.01 * shoelace(quad)
    told = {finding.kind: finding.samples for finding in source.findings}
    assert len(told["missing-image"]) == 89
    assert set(told["unknown-place"]) == {"CA43_01.tif", "unlabelled_photo.tif"}


def test_midv500_a_photograph_without_one(real_data: Path, tmp_path: Path) -> None:
    clip = tmp_path / "99_xxx_id" / "images" / "CA"
    clip.mkdir(parents=True)
    (clip / "photo.tif").symlink_to(real_data / "midv500" / "unlabelled_photo.tif")
    source = open_source(f"midv500:{tmp_path}")
    assert source[0].image.shape == (1920, 1080, 3)
    assert source[0].mask is None
    assert [finding.kind for finding in source.findings] == ["missing-mask"]


def test_midv500_every_quadrilateral(real_data: Path, tmp_path: Path) -> None:
    """With a stand-in for every frame: masks are cut at the frame, corners are kept."""
    files = sorted((real_data / "midv500" / "data").rglob("*.json"))
    assert len(files) == 90
    for file in files:
        document, clip = file.parents[2].name, file.parent.name
        frame = tmp_path / document / "images" / clip / f"{file.stem}.png"
        frame.parent.mkdir(parents=True, exist_ok=True)
        frame.touch()
        quads = tmp_path / document / "ground_truth" / clip
        quads.mkdir(parents=True, exist_ok=True)
        (quads / file.name).symlink_to(file)
    source = open_source(tmp_path)
    assert len(source) == 90
    assert source.findings == ()
    by_stem = {file.stem: file for file in files}
    leaving = 0
    for record in source.records:
        corners = np.array(read_quad(by_stem[record.id]))
        np.testing.assert_array_equal(quad_of(record), corners)
        mask = source.read_mask(record, (1920, 1080))
        outside = (corners < 0).any() or (corners > (1080, 1920)).any()
        leaving += outside
        difference = shoelace(corners) - int(mask.sum())
        assert difference > -0.01 * shoelace(corners)
        if not outside:
            assert difference < 0.01 * shoelace(corners)
    assert leaving == 20


def test_coco_every_quadrilateral_of_the_real_file(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "midv500" / "midv500_coco.json"
    document = json.loads(file.read_text())
    for image in document["images"]:
        path = tmp_path / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / file.name).symlink_to(file)
    source = open_source(f"coco:{tmp_path}")
    assert len(source) == 600
    assert source.class_names == ("background", "id_card")
    assert source.findings == ()
    by_image = {entry["image_id"]: entry for entry in document["annotations"]}
    for index in range(0, 600, 5):
        entry, record = by_image[index], source.records[index]
        corners = np.reshape(entry["segmentation"][0], (4, 2))
        inside = (corners >= 0).all() and (corners <= (1080, 1920)).all()
        mask = source.read_mask(record, (1920, 1080))
        boxes = source.read_boxes(record, (1920, 1080))
        assert boxes.shape == (1, 4)
        if not inside:
            continue
        assert abs(int(mask.sum()) - shoelace(corners)) < 0.01 * shoelace(corners)
        rows, columns = np.nonzero(mask)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0] - tight).max() <= 2


def test_coco_without_its_images_says_so(real_data: Path) -> None:
    with pytest.raises(SourceError, match="but got none of its 600"):
        open_source(f"coco:{real_data / 'midv500'}")
