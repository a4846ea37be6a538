"""Fixtures for the tests of images."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def make_dicom(tmp_path):
    """A function that writes a DICOM file with pydicom itself, and not with what is tested.

    `pixels` are native samples, or a list of compressed frames. Keywords are DICOM's own.
    """
    pydicom = pytest.importorskip("pydicom")
    from pydicom.encaps import encapsulate
    from pydicom.uid import (
        UID,
        ExplicitVRLittleEndian,
        JPEGLSLossless,
        SecondaryCaptureImageStorage,
    )

    def make(pixels, *, name="made.dcm", syntax=ExplicitVRLittleEndian, size=None, **keywords):
        path = Path(tmp_path) / name
        dataset = pydicom.Dataset()
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = f"1.2.3.{abs(hash(name))}"
        dataset.PatientName, dataset.PatientID = "Doe^Jane", "MRN-4711"
        dataset.PatientBirthDate = "19700102"
        if isinstance(pixels, np.ndarray):
            bits = 8 * pixels.dtype.itemsize
            shape = pixels.shape
            dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
            order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
            content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
            content += b"\0" * (len(content) % 2)
        else:
            bits, shape = 16, size
            dataset.PixelRepresentation = 0
            content = encapsulate(pixels)
        is_colour = len(shape) == 3 and shape[-1] == 3
        dataset.Rows, dataset.Columns = shape[0], shape[1]
        dataset.SamplesPerPixel = 3 if is_colour else 1
        dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
        if is_colour:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = bits
        for keyword, value in keywords.items():
            setattr(dataset, keyword, value)
        if "HighBit" not in dataset:
            dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelData = content
        is_compressed = not isinstance(pixels, np.ndarray)
        dataset["PixelData"].VR = "OB" if is_compressed or bits <= 8 else "OW"
        if is_compressed:
            dataset["PixelData"].is_undefined_length = True
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        # A syntax that pydicom does not know (yet) is written over one that it does.
        is_known = UID(syntax) in pydicom.uid.AllTransferSyntaxes
        dataset.file_meta.TransferSyntaxUID = UID(syntax) if is_known else JPEGLSLossless
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        if not is_known:
            old, new = _element(JPEGLSLossless), _element(syntax)
            path.write_bytes(path.read_bytes().replace(old, new, 1))
        return path

    return make


def _element(uid):
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
