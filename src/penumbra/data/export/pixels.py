"""Decoded pixels to files, without loss and without what else the original file held."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

_LEVEL = 4


def write_image(folder: Path, stem: str, image: NDArray[np.generic]) -> Path:
    """Write an image as PNG (8 and 16 bits), or as TIFF where it holds floating-point numbers.

    Pixels only: EXIF, comments and colour profiles stay behind.

    Args:
        folder: made where it is not there.
        stem: the file's name without its suffix.
        image: (H, W, C) uint8, uint16 or float32, C = 1 or 3.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if image.dtype.kind == "f":
        return write_tiff(folder / f"{stem}.tif", image)
    path = folder / f"{stem}.png"
    path.write_bytes(imagecodecs.png_encode(plain(image), level=_LEVEL))
    return path


def write_tiff(path: Path, image: NDArray[np.generic]) -> Path:
    """Write (H, W) or (H, W, C) as an LZW-compressed TIFF, as the nerve challenge has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = plain(image)
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    # No description and no date: a file is a function of its pixels.
    tifffile.imwrite(path, array, photometric=photometric, compression="lzw", metadata=None)
    return path


def plain(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Drop the channel axis of a grey image, and lay the rest out in memory row by row."""
    array = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    return np.ascontiguousarray(array)


def whole_numbers(image: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Give an image as uint8 or uint16; floating-point numbers are scaled to 0 … 65535.

    By the image's own finite minimum and maximum; a constant image becomes 0.
    """
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    if image.dtype == np.uint16:
        return np.asarray(image, dtype=np.uint16)
    finite = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    span = high - low if high > low else 1.0
    return np.rint((finite - low) * (65535.0 / span)).astype(np.uint16)
