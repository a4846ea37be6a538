"""Contrast-limited adaptive histogram equalisation, for 8 bits and for finer levels alike."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

_BINS = 256
_STEPS = 2**16
_LEAST_TILE = 8


def equalised(grey: NDArray[np.float32], *, clip: float, tiles: int) -> NDArray[np.float32]:
    """Equalise the histogram of every tile, and blend the four nearest tiles bilinearly.

    After [Zuiderveld 1994](https://doi.org/10.1016/B978-0-12-336156-1.50061-6): a tile's histogram
    has 256 bins; a bin holds at most `clip` times the mean of all bins (but one pixel), and the
    excess is spread over all. A level becomes the share of pixels at or below it, with straight
    lines between bins, so that an image of 16 bits stays smooth and one of 8 bits gives the same
    picture.

    Args:
        grey: (H, W) levels in 0–1; finer steps than 2⁻¹⁶ are rounded.
        clip: at least 1.
        tiles: along each side; a side whose length they do not divide is continued by its mirror
            image, and there are fewer where a tile would be less than 8 pixels wide.

    Returns:
        (H, W) float32 in 0–1.
    """
    height, width = grey.shape
    rows, columns = (max(1, min(tiles, side // _LEAST_TILE)) for side in (height, width))
    # Mirrored only where the tiles do not divide a side, and then in both: as OpenCV does it.
    uneven = height % rows != 0 or width % columns != 0
    extra = [n - side % n if uneven else 0 for side, n in ((height, rows), (width, columns))]
    whole = np.pad(
        grey, ((0, extra[0]), (0, extra[1])), mode="reflect" if min(grey.shape) > 1 else "edge"
    )
    tall, wide = whole.shape[0] // rows, whole.shape[1] // columns
    bins = np.rint(whole * np.float32(_BINS - 1)).astype(np.uint8)
    tables = np.empty((rows, columns, _STEPS), dtype=np.float32)
    for r, c in product(range(rows), range(columns)):
        tile = bins[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide]
        tables[r, c] = _table(tile, clip)
    fine = np.rint(grey * np.float32(_STEPS - 1)).astype(np.uint16)
    return _blended(fine, tables, tall, wide)


def _table(tile: NDArray[np.uint8], clip: float) -> NDArray[np.float32]:
    """Give the new level of each of 2¹⁶ levels, by one tile's histogram."""
    counts = np.bincount(tile.ravel(), minlength=_BINS)
    most = max(int(clip * tile.size / _BINS), 1)
    excess = int(np.maximum(counts - most, 0).sum())
    counts = np.minimum(counts, most) + excess // _BINS
    rest = excess % _BINS
    if rest:
        # Spread evenly over the bins, not heaped upon the darkest.
        counts[: rest * max(_BINS // rest, 1) : max(_BINS // rest, 1)] += 1
    shares = np.cumsum(counts) / tile.size
    places = np.linspace(0.0, _BINS - 1, _STEPS)
    return np.interp(places, np.arange(_BINS), shares).astype(np.float32)


def _weights(
    length: int, tile: int, count: int
) -> list[tuple[slice, int, int, NDArray[np.float32]]]:
    """Cut an axis at the tiles' centres: (pixels, tile before, tile after, weight of that)."""
    place = (np.arange(length, dtype=np.float32)) / np.float32(tile) - np.float32(0.5)
    before = np.floor(place).astype(int)
    weight = (place - before).astype(np.float32)
    cuts = np.flatnonzero(np.diff(before)) + 1
    spans = [slice(int(a), int(b)) for a, b in zip([0, *cuts], [*cuts, length], strict=True)]
    return [
        (span, max(before[span.start], 0), min(before[span.start] + 1, count - 1), weight[span])
        for span in spans
    ]


def _blended(
    fine: NDArray[np.uint16], tables: NDArray[np.float32], tall: int, wide: int
) -> NDArray[np.float32]:
    """Look every pixel up in the tables of the four nearest tiles."""
    out = np.empty(fine.shape, dtype=np.float32)
    across = _weights(fine.shape[1], wide, tables.shape[1])
    for rows, above, below, down in _weights(fine.shape[0], tall, tables.shape[0]):
        for columns, left, right, along in across:
            part = fine[rows, columns]
            upper, lower = (
                (1 - along) * tables[row, left][part] + along * tables[row, right][part]
                for row in (above, below)
            )
            out[rows, columns] = (1 - down[:, None]) * upper + down[:, None] * lower
    return out
