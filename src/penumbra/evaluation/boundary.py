"""Distance between outlines: boundary F1 at a tolerance, and the 95th-percentile Hausdorff.

The outline of a region is its own pixels that have a 4-neighbour outside the region; beyond the
image's frame everything counts as outside. Distances are Euclidean between pixel centres. Outline
pixels that lie on an ignored pixel (255) or touch one, also by a corner, are dropped from both
outlines: what happens there is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from penumbra.data.sample import IGNORE
from penumbra.evaluation.overlap import EmptyPolicy

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_CROSS = np.array([(0, 1, 0), (1, 1, 1), (0, 1, 0)], dtype=np.uint8)
_SQUARE = np.ones((3, 3), dtype=np.uint8)
# Square roots of whole numbers are rounded; a pixel at exactly the tolerance must count.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Outlines:
    """Distances between the outlines of one class in one image.

    Attributes:
        to_truth: per pixel of the predicted outline, its distance to the true outline in pixels.
        to_predicted: per pixel of the true outline, its distance to the predicted one in pixels.
        to_truth_mm: the first in millimetres; ``None`` where the spacing is not known.
        to_predicted_mm: the second in millimetres.
        size: (H, W) of the image in pixels.
        spacing: millimetres per pixel (row, column), or ``None``.

    Distances to an outline without pixels are infinite.
    """

    to_truth: Floats
    to_predicted: Floats
    to_truth_mm: Floats | None
    to_predicted_mm: Floats | None
    size: tuple[int, int]
    spacing: tuple[float, float] | None


def outline(region: Mask, ignored: Mask | None = None) -> Mask:
    """Mark the pixels of a region that have a 4-neighbour outside it.

    Args:
        region: (H, W).
        ignored: (H, W); outline pixels on or next to these are dropped.

    Examples:
        >>> outline(np.ones((3, 4), dtype=bool)).astype(int).tolist()
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    inner = cv2.erode(
        region.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,)
    )
    edge = region & (inner == 0)
    if ignored is not None and ignored.any():
        edge &= cv2.dilate(ignored.astype(np.uint8), _SQUARE) == 0
    return np.asarray(edge)


def _distance_to(edge: Mask, spacing: tuple[float, float] | None = None) -> Floats:
    """Give the distance (H, W) of every pixel to the nearest marked one; infinite if none is."""
    if not edge.any():
        return np.full(edge.shape, np.inf)
    if spacing is None:
        away = np.where(edge, 0, 1).astype(np.uint8)
        found = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(found, dtype=np.float64)
    return np.asarray(distance_transform_edt(~edge, sampling=spacing), dtype=np.float64)


def _crop(*edges: Mask) -> tuple[slice, slice]:
    """Find the smallest window that holds both outlines: nothing outside it is nearest."""
    either = np.logical_or.reduce(edges)
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def compare_outlines(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    *,
    class_index: int,
    spacing: tuple[float, float] | None = None,
) -> Outlines:
    """Measure the distances between the true and the predicted outline of one class.

    Args:
        truth: (H, W) class indices, 255 = ignore.
        predicted: (H, W) class indices.
        class_index: the class.
        spacing: millimetres per pixel (row, column), where known.
    """
    ignored = truth == IGNORE
    true_edge = outline(truth == class_index, ignored)
    found_edge = outline(predicted == class_index, ignored)
    window = _crop(true_edge, found_edge)
    true_edge, found_edge = true_edge[window], found_edge[window]
    to_truth = _distance_to(true_edge)[found_edge]
    to_predicted = _distance_to(found_edge)[true_edge]
    to_truth_mm = to_predicted_mm = None
    if spacing is not None and spacing[0] == spacing[1]:
        to_truth_mm, to_predicted_mm = to_truth * spacing[0], to_predicted * spacing[0]
    elif spacing is not None:
        to_truth_mm = _distance_to(true_edge, spacing)[found_edge]
        to_predicted_mm = _distance_to(found_edge, spacing)[true_edge]
    size = (int(truth.shape[0]), int(truth.shape[1]))
    return Outlines(to_truth, to_predicted, to_truth_mm, to_predicted_mm, size, spacing)


