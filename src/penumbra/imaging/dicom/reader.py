"""DICOM among the image formats: what `imaging.files` asks of every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.dicom.header import DicomHeader, header_of
from penumbra.imaging.dicom.parsing import parsed
from penumbra.imaging.dicom.reading import pixels_of, values_of
from penumbra.imaging.dicom.segmentation import SOP_CLASSES, mask_of, read_segmentation
from penumbra.imaging.formats import FileFormat, sniff_format
from penumbra.imaging.limits import Limits


def size(path: Path, _format: FileFormat, limits: Limits) -> tuple[int, int]:
    """Give (height, width) as `image` would return it, from the header alone."""
    with parsed(path, limits, head_only=True) as opened:
        header = header_of(path, opened, limits=limits)
    return header.height, header.width


def image(path: Path, _format: FileFormat, limits: Limits) -> NDArray[np.generic]:
    """Decode the first frame as it would be shown: (H, W, C), uint8, uint16 or float32."""
    return pixels_of(path, limits)


def values(path: Path, _format: FileFormat, limits: Limits) -> NDArray[np.generic]:
    """Decode to segment numbers, palette indices or greys as stored, or colours."""
    if _header(path, limits).sop_class in SOP_CLASSES:
        return mask_of(path, limits)
    return values_of(path, limits)


def values_on(path: Path, on: Path, limits: Limits) -> NDArray[np.generic]:
    """Decode as `values` does; a segmentation object is placed on the DICOM image `on`."""
    is_segmentation = _header(path, limits).sop_class in SOP_CLASSES
    if is_segmentation and sniff_format(on) == "dicom":
        return read_segmentation(path, limits=limits).mask_for(on, limits=limits)
    return values(path, "dicom", limits)


def spacing(path: Path) -> tuple[float, float] | None:
    """Give millimetres per pixel (row, column), or ``None`` where the file does not say."""
    return _header(path, Limits()).spacing


def _header(path: Path, limits: Limits) -> DicomHeader:
    with parsed(path, limits) as opened:
        return header_of(path, opened, limits=limits)
