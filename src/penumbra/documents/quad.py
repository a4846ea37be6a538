"""Quadrilaterals: four lines around an area, their corners, and how well they fit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.documents.lines import Line, find_lines, fit_line
from penumbra.documents.outline import Area, Points

Quad = NDArray[np.float64]
"""(4, 2) corners (x, y), clockwise on a screen."""

_CORNER_SHARE = 0.07
"""Of a side at each end where the corner's rounding (3.18 mm of ID-1) bends the outline."""

_RASTER = 160


def is_convex(quad: Quad) -> bool:
    """Tell whether the corners run clockwise (y downwards) around a convex area.

    Examples:
        >>> is_convex(np.array([[0.0, 0], [2, 0], [2, 1], [0, 1]]))
        True
    """
    sides = np.roll(quad, -1, axis=0) - quad
    after = np.roll(sides, -1, axis=0)
    return bool((sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0] > 0).all())


def quad_of_lines(lines: Sequence[Line]) -> Quad | None:
    """Give the corners where each line meets the one before it; ``None`` if that is no quad.

    Args:
        lines: four, their normals pointing outwards and running clockwise.
    """
    corners = [lines[index - 1].meets(lines[index]) for index in range(4)]
    if any(corner is None for corner in corners):
        return None
    quad = np.array(corners, dtype=np.float64)
    return quad if is_convex(quad) else None


def area_of(quad: Points) -> float:
    """Compute a polygon's area in square pixels."""
    x, y = quad.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def area_in_frame(quad: Quad, size: tuple[int, int]) -> float:
    """Compute how much of a convex quad lies inside a frame of (height, width), square pixels."""
    height, width = size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    return float(cv2.intersectConvexConvex(quad.astype(np.float32), frame)[0])


