"""Writing DICOM: valid by pydicom's eyes, and the same pixels when read again."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from penumbra.errors import SettingsError, StorageError
from penumbra.imaging.files import read_image

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import read_dicom, write_dicom  # noqa: E402

GREY = array_shapes(min_dims=2, max_dims=2, max_side=9)
SHAPES = st.one_of(GREY, GREY.map(lambda shape: (*shape, 1)), GREY.map(lambda shape: (*shape, 3)))
PIXELS = st.sampled_from([np.uint8, np.uint16]).flatmap(lambda dtype: arrays(dtype, SHAPES))
LENGTH = st.floats(1e-3, 1e3)


@settings(max_examples=40)
@given(PIXELS, st.none() | st.tuples(LENGTH, LENGTH))
def test_what_is_written_is_read_again(pixels, spacing):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.dcm"
        write_dicom(path, pixels, spacing=spacing, patient="patient-1")
        image = read_dicom(path, keep_identifiers=True)
        again = read_image(path)
        reference = pydicom.dcmread(path).pixel_array
    expected = pixels[..., None] if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(image.pixels, expected)
    np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(
        reference, expected.squeeze(-1) if expected.shape[-1] == 1 else expected
    )
    assert image.pixels.dtype == pixels.dtype
    assert image.patient == "patient-1"
    assert image.spacing == (None if spacing is None else pytest.approx(spacing, rel=1e-9))


@settings(max_examples=25)
@given(arrays(np.uint16, (5, 6)), st.integers(0, 60_000), st.integers(2, 5000))
def test_a_window_of_ones_own_is_kept(pixels, center, width):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.dcm"
        write_dicom(path, pixels, window=(center, width))
        np.testing.assert_array_equal(read_dicom(path, window=None).pixels[..., 0], pixels)
        assert read_dicom(path).shown == f"window {center:g}/{width:g}"


def test_the_file_is_a_valid_secondary_capture(tmp_path):
    path = tmp_path / "deep" / "er" / "a.dcm"
    write_dicom(path, np.zeros((4, 5, 3), np.uint8), patient="p", modality="XC")
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.SOPClassUID.name == "Secondary Capture Image Storage"
    assert all(dataset[name].value.is_valid for name in ("SOPInstanceUID", "StudyInstanceUID"))
    assert (dataset.Modality, dataset.PatientID, dataset.PatientName) == ("XC", "p", "")
    # Attributes that must be there though they may be empty (PS3.3 A.8.1.3, type 2).
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyID", "AccessionNumber"):
        assert dataset[keyword].is_empty


def test_the_same_call_gives_the_same_bytes_and_another_image_another_uid(tmp_path):
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name, array in (("x/a", pixels), ("y/a", pixels), ("x/b", pixels), ("z/a", pixels[::-1])):
        write_dicom(tmp_path / f"{name}.dcm", array, patient="p", study="s")
    first, same, renamed, other = (
        (tmp_path / f"{name}.dcm").read_bytes() for name in ("x/a", "y/a", "x/b", "z/a")
    )
    assert first == same
    uids = {
        pydicom.dcmread(tmp_path / f"{name}.dcm").SOPInstanceUID for name in ("x/a", "x/b", "z/a")
    }
    assert len(uids) == 3
    assert first not in (renamed, other)
    studies = {pydicom.dcmread(path).StudyInstanceUID for path in tmp_path.rglob("*.dcm")}
    assert len(studies) == 1


@pytest.mark.parametrize(
    ("pixels", "options", "named"),
    [
        (np.zeros((4, 5), np.float32), {}, "`pixels`"),
        (np.zeros((4, 5), np.int16), {}, "`pixels`"),
        (np.zeros((4, 5, 4), np.uint8), {}, "`pixels`"),
        (np.zeros((0, 5), np.uint8), {}, "`pixels`"),
        (np.zeros(5, np.uint8), {}, "`pixels`"),
        (np.zeros((4, 5), np.uint8), {"patient": "a\\b"}, "`patient`"),
        (np.zeros((4, 5), np.uint8), {"patient": "x" * 65}, "`patient`"),
        (np.zeros((4, 5), np.uint8), {"patient": "Müller"}, "`patient`"),
        (np.zeros((4, 5), np.uint8), {"modality": "x-ray"}, "`modality`"),
        (np.zeros((4, 5), np.uint8), {"spacing": (0, 1)}, "`spacing`"),
        (np.zeros((4, 5), np.uint8), {"spacing": (1, float("inf"))}, "`spacing`"),
        (np.zeros((4, 5), np.uint16), {"window": (4, 0)}, "`window`"),
        (np.zeros((4, 5, 3), np.uint8), {"window": (4, 9)}, "`window`"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, pixels, options, named):
    with pytest.raises(SettingsError, match=f"^Expected {named} to be .*Try "):
        write_dicom(tmp_path / "a.dcm", pixels, **options)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="a folder, but got a file"):
        write_dicom(tmp_path / "file" / "a.dcm", np.zeros((4, 5), np.uint8))
