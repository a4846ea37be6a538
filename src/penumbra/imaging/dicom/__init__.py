"""DICOM: images, masks and what is known of them, without who they are of. Needs ``[dicom]``."""

from importlib.util import find_spec

from penumbra.errors import MissingExtraError, expected

if find_spec("pydicom") is None:
    raise MissingExtraError(
        expected(
            "pydicom",
            "installed, since a DICOM file is to be read",
            "nothing",
            'pip install "penumbra-segmentation[dicom]"',
        )
    )

from penumbra.imaging.dicom.codecs import SYNTAXES, TransferSyntax
from penumbra.imaging.dicom.header import DicomHeader, read_header
from penumbra.imaging.dicom.identity import pseudonym
from penumbra.imaging.dicom.reading import DicomImage, read_dicom, read_frames
from penumbra.imaging.dicom.segmentation import Segmentation, read_segmentation
from penumbra.imaging.dicom.windows import Window, WindowChoice
from penumbra.imaging.dicom.write import write_dicom

__all__ = [
    "SYNTAXES",
    "DicomHeader",
    "DicomImage",
    "Segmentation",
    "TransferSyntax",
    "Window",
    "WindowChoice",
    "pseudonym",
    "read_dicom",
    "read_frames",
    "read_header",
    "read_segmentation",
    "write_dicom",
]
