"""Luma and chroma to red, green and blue (DICOM PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FULL = np.array(
    [[1.0, 0.0, 1.402], [1.0, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1.0, 1.772, 0.0]]
)
# The narrow range of video: luma 16-235, chroma 16-240, in eighths of a byte's range.
_NARROW = _FULL * np.array([255 / 219, 255 / 224, 255 / 224])


def rgb_from_ybr(
    samples: NDArray[np.generic], bits: int, *, is_partial: bool
) -> NDArray[np.uint16]:
    """Convert (H, W, 3) luma and chroma to red, green and blue, rounded and cut to the range.

    ``YBR_FULL``: R = Y + 1.402 Cr, G = Y - 0.3441 Cb - 0.7141 Cr, B = Y + 1.772 Cb, where Cb and
    Cr are taken from their middle, 2^(bits - 1). ``YBR_PARTIAL``: the same after stretching luma
    16–235 and chroma 16–240 to the full range.

    Args:
        samples: (H, W, 3) whole numbers, 0 to 2^bits - 1.
        bits: bits per sample, at most 16.
        is_partial: whether the narrow range of video is used.

    Examples:
        >>> rgb_from_ybr(np.array([[[76, 85, 255]]]), 8, is_partial=False).tolist()
        [[[254, 0, 0]]]
    """
    middle, white = 1 << (bits - 1), (1 << bits) - 1
    black = middle / 8 if is_partial else 0.0
    centred = samples.astype(np.float64) - np.array([black, middle, middle])
    colours = centred @ (_NARROW if is_partial else _FULL).T
    return np.asarray(np.clip(np.rint(colours), 0, white), dtype=np.uint16)


def joined_422(samples: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    """Unpack rows of Y1 Y2 Cb Cr to (H, W, 3); both pixels of a pair share their chroma."""
    pairs = samples.reshape(height, width // 2, 4)
    chroma = np.repeat(pairs[..., 2:], 2, axis=1)
    luma = pairs[..., :2].reshape(height, width, 1)
    return np.concatenate([luma, chroma], axis=-1)
