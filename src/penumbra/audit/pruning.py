"""Which pairs may be near: a lower bound of every difference, from thumbnails, block by block.

The mean of a block differs between two images by at most the root mean square of the differences
of its pixels. So the root mean square over the blocks is a lower bound of that over the pixels, and
a pair whose bound is over the threshold is over it. What remains is to be compared in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.audit.block_means import (
    Ints,
    Means,
    Multiply,
    rounded,
    squared_differences,
    squared_differences_at,
)
from penumbra.audit.comparison import BLOCK, GRID, SIDE, moves, turned
from penumbra.audit.scan import Scan

Grid = Literal[8, 32]
"""Blocks along a side: the coarse level and the fine one."""

BINS = 512
"""Bins of the histogram of differences, half a grey wide, from 0 to 256."""

COARSE: Grid = 8
FINE: Grid = 32
_SLAB = 256  # rows whose products stay in the processor's cache
_FAR = 2**30
_DENSE = 16

Move = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What counts as near.

    Attributes:
        threshold: root mean square differences below this one are near.
        turns: whether the eight symmetries of the square are tried.
        shifts: most pixels of a move along either axis, at most 32.
        grid: blocks along a side of the thumbnails whose differences the histogram counts.
    """

    threshold: float
    turns: bool
    shifts: int
    grid: Grid

    def ring(self, grid: Grid, move: Move) -> int:
        """Blocks along each edge that some move takes out of the overlap."""
        return 0 if move == (0, 0) else math.ceil(self.shifts * grid / SIDE)

    def limit(self, grid: Grid, move: Move) -> float:
        """Give the largest root mean square over the blocks that a near pair can have."""
        pixels = (SIDE - abs(move[0])) * (SIDE - abs(move[1]))
        blocks = (grid - 2 * self.ring(grid, move)) ** 2
        return self.threshold * math.sqrt(pixels / (blocks * (SIDE // grid) ** 2))


@dataclass(frozen=True)
class Rows:
    """Images as the first of two: their block means at both levels, after every move."""

    count: int
    means: Mapping[tuple[Grid, Move], Means]


class Columns:
    """Images as the second of two: their block means at both levels, after every turn.

    Block means are made when they are first asked for. The coarse ones, 64 bytes an image, stay;
    the fine ones are to be forgotten after each block.

    Args:
        scan: holds the images.
        indices: of samples that could be read.
    """

    def __init__(self, scan: Scan, indices: NDArray[np.int64]) -> None:
        self.count = len(indices)
        self._scan = scan
        self._indices = indices
        self._coarse: dict[tuple[int, int], Means] = {}
        self._fine: dict[tuple[int, int], Means] = {}

    def means(self, grid: Grid, turn: int, ring: int) -> Means:
        """Give the block means of the turned images, less `ring` blocks along each edge."""
        known = self._fine if grid == FINE else self._coarse
        if (turn, ring) not in known:
            sums: NDArray[np.integer] = self._scan.block_sums(self._indices)
            level = sums if grid == FINE else _coarser(sums)
            inner = np.ascontiguousarray(turned(_ringless(level, ring), turn))
            known[turn, ring] = rounded(inner, (SIDE // grid) ** 2)
        return known[turn, ring]

    def forget(self) -> None:
        """Drop the fine block means, which would take 1 kB an image."""
        self._fine.clear()


def _ringless(sums: NDArray[np.integer], ring: int) -> NDArray[np.integer]:
    return sums[:, ring : sums.shape[1] - ring, ring : sums.shape[2] - ring]


def rows_of(scan: Scan, indices: NDArray[np.int64], search: Search) -> Rows:
    """Prepare images as the first of two.

    Args:
        scan: holds them.
        indices: of samples that could be read.
        search: says which moves there are.
    """
    sums = scan.block_sums(indices)
    means: dict[tuple[Grid, Move], Means] = {
        (FINE, (0, 0)): rounded(sums, BLOCK**2),
        (COARSE, (0, 0)): rounded(_coarser(sums), (SIDE // COARSE) ** 2),
    }
    others = moves(search.shifts)[1:]
    parts: dict[tuple[Grid, Move], list[Means]] = {}
    for start in range(0, len(indices) if others else 0, _SLAB):
        greys = np.stack([scan.grey(index) for index in indices[start : start + _SLAB].tolist()])
        for move in others:
            for grid in (COARSE, FINE):
                cut = _moved_sums(greys, move, grid, search.ring(grid, move))
                parts.setdefault((grid, move), []).append(rounded(cut, (SIDE // grid) ** 2))
    means |= {key: _joined(several) for key, several in parts.items()}
    return Rows(len(indices), means)


def _coarser(sums: NDArray[np.integer]) -> NDArray[np.int64]:
    step = GRID // COARSE
    parts = sums.reshape(-1, COARSE, step, COARSE, step)
    return np.asarray(parts.sum(axis=(2, 4), dtype=np.int64))


def _moved_sums(greys: NDArray[np.uint8], move: Move, grid: Grid, ring: int) -> NDArray[np.int32]:
    side = SIDE // grid
    inner = grid - 2 * ring
    top, left = ring * side + move[0], ring * side + move[1]
    cut = greys[:, top : top + inner * side, left : left + inner * side]
    rows = cut.reshape(len(cut), inner, side, inner * side).sum(axis=2, dtype=np.int32)
    return np.asarray(rows.reshape(len(cut), inner, inner, side).sum(axis=3, dtype=np.int32))


def _joined(parts: list[Means]) -> Means:
    return Means(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.norms for part in parts]),
        np.concatenate([part.slack for part in parts]),
    )


def candidates(
    rows: Rows,
    columns: Columns,
    search: Search,
    multiply: Multiply,
    *,
    below: bool,
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the pairs of one block that may be near, and count all its differences.

    Args:
        rows: the first images.
        columns: the second images.
        search: what counts as near.
        multiply: how bytes are multiplied.
        below: whether both are the same images, so that only pairs with i > j are looked at.
        counts: (512,) int64; the differences of the pairs are added.

    Returns:
        i and j, indices into rows and columns, each pair once.
    """
    found = [np.empty(0, np.intp)]
    for start in range(0, rows.count, _SLAB):
        stop = min(start + _SLAB, rows.count)
        slab = Rows(stop - start, {key: m.rows(start, stop) for key, m in rows.means.items()})
        far = _upper(start, stop, columns.count) if below else None
        for turn in range(8 if search.turns else 1):
            for move in moves(search.shifts):
                tally = counts if turn == 0 and move == (0, 0) else None
                i, j = _of_slab(slab, columns, search, multiply, turn, move, far, tally)
                found.append((i + start) * columns.count + j)
    codes = np.unique(np.concatenate(found))
    return codes // columns.count, codes % columns.count


def _upper(start: int, stop: int, count: int) -> NDArray[np.bool_]:
    return np.arange(start, stop)[:, None] <= np.arange(count)


def _of_slab(
    slab: Rows,
    columns: Columns,
    search: Search,
    multiply: Multiply,
    turn: int,
    move: Move,
    far: NDArray[np.bool_] | None,
    tally: NDArray[np.int64] | None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # Where the fine differences are all to be counted, the coarse ones would spare nothing.
    first = FINE if tally is not None and search.grid == FINE else COARSE
    a, b = _pair(slab, columns, search, first, turn, move)
    squares = squared_differences(a, b, multiply)
    if far is not None:
        squares[far] = _FAR
    if tally is not None:
        _count(squares, first, tally)
    i, j = np.nonzero(
        squares <= _most(search, first, move, a.slack, b.slack.max(initial=0))[:, None]
    )
    if first == FINE or not len(i):
        return i, j
    a, b = _pair(slab, columns, search, FINE, turn, move)
    if len(i) > squares.size // _DENSE:
        at = squared_differences(a, b, multiply)[i, j]
    else:
        at = squared_differences_at(a, b, i, j)
    near = at <= _most(search, FINE, move, a.slack[i], b.slack[j])
    return i[near], j[near]


def _pair(
    slab: Rows, columns: Columns, search: Search, grid: Grid, turn: int, move: Move
) -> tuple[Means, Means]:
    return slab.means[grid, move], columns.means(grid, turn, search.ring(grid, move))


def _most(
    search: Search,
    grid: Grid,
    move: Move,
    slack_a: NDArray[np.float64],
    slack_b: NDArray[np.float64],
) -> Ints:
    """Give the largest sum of squares that a near pair can have, with what rounding took."""
    blocks = (grid - 2 * search.ring(grid, move)) ** 2
    root = search.limit(grid, move) + slack_a + slack_b
    # A hair more: these few floating-point operations may err by a last digit, a bound may not.
    most = blocks * root**2 * (1 + 1e-9) + 1e-6
    return np.asarray(np.minimum(np.floor(most), _FAR - 1), dtype=np.int32)


def _count(squares: Ints, grid: Grid, tally: NDArray[np.int64]) -> None:
    # Each step is correctly rounded, so the same everywhere; pairs not meant are off the scale.
    apart = squares.astype(np.float32)
    apart *= np.float32(1 / grid**2)
    np.sqrt(apart, out=apart)
    tally += cv2.calcHist([apart], [0], None, [BINS], [0, BINS / 2]).ravel().astype(np.int64)