def fill_quad(quad: Quad, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a quad, 1 inside, cut off at the frame of (height, width)."""
    drawn = np.zeros(size, dtype=np.uint8)
    # The drawing function's coordinates start at the first pixel's centre, in 1/16 pixels.
    points = np.clip(np.rint((quad - 0.5) * 16), -(2**26), 2**26).astype(np.int32)
    cv2.fillConvexPoly(drawn, points, 1, shift=4)
    return drawn


def shown_share(quad: Quad, side: int, size: tuple[int, ...]) -> float:
    """Compute the share of a side's length that is in the frame of (height, width)."""
    places = quad[side] + (np.arange(100)[:, None] + 0.5) / 100 * (
        quad[(side + 1) % 4] - quad[side]
    )
    inside = (places > 0) & (places < np.array([size[1], size[0]]))
    return float(inside.all(axis=1).mean())


def find_quad(area: Area) -> Quad | None:
    """Fit a quadrilateral to an area: candidates by voting, the best four, then each side robustly.

    Of all fours of lines the one is taken for which *IoU with the area + share of the outline on
    the quad's sides* is largest; each side is then fitted anew to the outline near it, corners
    left out, four times.

    Returns:
        (4, 2) corners, clockwise on a screen, wherever they lie; ``None`` where no four lines
        enclose the area.
    """
    lines = _best_four(area, find_lines(area.outline))
    return None if lines is None else refined(area, quad_of_lines(lines))


def refined(area: Area, quad: Quad | None) -> Quad | None:
    """Fit each side of a quad anew, four times; a side without outline near it stays."""
    for step in (0.02, 0.01, 0.006, 0.006):
        if quad is None:
            return None
        quad = quad_of_lines([_refit(area.outline, quad, side, step) for side in range(4)])
    return quad


def _best_four(area: Area, found: Sequence[Line]) -> list[Line] | None:
    order = outward_lines(area, found)
    judge = Judge(area)
    best: tuple[float, list[Line]] | None = None
    for four in itertools.combinations(order, 4):
        quad = quad_of_lines(four)
        if quad is None:
            continue
        score = judge(quad)
        if score > 0 and (best is None or score > best[0]):
            best = (score, list(four))
    return None if best is None else best[1]


def outward_lines(area: Area, found: Sequence[Line]) -> list[Line]:
    """Turn the normals away from an area's middle and order them clockwise."""
    box = _box(area)
    outward = [line.turned_from((box[:2] + box[2:]) / 2) for line in found]
    angles = [float(np.arctan2(line.normal[1], line.normal[0])) for line in outward]
    return [outward[index] for index in np.argsort(angles, kind="stable")]


def _box(area: Area) -> NDArray[np.float64]:
    rows, columns = np.nonzero(area.inside.any(axis=1))[0], np.nonzero(area.inside.any(axis=0))[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


class Judge:
    """Scores quads around one area: IoU plus the share of the outline on the quad's sides, 0 … 2.

    A quad that reaches far beyond the area scores 0.
    """

    def __init__(self, area: Area) -> None:
        box = _box(area)
        self._outline = area.outline
        self._size = float(np.hypot(box[2] - box[0], box[3] - box[1]))
        self._centre = (box[:2] + box[2:]) / 2
        self._raster = _Raster(area.inside, box)

    def __call__(self, quad: Quad) -> float:
        """Score a quad."""
        if np.abs(quad - self._centre).max() > 2 * self._size:
            return 0.0
        near = max(0.012 * self._size, 1.5)
        return self._raster.iou(quad) + on_sides(self._outline, quad, near=near)


class _Raster:
    """A small picture of an area and of what surrounds it in the frame."""

    def __init__(self, inside: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        height, width = inside.shape
        pad = 0.25 * (box[2:] - box[:2])
        low = np.maximum(np.floor(box[:2] - pad), 0).astype(int)
        high = np.minimum(np.ceil(box[2:] + pad), [width, height]).astype(int)
        part = inside[low[1] : high[1], low[0] : high[0]]
        self._low = low
        self._scale = min(1.0, _RASTER / max(part.shape))
        small = (
            max(1, round(part.shape[1] * self._scale)),
            max(1, round(part.shape[0] * self._scale)),
        )
        share = cv2.resize(part * np.uint8(255), small, interpolation=cv2.INTER_AREA)
        self._inside = share >= 128

    def iou(self, quad: Quad) -> float:
        drawn = fill_quad((quad - self._low) * self._scale, self._inside.shape) > 0
        union = int((drawn | self._inside).sum())
        return int((drawn & self._inside).sum()) / max(union, 1)


def on_sides(points: Points, quad: Quad, *, near: float) -> float:
    """Compute the share of points within `near` pixels of a quad's sides."""
    return float((distances_to(points, quad) <= near).mean()) if len(points) else 0.0


def distances_to(points: Points, quad: Quad) -> NDArray[np.float64]:
    """Compute each point's distance to the nearest side of a quad, (N,) in pixels."""
    nearest = np.full(len(points), np.inf)
    for side in range(4):
        along, off, length = along_side(points, quad, side)
        beyond = np.clip(np.abs(along - 0.5) - 0.5, 0, None) * length
        nearest = np.minimum(nearest, np.hypot(off, beyond))
    return nearest


def along_side(
    points: Points, quad: Quad, side: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Give where points lie relative to a side: the share of its way, the distance, its length.

    Side k runs from corner k to corner k + 1.
    """
    start, end = quad[side], quad[(side + 1) % 4]
    length = max(float(np.hypot(*(end - start))), 1e-9)
    way = (end - start) / length
    away = points - start
    return away @ way / length, away @ np.array([way[1], -way[0]]), length


def _refit(outline: Points, quad: Quad, side: int, step: float) -> Line:
    """Fit a side anew to the points near it, those near its corners left out."""
    along, off, length = along_side(outline, quad, side)
    size = float(np.hypot(*(quad.max(axis=0) - quad.min(axis=0))))
    middle = (along > _CORNER_SHARE) & (along < 1 - _CORNER_SHARE)
    near = middle & (np.abs(off) < max(step * size, 2.0))
    centre = quad.mean(axis=0)
    if near.sum() < max(6, 0.05 * length):
        return fit_line(quad[[side, (side + 1) % 4]], scale=1.0).turned_from(centre)
    return fit_line(outline[near], scale=0.3).turned_from(centre)
