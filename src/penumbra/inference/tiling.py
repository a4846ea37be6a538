"""Where the tiles of a large image lie and how they are blended.

Planned once, tested without a network, then applied: `plan_tiles` makes a `TilePlan`, and
`TilePlan.blend` joins what a network said about each tile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected


@dataclass(frozen=True)
class Tile:
    """A window of an image: rows ``top … top + height``, columns ``left … left + width``."""

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The window as an index for the last two axes."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class TilePlan:
    """All tiles of one image size, with the weights that blend them.

    Attributes:
        size: (H, W) of the image.
        tiles: in reading order; they cover every pixel.
        weight: (h, w) float32, the same positive weight for every tile (all have one size).
        total: (H, W) float32, the sum of the weights at every pixel.
    """

    size: tuple[int, int]
    tiles: tuple[Tile, ...]
    weight: NDArray[np.float32]
    total: NDArray[np.float32]

    def blend(self, parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Compute Σ_t w_t p_t / Σ_t w_t at every pixel, in float32.

        Args:
            parts: (C, h, w) float32 for every tile, in the order of `tiles`. The order is what
                makes the sum the same, bit for bit, however the tiles were batched.

        Returns:
            (C, H, W) float32.
        """
        joined = np.zeros((0, *self.size), dtype=np.float32)
        for tile, part in zip(self.tiles, parts, strict=True):
            if len(self.tiles) == 1:
                return np.asarray(part, dtype=np.float32)
            if not len(joined):
                joined = np.zeros((len(part), *self.size), dtype=np.float32)
            joined[(slice(None), *tile.window)] += self.weight * part
        joined /= self.total
        return joined


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    stride = max(1, int(tile * (1 - overlap)))
    count = math.ceil((length - tile) / stride) + 1
    # Spread evenly: a last tile squeezed against the border would see more overlap than needed.
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _ramp(length: int, overlap: float) -> NDArray[np.float32]:
    """Weights that rise from the border over the overlap, and are 1 inside."""
    edge = max(1.0, length * overlap)
    position = np.arange(length, dtype=np.float32) + 0.5
    distance = np.minimum(position, length - position)
    return np.asarray(np.clip(distance / edge, 1e-3, 1.0), dtype=np.float32)


@functools.lru_cache(maxsize=8)
def plan_tiles(size: tuple[int, int], *, tile: int, overlap: float = 0.25) -> TilePlan:
    """Plan the tiles of an image; the last few plans are kept, since images share sizes.

    Args:
        size: (H, W) of the image, each ≥ 1.
        tile: side of a tile in pixels; smaller sides are taken whole.
        overlap: least share of a tile that the next one repeats, 0 ≤ overlap < 1.

    Raises:
        SettingsError: `tile` or `overlap` is out of its range.

    Examples:
        >>> [t.left for t in plan_tiles((64, 160), tile=64, overlap=0.25).tiles]
        [0, 48, 96]
    """
    if tile < 1 or not 0 <= overlap < 1:
        raise SettingsError(
            expected("tiles", "≥ 1 pixel with overlap in [0, 1)", (tile, overlap), "256 and 0.25")
        )
    height, width = min(size[0], tile), min(size[1], tile)
    tiles = tuple(
        Tile(top, left, height, width)
        for top in _starts(size[0], tile, overlap)
        for left in _starts(size[1], tile, overlap)
    )
    weight = np.outer(_ramp(height, overlap), _ramp(width, overlap)).astype(np.float32)
    total = np.zeros(size, dtype=np.float32)
    for one in tiles:
        total[one.window] += weight
    # A plan is shared by all who ask for it.
    weight.setflags(write=False)
    total.setflags(write=False)
    return TilePlan(size, tiles, weight, total)
