"""What edges enclose: from a map of edges to the likely inside of an object."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = 32
_SIDE = 256
"""Mask prompts are no larger than this, so edges are followed at no more either."""
_MARGIN = 0.1
_FAINTEST = 1 / 16
_FILLED = 0.3
"""Least share of its box that an object fills."""


def barrier(
    edges: NDArray[np.float32], *, point: tuple[int, int] | None = None, levels: int = _LEVELS
) -> NDArray[np.float32]:
    """Give the height that an edge must be crossed at to get out of the image from each pixel.

    The least, over all paths of 4-neighbours from the pixel to beyond the image's border, of the
    greatest edge on the path: the grey-scale filling of holes, in steps of 1 / `levels`. Zero
    where a way out crosses no edge.

    Args:
        edges: (H, W) in 0–1.
        point: (row, column); of each level, only the area that holds it counts.
        levels: steps of the height.

    Returns:
        (H, W) float32 in 0–1.

    Examples:
        >>> ring = np.pad(np.ones((3, 3), np.float32), 1)
        >>> ring[2, 2] = 0
        >>> barrier(ring)[2].tolist()
        [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    height = np.zeros(edges.shape, dtype=np.float32)
    for level in np.arange(1, levels + 1) / levels:
        # Beyond the border is outside, so that whatever touches it is open there.
        passable = np.pad((edges < level).astype(np.uint8), 1, constant_values=1)
        _, areas = cv2.connectedComponents(passable, connectivity=4)
        inside = (areas != areas[0, 0])[1:-1, 1:-1]
        if point is not None:
            _, parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
            inside = inside & (parts == parts[point])
            if not inside[point]:
                break
        if not inside.any():
            break
        height[inside] = level
    return height


def likely_inside(
    edges: NDArray[np.float32],
    *,
    box: tuple[float, float, float, float] | None = None,
    point: tuple[float, float] | None = None,
    gap: int = 2,
) -> NDArray[np.float32]:
    """Give how likely each pixel is inside the object that a box or a point means, (H, W).

    Gaps in the edges are closed, their `barrier` is taken in the box and a margin of a tenth
    around it, and the height T whose T · √area is greatest counts as certain: that product grows
    with the strength of a contour and with its length, so that neither a speck with sharp edges
    nor the texture of the ground wins; in a box, the area must also fill three tenths of it. Below
    T the likelihood falls linearly, to 0 at the median height along the border of the box: the
    noise of a ground encloses a little everywhere.

    Args:
        edges: (H, W) float32 in 0–1.
        box: xyxy in pixels, far edge exclusive; the likelihood is 0 outside it. The whole image
            where there is none.
        point: (x, y) in the object.
        gap: gaps of up to twice as many pixels are closed.

    Returns:
        (H, W) float32 in 0–1; ½ throughout the box where its edges enclose nothing.
    """
    height, width = edges.shape
    whole = (0, 0, width, height)
    inner = whole if box is None else _rounded(box, (height, width))
    x0, y0, x1, y1 = whole if box is None else _widened(inner, (height, width))
    part = _closed(edges[y0:y1, x0:x1], gap)
    small, scale = _shrunk(part)
    at = None
    if point is not None and x0 <= point[0] < x1 and y0 <= point[1] < y1:
        row, column = int((point[1] - y0) * scale), int((point[0] - x0) * scale)
        at = (min(row, small.shape[0] - 1), min(column, small.shape[1] - 1))
    height_of = barrier(small, point=at)
    large = cv2.resize(height_of, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    left, top, right, bottom = inner
    window = np.asarray(large, dtype=np.float32)[top - y0 : bottom - y0, left - x0 : right - x0]
    result = np.zeros(edges.shape, dtype=np.float32)
    result[top:bottom, left:right] = _likelihood(window, least=0.0 if box is None else _FILLED)
    return result


def _likelihood(height: NDArray[np.float32], *, least: float) -> NDArray[np.float32]:
    # In steps, since scaling puts every value between the levels; down, so that the top is reached.
    tops = np.unique(np.floor(height * _LEVELS)) / _LEVELS
    areas = {float(top): int((height >= top).sum()) for top in tops if top >= _FAINTEST}
    areas = {top: area for top, area in areas.items() if area >= least * height.size}
    if not areas:
        return np.full(height.shape, 0.5, dtype=np.float32)
    certain = max(areas, key=lambda top: top * math.sqrt(areas[top]))
    border = np.concatenate([height[0], height[-1], height[:, 0], height[:, -1]])
    border = border[border < certain]
    ground = float(np.median(border)) if border.size else 0.0
    likely = (height - np.float32(ground)) / np.float32(certain - ground)
    return np.asarray(np.clip(likely, 0.0, 1.0), dtype=np.float32)


def _closed(edges: NDArray[np.float32], gap: int) -> NDArray[np.float32]:
    if gap < 1:
        return np.ascontiguousarray(edges)
    kernel = np.ones((2 * gap + 1, 2 * gap + 1), dtype=np.uint8)
    closed = cv2.morphologyEx(np.ascontiguousarray(edges), cv2.MORPH_CLOSE, kernel)
    return np.asarray(closed, dtype=np.float32)


def _shrunk(edges: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Scale edges to at most 256 pixels a side; thickened first, so that no line is lost."""
    scale = min(1.0, _SIDE / max(edges.shape))
    if scale == 1.0:
        return edges, scale
    side = math.ceil(1 / scale)
    thick = cv2.dilate(edges, np.ones((side, side), dtype=np.uint8))
    size = (max(1, round(edges.shape[1] * scale)), max(1, round(edges.shape[0] * scale)))
    small = cv2.resize(thick, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, dtype=np.float32), scale


def _rounded(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Give the whole pixels of a box inside the image, at least one."""
    height, width = size
    x0 = min(max(0, math.floor(box[0])), width - 1)
    y0 = min(max(0, math.floor(box[1])), height - 1)
    x1, y1 = min(math.ceil(box[2]), width), min(math.ceil(box[3]), height)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _widened(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Widen a box, since a tight one has the object's edge on its own border."""
    x0, y0, x1, y1 = box
    dx, dy = (max(2, round(_MARGIN * side)) for side in (x1 - x0, y1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(size[1], x1 + dx), min(size[0], y1 + dy)
