"""Turning stored pixels the way the camera was held (EXIF and TIFF tag 274)."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 274
"""Number of the orientation tag, in EXIF and in TIFF alike."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def swaps_sides(orientation: int) -> bool:
    """Whether this orientation exchanges height and width."""
    return orientation in {5, 6, 7, 8}


def apply_orientation(array: NDArray[_Scalar], orientation: int) -> NDArray[_Scalar]:
    """Turn and flip `array` so that its first row is the top of the scene.

    Args:
        array: (H, W) or (H, W, C).
        orientation: 1–8 as EXIF defines it; any other value leaves the array as it is.

    Returns:
        A view of shape (H, W[, C]), or (W, H[, C]) for orientations 5–8.

    Examples:
        >>> apply_orientation(np.array([[1, 2]]), 3).tolist()
        [[2, 1]]
        >>> apply_orientation(np.array([[1, 2]]), 6).tolist()
        [[1], [2]]
    """
    if swaps_sides(orientation):
        array = array.swapaxes(0, 1)
    # What is left after the transposition is a flip of the rows, of the columns, or of both.
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return array
