"""How far masks of one object agree, whatever their number: each is kept as one bit a pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_STRIP = 2**15  # bytes of every mask that are unpacked at a time


class MaskAgreement:
    """Masks of one image that are compared with one another.

    Examples:
        >>> masks = MaskAgreement()
        >>> for row in ([1, 1, 0], [0, 1, 1], [1, 1, 0]):
        ...     masks.add(np.array([row], dtype=bool))
        >>> round(masks.pairwise_iou(), 4), masks.dice(np.array([[1, 1, 0]], dtype=bool)).tolist()
        (0.5556, [1.0, 0.5, 1.0])
    """

    def __init__(self) -> None:
        self._packed: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, mask: NDArray[np.bool_]) -> None:
        """Add a mask (H, W); all have one size."""
        self._packed.append(np.packbits(mask))

    def _overlaps(self, *further: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Count the pixels that every two masks share; the diagonal has their areas."""
        rows = [*self._packed, *further]
        both = np.zeros((len(rows), len(rows)))
        for start in range(0, len(rows[0]), _STRIP):
            bits = [np.unpackbits(row[start : start + _STRIP]) for row in rows]
            strip = np.stack(bits).astype(np.float32)
            both += strip @ strip.T
        return both

    def pairwise_iou(self) -> float:
        """Average the IoU of the K (K − 1) / 2 pairs; two empty masks agree.

        Returns:
            In [0, 1]; not a number for fewer than two masks.
        """
        if len(self) < 2:
            return math.nan
        both = self._overlaps()
        areas = np.diagonal(both)
        either = areas[:, None] + areas - both
        iou = np.where(either > 0, both / np.maximum(either, 1), 1.0)
        return float(iou[np.triu_indices(len(self), k=1)].mean())

    def dice(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Give the Dice of each mask with one more, (K,); 1 where both are empty."""
        both = self._overlaps(np.packbits(mask))
        areas = np.diagonal(both)
        total = areas[:-1] + areas[-1]
        return np.asarray(np.where(total > 0, 2 * both[:-1, -1] / np.maximum(total, 1), 1.0))
