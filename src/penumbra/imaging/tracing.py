"""Follow the borders between foreground and background pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# A lattice point sees four pixels: north-west (1), north-east (2), south-west (4), south-east (8).
# Borders run with the foreground on their right. At each pattern in which they turn: the direction
# in, the direction out, and where a foreground pixel of that border lies, from the point.
_EAST, _SOUTH, _WEST, _NORTH = range(4)
_NW, _NE, _SW, _SE = (-1, -1), (-1, 0), (0, -1), (0, 0)
_TURNS: dict[int, tuple[tuple[int, int, tuple[int, int]], ...]] = {
    1: ((_SOUTH, _WEST, _NW),),
    2: ((_WEST, _NORTH, _NE),),
    4: ((_EAST, _SOUTH, _SW),),
    8: ((_NORTH, _EAST, _SE),),
    7: ((_WEST, _SOUTH, _NW),),
    11: ((_NORTH, _WEST, _NW),),
    13: ((_SOUTH, _EAST, _NW),),
    14: ((_EAST, _NORTH, _NE),),
    # Two pixels that touch in a corner only: each keeps its own border, so that areas are
    # 4-connected.
    9: ((_SOUTH, _WEST, _NW), (_NORTH, _EAST, _SE)),
    6: ((_WEST, _NORTH, _NE), (_EAST, _SOUTH, _SW)),
}


def border_loops(
    mask: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.int64], tuple[int, int]]]:
    """Give every simple loop of pixel borders, and a foreground pixel that it borders on.

    The loops turn at each of their vertices, visit none twice, and keep the foreground on their
    right: around areas they run clockwise on the screen, around holes the other way. Together
    they pass each border between a foreground and a background pixel (or the outside) once.

    Args:
        mask: (H, W) bool.

    Yields:
        (N, 2) int64 vertices (x, y), and (row, column) of the pixel, which lies in the 4-connected
        area that the loop belongs to.
    """
    points, pixels, successor = _turns(mask)
    following = successor.tolist()
    ambiguous = _visited_twice(points)
    done = bytearray(len(following))
    for start in range(len(following)):
        if done[start]:
            continue
        loop = []
        at = start
        while not done[at]:
            done[at] = 1
            loop.append(at)
            at = following[at]
        for simple in _simple(loop, ambiguous):
            row, column = pixels[simple[0]]
            yield points[simple], (int(row), int(column))


def _turns(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give (T, 2) points (x, y) of all turns, (T, 2) pixels, and (T,) the turn after each."""
    framed = np.pad(mask.astype(np.uint8), 1)
    pattern = framed[:-1, :-1] + 2 * framed[:-1, 1:] + 4 * framed[1:, :-1] + 8 * framed[1:, 1:]
    rows, columns, ways_in, ways_out, pixels = [], [], [], [], []
    for code, visits in _TURNS.items():
        row, column = np.nonzero(pattern == code)
        for turn_in, turn_out, (down, right) in visits:
            rows.append(row)
            columns.append(column)
            ways_in.append(np.full(row.size, turn_in))
            ways_out.append(np.full(row.size, turn_out))
            pixels.append(np.stack([row + down, column + right], axis=1))
    y, x = np.concatenate(rows), np.concatenate(columns)
    order = np.lexsort((x, y))
    y, x = y[order], x[order]
    way_in, way_out = np.concatenate(ways_in)[order], np.concatenate(ways_out)[order]
    successor = np.empty(y.size, dtype=np.int64)
    for way in (_EAST, _SOUTH, _WEST, _NORTH):
        leaving, arriving = np.flatnonzero(way_out == way), np.flatnonzero(way_in == way)
        if way in (_SOUTH, _NORTH):
            leaving = leaving[np.lexsort((y[leaving], x[leaving]))]
            arriving = arriving[np.lexsort((y[arriving], x[arriving]))]
        # Along a line of the lattice, borders of one direction never overlap, so the k-th turn
        # into that direction and the k-th turn out of it are the two ends of one border.
        successor[leaving] = arriving
    return np.stack([x, y], axis=1), np.concatenate(pixels)[order], successor


def _visited_twice(points: NDArray[np.int64]) -> dict[int, int]:
    """Map each of two turns at one point to a name of that point."""
    same = np.flatnonzero((points[1:] == points[:-1]).all(axis=1)).tolist()
    return {turn: first for first in same for turn in (first, first + 1)}


def _simple(loop: list[int], ambiguous: dict[int, int]) -> Iterator[list[int]]:
    """Part a loop that passes a point twice into loops that do not."""
    if not any(turn in ambiguous for turn in loop):
        yield loop
        return
    path: list[int] = []
    place: dict[int, int] = {}
    for turn in loop:
        name = ambiguous.get(turn)
        if name is not None and name in place:
            start = place[name]
            inner = path[start:]
            for passed in inner:
                place.pop(ambiguous.get(passed, -1), None)
            del path[start:]
            yield inner
        if name is not None:
            place[name] = len(path)
        path.append(turn)
    yield path
