"""Masks to polygons with holes and back: along pixel borders without loss, or at any vertices.

Coordinates are (x, y) in pixels with the origin at the outer corner of the first pixel: pixel
(row, column) covers ``column … column + 1`` and ``row … row + 1``, and its centre lies at
``(column + 0.5, row + 0.5)``. This is COCO's convention too.

**The rule.** A pixel belongs to a polygon when its centre does, by even–odd over the exterior and
the holes; a centre on a left or upper border belongs to it, on a right or lower border it does
not. So polygons that share a border never share a pixel and leave none out. The COCO tools sample
borders on a grid five times as fine instead and may differ in pixels that a border crosses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from penumbra.errors import ImageFileError, SettingsError, expected
from penumbra.imaging.rle import MAX_PIXELS, binary
from penumbra.imaging.tracing import border_loops

_MOST_ABSOLUTE = 1e7
_BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected area with its holes.

    Attributes:
        exterior: (N, 2) vertices (x, y), N ≥ 3; the last one is joined to the first.
        holes: rings of the same form inside it.
    """

    exterior: NDArray[np.number]
    holes: tuple[NDArray[np.number], ...] = ()

    @property
    def rings(self) -> tuple[NDArray[np.number], ...]:
        """The exterior and then the holes."""
        return (self.exterior, *self.holes)

    @property
    def area(self) -> float:
        """Area in square pixels: that of the exterior less those of the holes."""
        outer, *inner = (abs(signed_area(ring)) for ring in self.rings)
        return outer - sum(inner)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The tight box (x0, y0, x1, y1) around the exterior."""
        (x0, y0), (x1, y1) = self.exterior.min(axis=0), self.exterior.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


def signed_area(ring: ArrayLike) -> float:
    """Give the area inside a ring by the shoelace formula; above 0 where it runs clockwise.

    Clockwise as seen on a screen, where y grows downwards.

    Examples:
        >>> signed_area([(0, 0), (2, 0), (2, 1), (0, 1)])
        2.0
    """
    points = np.asarray(ring, dtype=np.float64)
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def mask_to_polygons(mask: ArrayLike) -> tuple[Polygon, ...]:
    """Follow the pixel borders of a mask; `polygons_to_mask` gives the identical mask back.

    One polygon per 4-connected area of foreground, so areas that touch in a corner only are two.
    Every ring is simple (it visits no point twice), has a vertex only where it turns, and all its
    vertices are whole numbers. Exteriors run clockwise on the screen, holes the other way.

    Args:
        mask: (H, W) bool, or whole numbers that are all 0 or 1.

    Returns:
        The polygons in the order of their first pixels, row by row; int64 vertices.

    Raises:
        SettingsError: the mask is not (H, W) or holds other values.

    Examples:
        >>> (ring,) = mask_to_polygons([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> ring.exterior.tolist(), [hole.tolist() for hole in ring.holes]
        ([[0, 0], [3, 0], [3, 3], [0, 3]], [[[1, 1], [1, 2], [2, 2], [2, 1]]])
    """
    array = binary(mask)
    labels, count = ndimage.label(array)
    exteriors: list[NDArray[np.int64] | None] = [None] * count
    holes: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
    for ring, (row, column) in border_loops(array):
        index = int(labels[row, column]) - 1
        if signed_area(ring) > 0:
            exteriors[index] = ring
        else:
            holes[index].append(ring)
    return tuple(
        Polygon(exterior, tuple(inner))
        for exterior, inner in zip(exteriors, holes, strict=True)
        if exterior is not None
    )


def polygons_to_mask(
    polygons: Iterable[Polygon], size: tuple[int, int], *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.bool_]:
    """Draw polygons: a pixel belongs to the mask when its centre lies in one of them.

    Parts outside the image are cut off. Exact for polygons along pixel borders; see the module's
    rule for vertices elsewhere.

    Args:
        polygons: their union is drawn.
        size: (H, W).
        max_pixels: refuse larger masks.

    Returns:
        (H, W) bool.

    Raises:
        ImageFileError: a ring has fewer than three vertices or is not (N, 2), a vertex is not a
            finite number up to ten million, a polygon has absurdly many borders, or the mask is
            too large.

    Examples:
        >>> square = Polygon(np.array([(0.4, 0.4), (2.6, 0.4), (2.6, 1.6), (0.4, 1.6)]))
        >>> polygons_to_mask([square], (2, 4)).astype(int).tolist()
        [[1, 1, 1, 0], [1, 1, 1, 0]]
    """
    height, width = size
    if height < 1 or width < 1 or height * width > max_pixels:
        raise _bad("a mask's size", f"at least 1×1 and at most {max_pixels:,} pixels", size)
    mask = np.zeros((height, width), dtype=np.bool_)
    for polygon in polygons:
        edges = np.concatenate([_edges(ring) for ring in polygon.rings])
        _draw(mask, edges)
    return mask


def polygons_from_coco(segmentation: Any) -> tuple[Polygon, ...]:
    """Read COCO's ``segmentation`` of flat lists ``[x0, y0, x1, y1, …]``; each is one polygon.

    COCO's lists know no holes: where there are several, their union is meant.

    Raises:
        ImageFileError: it is no list of lists, or one has an odd count or fewer than six numbers.

    Examples:
        >>> polygons_from_coco([[0, 0, 4, 0, 4, 2]])[0].exterior.tolist()
        [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]]
    """
    if not isinstance(segmentation, (list, tuple)):
        raise _bad("a segmentation", "a list of lists of numbers", repr(segmentation)[:60])
    return tuple(Polygon(_from_flat(flat)) for flat in segmentation)


def polygons_to_coco(polygons: Iterable[Polygon]) -> list[list[float]]:
    """Write polygons without holes as COCO's flat lists; whole numbers stay whole numbers.

    Raises:
        SettingsError: a polygon has holes, which COCO's lists cannot say.

    Examples:
        >>> polygons_to_coco(mask_to_polygons([[1]]))
        [[0, 0, 1, 0, 1, 1, 0, 1]]
    """
    listed = list(polygons)
    if any(polygon.holes for polygon in listed):
        raise SettingsError(
            expected("every polygon", "without holes", "one with", "`rle.encode_coco(mask)`")
        )
    flat: list[Any] = [polygon.exterior.ravel().tolist() for polygon in listed]
    return flat


def _from_flat(flat: object) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(flat, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad("a polygon", "a list of numbers", repr(flat)[:60]) from error
    if numbers.ndim != 1 or numbers.size % 2 or numbers.size < 6:
        raise _bad("a polygon", "a list x0, y0, x1, y1 … of three points or more", numbers.shape)
    return numbers.reshape(-1, 2)


def _edges(ring: ArrayLike) -> NDArray[np.float64]:
    """Give (N, 4) edges (upper x, upper y, lower x, lower y) of a ring, level ones included."""
    points = np.asarray(ring, dtype=np.float64)
    if points.ndim != 2 or points.shape[-1] != 2 or len(points) < 3:
        raise _bad("a ring", "(N, 2) with N from 3", f"shape {points.shape}")
    if not (np.abs(points) <= _MOST_ABSOLUTE).all():  # NaN compares as false
        raise _bad("every vertex", f"a finite number up to {_MOST_ABSOLUTE:.0e}", "others")
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    # The same two ends give the same crossings in whichever direction a ring runs along them.
    upwards = edges[:, 1] > edges[:, 3]
    edges[upwards] = edges[upwards][:, [2, 3, 0, 1]]
    return edges


def _draw(mask: NDArray[np.bool_], edges: NDArray[np.float64]) -> None:
    """Add the inside of `edges` to `mask`, by even–odd along every row of pixel centres."""
    height, width = mask.shape
    first, last = np.clip(np.ceil(edges[:, [1, 3]] - 0.5), 0, height).astype(np.int64).T
    rows = last - first
    if rows.sum() > 16 * height * (width + 1) + 1024:
        raise _bad("a polygon", "of fewer borders than 16 per pixel", f"{int(rows.sum()):,}")
    edges, first, rows = edges[rows > 0], first[rows > 0], rows[rows > 0]
    if not rows.size:
        return
    top, bottom = int(first.min()), int((first + rows).max())
    left = int(np.clip(np.floor(edges[:, [0, 2]].min()), 0, width))
    right = int(np.clip(np.ceil(edges[:, [0, 2]].max()), left, width))
    flips = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    for part in _blocks(rows):
        row, column = _crossings(edges[part], first[part], rows[part])
        column = np.clip(column, left, right) - left
        np.add.at(flips, (row - top, column), 1)
    # A byte wraps at 256, which is even: parity survives.
    inside = np.cumsum(flips, axis=1, dtype=np.uint8)[:, :-1] & 1
    mask[top:bottom, left:right] |= inside.astype(np.bool_)


def _blocks(rows: NDArray[np.int64]) -> Iterator[slice]:
    """Part edges so that no part has many more than a million crossings."""
    parts = np.cumsum(rows) // _BLOCK
    bounds = np.concatenate(([0], np.flatnonzero(np.diff(parts)) + 1, [rows.size]))
    for start, stop in pairwise(bounds.tolist()):
        yield slice(start, stop)


def _crossings(
    edges: NDArray[np.float64], first: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give row and first column right of the border, wherever an edge crosses pixel centres."""
    which = np.repeat(np.arange(rows.size), rows)
    row = first[which] + np.arange(which.size) - np.repeat(np.cumsum(rows) - rows, rows)
    x0, y0, x1, y1 = edges[which].T
    x = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
    # Slopes of nearly level edges overflow nothing but may overshoot; an edge stays in its box.
    x = np.clip(x, np.minimum(x0, x1), np.maximum(x0, x1))
    return row, np.ceil(x - 0.5).astype(np.int64)


def _bad(what: str, to_be: str, got: object) -> ImageFileError:
    return ImageFileError(expected(what, to_be, got, "exporting the annotation again"))
