"""A minimal, valid secondary capture: an image for software that takes nothing but DICOM."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from penumbra.errors import SettingsError, expected
from penumbra.imaging.dicom.windows import Window
from penumbra.storage import atomic_path

_UID_ROOT = "2.25"
"""The root under which anyone may make UIDs from 128 bits (PS3.5 B.2)."""

_IMPLEMENTATION = "2.25.302584317284406116229157811963480418811"
_LONGEST_ID = 64


def write_dicom(
    path: str | Path,
    pixels: NDArray[np.generic],
    *,
    spacing: tuple[float, float] | None = None,
    patient: str = "",
    study: str | None = None,
    modality: str = "OT",
    window: tuple[float, float] | None = None,
) -> None:
    """Write an image as a DICOM secondary capture, Explicit VR Little Endian.

    The file is a function of its arguments and its name: UIDs are hashes and there is no date, so
    that an export made twice is the same. A grey image of 16 bits gets a window over its full
    range unless another is given, so that `read_dicom` shows exactly what was written.

    Args:
        path: the file; its folder is made. Two files of one study need different names.
        pixels: (H, W), (H, W, 1) or (H, W, 3), uint8 or uint16, up to 65,535 a side.
        spacing: millimetres per pixel (row, column).
        patient: the patient id to write, up to 64 printable ASCII characters without a backslash.
            Give a pseudonym unless the id is meant to leave the house.
        study: what names the study; images with equal `patient` and `study` share one. The patient
            where not given.
        modality: two to four capital letters, such as ``"DX"``.
        window: centre and width of the window to write; grey images only.

    Raises:
        SettingsError: an argument is none of these.
        StorageError: the file cannot be written.
    """
    file = Path(path)
    array = _checked_pixels(pixels)
    _check_words(patient, modality, spacing)
    _check_window(array, window)
    dataset = Dataset()
    _describe(dataset, file, array, patient=patient, study=study, modality=modality)
    _describe_pixels(dataset, array)
    if spacing is not None:
        dataset.PixelSpacing = [_decimal(value) for value in spacing]
    if array.ndim == 2 and (window is not None or array.dtype == np.uint16):
        center, width = window or (32768.0, 65536.0)
        dataset.WindowCenter, dataset.WindowWidth = _decimal(center), _decimal(width)
    dataset.file_meta = _meta(dataset)
    with atomic_path(file) as temporary:
        dcmwrite(temporary, dataset, enforce_file_format=True)


def _checked_pixels(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    array = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)
    fits = is_image and all(1 <= side <= 65_535 for side in array.shape[:2])
    if not fits or array.dtype not in (np.uint8, np.uint16):
        raise SettingsError(
            expected(
                "`pixels`",
                "(H, W), (H, W, 1) or (H, W, 3), uint8 or uint16",
                f"{pixels.shape} {pixels.dtype}",
                "scaling a float image to uint16 first",
            )
        )
    return np.ascontiguousarray(array)


def _check_words(patient: str, modality: str, spacing: tuple[float, float] | None) -> None:
    is_id = patient.isascii() and patient.isprintable() and "\\" not in patient
    if len(patient) > _LONGEST_ID or (patient and not is_id):
        raise SettingsError(
            expected(
                "`patient`",
                f"at most {_LONGEST_ID} printable ASCII characters without a backslash",
                f"{len(patient)} characters",
                "a pseudonym",
            )
        )
    if not (modality.isascii() and modality.isupper() and 2 <= len(modality) <= 4):
        raise SettingsError(
            expected("`modality`", "two to four capital letters", repr(modality), '"OT"')
        )
    if spacing is not None and not all(np.isfinite(v) and v > 0 for v in spacing):
        raise SettingsError(
            expected("`spacing`", "two lengths in millimetres above 0", spacing, "None")
        )


def _check_window(array: NDArray[np.generic], window: tuple[float, float] | None) -> None:
    if window is None or (array.ndim == 2 and Window(float(window[0]), float(window[1])).is_valid):
        return
    raise SettingsError(
        expected(
            "`window`",
            "the centre and width of a grey image's window, a width of 1 or more",
            f"{window} for {'a grey' if array.ndim == 2 else 'a colour'} image",
            "None",
        )
    )


def _describe(
    dataset: Dataset,
    file: Path,
    array: NDArray[np.generic],
    *,
    patient: str,
    study: str | None,
    modality: str,
) -> None:
    of_study = patient if study is None else study
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    content = hashlib.sha256(array.tobytes()).hexdigest()
    shape = "x".join(map(str, (*array.shape, array.dtype)))
    dataset.SOPInstanceUID = _uid("instance", patient, of_study, file.name, shape, content)
    dataset.StudyInstanceUID = _uid("study", patient, of_study)
    dataset.SeriesInstanceUID = _uid("series", patient, of_study, modality)
    dataset.Modality = modality
    dataset.ConversionType = "WSD"
    dataset.PatientID = patient
    for keyword in (
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "Laterality",
        "PatientOrientation",
    ):
        setattr(dataset, keyword, "")
    dataset.SeriesNumber = dataset.InstanceNumber = "1"


def _describe_pixels(dataset: Dataset, array: NDArray[np.generic]) -> None:
    bits = 8 * array.dtype.itemsize
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = 1 if array.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if array.ndim == 2 else "RGB"
    if array.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    # Values have an even number of bytes.
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def _meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    return meta


def _uid(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{_UID_ROOT}.{int.from_bytes(digest[:16], 'big')}"


def _decimal(value: float) -> str:
    """Write a number in the 16 characters that a decimal string has."""
    for digits in range(16, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"
