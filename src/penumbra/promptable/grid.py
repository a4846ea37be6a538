"""Where everything-mode asks: a grid of points, and crops that are looked at more closely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.inference.tiling import Tile


@dataclass(frozen=True)
class Crop:
    """A window that is embedded by itself.

    Attributes:
        layer: 0 is the whole image; layer i has 2^i × 2^i crops.
        tile: where it lies.
    """

    layer: int
    tile: Tile


def grid_points(size: tuple[int, int], *, per_side: int) -> NDArray[np.float32]:
    """Give the centres of `per_side` × `per_side` equal cells.

    Args:
        size: (H, W) in pixels.
        per_side: cells per side, at least 1.

    Returns:
        (per_side², 2) float32 (x, y), whole numbers at the centres of pixels (see `prompts`), in
        reading order.

    Examples:
        >>> grid_points((8, 4), per_side=2).tolist()
        [[0.5, 1.5], [2.5, 1.5], [0.5, 5.5], [2.5, 5.5]]
    """
    height, width = size
    centres = (np.arange(per_side) + 0.5) / per_side
    # Cells finer than pixels begin before the centre of the first pixel, which is 0.
    columns, rows = (np.maximum(centres * extent - 0.5, 0) for extent in (width, height))
    x, y = np.meshgrid(columns, rows)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def plan_crops(size: tuple[int, int], *, layers: int, overlap: float = 0.34) -> tuple[Crop, ...]:
    """Plan the whole image, then ever smaller windows of it.

    Args:
        size: (H, W) in pixels.
        layers: how many times the sides are halved; 0 is the whole image alone.
        overlap: share of the image's shorter side by which neighbours of the first layer overlap;
            halved with each further layer.

    Returns:
        Crops by layer, in reading order; no crop has a side below 1 pixel.

    Examples:
        >>> [len([c for c in plan_crops((90, 90), layers=2) if c.layer == i]) for i in range(3)]
        [1, 4, 16]
        >>> plan_crops((60, 90), layers=1, overlap=0.2)[1].tile
        Tile(top=0, left=0, height=36, width=51)
    """
    height, width = size
    crops = [Crop(0, Tile(0, 0, height, width))]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(size) * 2 / count)
        rows, columns = _windows(height, count, shared), _windows(width, count, shared)
        crops += [
            Crop(layer, Tile(top, left, tall, wide)) for top, tall in rows for left, wide in columns
        ]
    return tuple(crops)


def _windows(length: int, count: int, shared: int) -> list[tuple[int, int]]:
    """Give (start, length) of windows that overlap by `shared` and cover the side."""
    side = min(length, math.ceil((length + shared * (count - 1)) / count))
    starts = [min(index * max(1, side - shared), length - side) for index in range(count)]
    # A side of fewer pixels than windows gives the same window twice.
    return [(start, side) for start in dict.fromkeys(starts)]
