"""What is prompted for: the objects of a mask, on the grid that prompts are drawn on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE

_LEAST_ON_GRID = 4
_MOST_SIDE = 512


@dataclass(frozen=True)
class ObjectGrid:
    """The objects of one image on the square that the network sees.

    Attributes:
        labels: (g, g) int16: 0 nothing, n the n-th object, −1 what does not count: ignored pixels,
            objects left out, and the part of the square that the image does not fill.
        count: number of objects.
    """

    labels: NDArray[np.int16]
    count: int

    def masks(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Give the masks (N, g, g) of these objects, counted from 1."""
        return np.asarray(self.labels[None] == numbers[:, None, None])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Pixels (g, g) that count."""
        return np.asarray(self.labels >= 0)


def grid_side(side: int) -> int:
    """Give the side of the grid: that of the network, halved until it is 512 at most.

    Examples:
        >>> grid_side(1024), grid_side(256)
        (512, 256)
    """
    while side > _MOST_SIDE and side % 2 == 0:
        side //= 2
    return side


def objects_on_grid(
    mask: NDArray[np.uint8],
    *,
    resized: tuple[int, int],
    side: int,
    components: bool = True,
    has_background: bool = True,
    least_area: int = 1,
) -> ObjectGrid:
    """Find the objects of a mask and bring them to the network's square.

    Args:
        mask: (H, W) class indices, 255 = ignore.
        resized: (h, w) of the part of the square that the image fills.
        side: of the square in pixels.
        components: one object per connected area of a class (8 neighbours) instead of per class.
        has_background: class 0 holds no objects.
        least_area: in pixels of the mask; smaller objects are left out, and do not count.

    Examples:
        >>> mask = np.zeros((8, 8), np.uint8)
        >>> mask[:3, :3], mask[5:, 5:] = 1, 1
        >>> found = objects_on_grid(mask, resized=(16, 16), side=16)
        >>> found.count, int((found.labels == 1).sum())
        (2, 36)
    """
    whole = np.zeros(mask.shape, dtype=np.int32)
    count = 0
    for index in np.unique(mask):
        if index == IGNORE or (has_background and index == 0):
            continue
        where = (mask == index).astype(np.uint8)
        parts = cv2.connectedComponents(where, connectivity=8)[1] if components else where
        whole[where > 0] = parts[where > 0] + count
        count += int(parts.max())
    areas = np.bincount(whole.ravel(), minlength=count + 1)
    small = areas < least_area
    small[0] = False
    whole[small[whole]] = -1
    whole[mask == IGNORE] = -1
    return _placed(whole, resized=resized, side=side)


def _placed(whole: NDArray[np.int32], *, resized: tuple[int, int], side: int) -> ObjectGrid:
    grid = grid_side(side)
    height, width = (max(1, round(extent * grid / side)) for extent in resized)
    rows = (np.arange(height) + 0.5) * whole.shape[0] / height
    columns = (np.arange(width) + 0.5) * whole.shape[1] / width
    labels = np.full((grid, grid), -1, dtype=np.int32)
    labels[:height, :width] = whole[rows.astype(np.int64)[:, None], columns.astype(np.int64)]
    numbers, areas = np.unique(labels[labels > 0], return_counts=True)
    kept = numbers[areas >= _LEAST_ON_GRID][: np.iinfo(np.int16).max]
    new = np.full(int(whole.max(initial=0)) + 2, -1, dtype=np.int16)
    new[0] = 0
    new[kept] = np.arange(1, len(kept) + 1)
    # The last entry is that of −1.
    return ObjectGrid(new[labels], len(kept))
