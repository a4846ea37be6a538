"""Images as levels: shares of the display range, in which every filter computes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class DisplayRange:
    """The values that are shown as black and white, and the type that holds them.

    Attributes:
        low: the value of level 0.
        high: the value of level 1.
        dtype: of the image.
    """

    low: float
    high: float
    dtype: np.dtype[np.generic]

    @classmethod
    def of(cls, image: NDArray[np.generic]) -> DisplayRange:
        """Give 0–255 for uint8, and from the least to the greatest value for other types."""
        if image.dtype == np.uint8:
            return cls(0.0, 255.0, image.dtype)
        return cls(float(image.min()), float(image.max()), image.dtype)

    def to_levels(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Compute (value − low) / (high − low) as float32; zeros where the range is empty."""
        # In float64: the distance between the ends of float32 is not always a float32.
        span = self.high - self.low
        if not span > 0:
            return np.zeros(image.shape, dtype=np.float32)
        if image.dtype == np.uint8:
            return np.asarray(image, dtype=np.float32) / np.float32(255.0)
        levels = (image.astype(np.float64) - self.low) / span
        return np.asarray(np.clip(levels, 0.0, 1.0), dtype=np.float32)

    def to_values(self, levels: NDArray[np.float32]) -> NDArray[np.generic]:
        """Compute low + level · (high − low), clipped to the range, rounded for integers."""
        inside = np.clip(levels, 0.0, 1.0)
        values = self.low + inside.astype(np.float64) * (self.high - self.low)
        # Of a span of 10²⁵ even float64 does not tell the last ten digits.
        values = np.clip(values, self.low, self.high)
        if np.issubdtype(self.dtype, np.integer):
            values = np.rint(values)
        return values.astype(self.dtype)


def checked(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Check an image and give it as uint8, uint16 or float32; other real types become float32.

    Raises:
        ImageFileError: it is not (H, W, 1) or (H, W, 3), is empty, holds no real numbers, or is
            not finite everywhere.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] not in (1, 3) or min(array.shape) < 1:
        raise ImageFileError(
            expected("an image to filter", "(H, W, 1) or (H, W, 3), H and W at least 1",
                     array.shape, "`imaging.read_image`, or image[..., None] for a grey array")
        )  # fmt: skip
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind not in "biuf":
        raise ImageFileError(
            expected("an image to filter", "of uint8, uint16 or float32", array.dtype,
                     "`imaging.read_image`")
        )  # fmt: skip
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ImageFileError(
            expected("an image to filter", "finite everywhere", "NaN or infinity",
                     "filling its gaps")
        )  # fmt: skip
    return array


def luma(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give (H, W) of (H, W, C): the one channel, or 0.299 R + 0.587 G + 0.114 B (BT.601).

    Where the three channels are equal it is that channel, to the bit, so that a grey image gives
    the same edges as one channel and as three.
    """
    first = levels[..., 0]
    if levels.shape[2] == 1:
        return first
    differences = (levels - first[..., None]) @ _LUMA
    return np.asarray(first + differences, dtype=np.float32)


def blurred(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur (H, W) or (H, W, C) by a Gaussian cut at 4σ, the image mirrored at its border."""
    if sigma <= 0:
        return plane
    side = 2 * int(4 * sigma + 0.5) + 1
    smooth = cv2.GaussianBlur(
        np.ascontiguousarray(plane), (side, side), sigma, borderType=cv2.BORDER_REFLECT
    )
    return np.asarray(smooth, dtype=np.float32).reshape(plane.shape)
