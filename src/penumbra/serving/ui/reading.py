"""Uploaded bytes to arrays, within limits, under no name that a client chose."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError
from penumbra.imaging.files import Limits, read_image


def decode(upload: bytes, limits: Limits) -> NDArray[np.generic]:
    """Read an image file that is held in memory.

    Args:
        upload: a PNG, JPEG, TIFF or DICOM file.
        limits: the largest image that is read.

    Returns:
        (H, W, C) with C = 1 or 3; uint8, uint16 or float32.

    Raises:
        ImageFileError: it is no image, damaged or too large.
        MissingExtraError: a DICOM file without the extra ``[dicom]``.
    """
    with tempfile.TemporaryDirectory(prefix="penumbra-") as folder:
        file = Path(folder) / "image"
        file.write_bytes(upload)
        try:
            return read_image(file, limits=limits)
        except ImageFileError as error:
            # A reader of the page has no use for a path that is gone by now.
            said = str(error).replace(str(file), "the image")
            raise ImageFileError(said, truncated=error.truncated) from None