def boundary_f1(outlines: Outlines, *, tolerance: float = 2.0, empty: EmptyPolicy = "one") -> float:
    """Compute the boundary F1 score in [0, 1].

    Precision is the share of the predicted outline within `tolerance` of the true one, recall the
    share of the true outline within `tolerance` of the predicted one, and F1 = 2PR / (P + R).
    Pixels are matched by distance alone, not one to one.

    Args:
        outlines: what `compare_outlines` measured.
        tolerance: in pixels, inclusive.
        empty: the score where neither outline has a pixel; where only one has none it is 0.

    Source: G. Csurka, D. Larlus and F. Perronnin, What is a good evaluation measure for semantic
    segmentation?, BMVC 2013; after D. Martin, C. Fowlkes and J. Malik, Learning to detect natural
    image boundaries, TPAMI 26(5), 2004.

    Examples:
        >>> truth = np.zeros((20, 20), dtype=np.uint8)
        >>> truth[5:15, 5:15] = 1
        >>> outlines = compare_outlines(truth, np.roll(truth, 3, axis=1), class_index=1)
        >>> round(boundary_f1(outlines), 3), boundary_f1(outlines, tolerance=3)
        (0.611, 1.0)
    """
    if outlines.to_truth.size == 0 and outlines.to_predicted.size == 0:
        return 1.0 if empty == "one" else math.nan
    if outlines.to_truth.size == 0 or outlines.to_predicted.size == 0:
        return 0.0
    right = float(np.mean(outlines.to_truth <= tolerance + _ROUNDING))
    found = float(np.mean(outlines.to_predicted <= tolerance + _ROUNDING))
    return 2 * right * found / (right + found) if right + found > 0 else 0.0


def hd95(outlines: Outlines, *, unit: str = "px", empty: EmptyPolicy = "one") -> float:
    """Compute the 95th-percentile Hausdorff distance, at least 0.

    The larger of the two directed 95th percentiles (linear interpolation) of the distances from
    one outline to the other. Where neither outline has a pixel it is 0 under ``"one"``; where only
    one has none there is no distance, and ``"one"`` gives the worst there can be, the image's
    diagonal. Under ``"nan"`` and ``"skip"`` both are not a number.

    Args:
        outlines: what `compare_outlines` measured.
        unit: ``"px"``, or ``"mm"``, which is not a number where the spacing is not known.
        empty: see above.

    Source: D. P. Huttenlocher, G. A. Klanderman and W. J. Rucklidge, Comparing images using the
    Hausdorff distance, TPAMI 15(9), 1993, with the percentile in place of the maximum.

    Examples:
        >>> truth = np.zeros((20, 20), dtype=np.uint8)
        >>> truth[5:15, 5:15] = 1
        >>> moved = np.roll(truth, 3, axis=1)
        >>> hd95(compare_outlines(truth, moved, class_index=1))
        3.0
        >>> hd95(compare_outlines(truth, moved, class_index=1, spacing=(1.0, 0.5)), unit="mm")
        1.5
    """
    there, back, scale = outlines.to_truth, outlines.to_predicted, (1.0, 1.0)
    if unit == "mm":
        if outlines.to_truth_mm is None or outlines.to_predicted_mm is None:
            return math.nan
        there, back = outlines.to_truth_mm, outlines.to_predicted_mm
        scale = outlines.spacing or scale
    if there.size and back.size:
        return float(max(np.percentile(there, 95), np.percentile(back, 95)))
    if empty != "one":
        return math.nan
    if there.size == back.size:
        return 0.0
    return math.hypot(outlines.size[0] * scale[0], outlines.size[1] * scale[1])
