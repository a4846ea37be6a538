"""A folder of DICOM images: patients are groups, spacing is kept, masks find their image."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source

pytest.importorskip("pydicom")

from penumbra.imaging.dicom import pseudonym, write_dicom

PATIENTS = ("MRN-1", "MRN-1", "MRN-2", "MRN-3", "MRN-4", "MRN-5")


def put_folder(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for number, patient in enumerate(PATIENTS):
        pixels = rng.integers(0, 4096, (16, 12), dtype=np.uint16)
        image = root / "images" / f"scan{number}.dcm"
        write_dicom(image, pixels, patient=patient, spacing=(0.5, 0.25), modality="CT")
        write_dicom(root / "masks" / image.name, (pixels > 2000).astype(np.uint8) * 255)
    return root


def test_patients_become_groups_under_pseudonyms(tmp_path):
    source = open_source(put_folder(tmp_path))
    assert source.layout == "folder"
    assert [record.group for record in source.records] == [pseudonym(name) for name in PATIENTS]
    assert "MRN" not in json.dumps([finding.to_json() for finding in source.findings])
    kept = open_source(tmp_path, keep_identifiers=True)
    assert [record.group for record in kept.records] == list(PATIENTS)


def test_samples_keep_their_spacing_and_masks(tmp_path):
    sample = open_source(put_folder(tmp_path))[0]
    assert sample.image.shape == (16, 12, 1)
    assert sample.image.dtype == np.uint16
    assert sample.spacing == (0.5, 0.25)
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 2000)


def test_a_table_of_groups_comes_first(tmp_path):
    put_folder(tmp_path)
    (tmp_path / "groups.csv").write_text("id,group\nscan0,ward 7\n")
    groups = [record.group for record in open_source(tmp_path).records]
    assert groups[:3] == ["ward 7", pseudonym("MRN-1"), pseudonym("MRN-2")]


def test_a_damaged_file_keeps_its_place_and_stops_nothing(tmp_path):
    put_folder(tmp_path)
    broken = tmp_path / "images" / "scan3.dcm"
    broken.write_bytes(broken.read_bytes()[:300])
    groups = [record.group for record in open_source(tmp_path).records]
    assert groups[3] == "scan3"
    assert groups[4] == pseudonym("MRN-4")


def test_a_picture_of_a_dicom_file_stays_in_its_patients_group(tmp_path):
    from PIL import Image

    put_folder(tmp_path)
    Image.new("L", (12, 16)).save(tmp_path / "images" / "scan2.png")
    groups = {record.id: record.group for record in open_source(tmp_path).records}
    assert groups["scan2_png"] == groups["scan2_dcm"] == pseudonym("MRN-2")


@pytest.mark.parametrize(("flags", "is_kept"), [([], False), (["--keep-identifiers"], True)])
def test_a_manifest_names_patients_only_where_asked(tmp_path, flags, is_kept):
    root, out = put_folder(tmp_path / "set"), tmp_path / "manifest.csv"
    done = CliRunner().invoke(app, ["split", f"folder:{root}", "--out", str(out), "--json", *flags])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert ("MRN-1" in text) == is_kept
    assert "MRN" not in done.output
    rows = [line.split(",") for line in text.splitlines()[1:]]
    splits = {row[0]: row[2] for row in rows}
    assert splits["scan0"] == splits["scan1"]
