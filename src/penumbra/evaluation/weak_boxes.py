"""Boxes found against boxes known: the measure of the RSNA pneumonia challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from penumbra.errors import SettingsError, expected
from penumbra.inference.prediction import Prediction
from penumbra.promptable.nms import box_iou

THRESHOLDS = tuple(step / 20 for step in range(8, 16))
"""The IoUs of the challenge: 0.40, 0.45, … 0.75."""

_TOUCHING = np.ones((3, 3), dtype=np.int8)


class Found(NamedTuple):
    """Boxes that were found in an image.

    Attributes:
        boxes: (M, 4) float64 xyxy in pixels, far edge exclusive.
        confidence: (M,) float64, higher is surer.
    """

    boxes: NDArray[np.float64]
    confidence: NDArray[np.float64]


def ious(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Compute the IoU of each of N boxes with each of M, (N, M)."""
    one, other = (np.asarray(x, dtype=np.float64).reshape(-1, 4) for x in (a, b))
    return np.array([box_iou(box, other) for box in one]).reshape(len(one), len(other))


def average_precision(
    truth: ArrayLike,
    found: ArrayLike,
    confidence: ArrayLike,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Compute the precision of one image, TP / (TP + FP + FN), averaged over thresholds.

    At each threshold the boxes found take their turn from the surest down (of equally sure ones,
    in the order given). Each takes, of the true boxes that are still free, the one with the
    largest IoU, if that is **above** the threshold: a true positive. What finds none is a false
    positive, what is left over a false negative.

    An image without true boxes scores 0 for any box found there. Where there is nothing and
    nothing was found, it is not a number: the challenge does not count such an image.

    Args:
        truth: (N, 4) xyxy.
        found: (M, 4) xyxy.
        confidence: (M,).
        thresholds: of the IoU.

    Returns:
        In [0, 1], or not a number.

    Raises:
        SettingsError: there are not as many confidences as boxes, or one is not a number.

    Source: the evaluation of the RSNA Pneumonia Detection Challenge, 2018.

    Examples:
        >>> average_precision([[0, 0, 10, 10]], [[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8])
        0.5
        >>> average_precision([[0, 0, 10, 10]], [[0, 0, 10, 6]], [0.9])  # 0.60 is above 0.40–0.55
        0.5
        >>> average_precision([], [[0, 0, 1, 1]], [0.1]), average_precision([], [], [])
        (0.0, nan)
    """
    overlap = ious(truth, found)
    surest = np.asarray(confidence, dtype=np.float64).reshape(-1)
    if len(surest) != overlap.shape[1] or np.isnan(surest).any():
        raise SettingsError(
            expected("`confidence`", f"{overlap.shape[1]} numbers", surest, "one per box found")
        )
    if not sum(overlap.shape):
        return math.nan
    order = np.argsort(-surest, kind="stable")
    hits = [_hits(overlap[:, order], threshold) for threshold in thresholds]
    # TP + FP + FN: every box found and every true one, those that met counted once.
    return float(np.mean([hit / (sum(overlap.shape) - hit) for hit in hits]))


def _hits(overlap: NDArray[np.float64], threshold: float) -> int:
    free = np.ones(len(overlap), dtype=bool)
    for column in overlap.T:
        best = int(np.argmax(np.where(free, column, -1.0))) if free.any() else -1
        if best >= 0 and column[best] > threshold:
            free[best] = False
    return int((~free).sum())


def boxes_of_areas(prediction: Prediction, *, least_area: int = 1) -> Found:
    """Give the tight box of every connected area of a mask, with how sure it is.

    Pixels of any class but the background that touch by a side or a corner are one area. Its
    confidence is the mean foreground probability in it.

    Args:
        prediction: of an image.
        least_area: in pixels; smaller areas are left out.

    Examples:
        >>> p = np.zeros((2, 4, 6), dtype=np.float32)
        >>> p[1, 1:3, 2:5] = 0.75
        >>> p[0] = 1 - p[1]
        >>> found = boxes_of_areas(Prediction(p, (p[1] > 0.5).astype(np.uint8), {}))
        >>> found.boxes.tolist(), found.confidence.tolist()
        ([[2.0, 1.0, 5.0, 3.0]], [0.75])
    """
    labels, count = ndimage.label(prediction.mask > 0, structure=_TOUCHING)
    if not count:
        return Found(np.zeros((0, 4)), np.zeros(0))
    flat = labels.ravel()
    areas = np.bincount(flat, minlength=count + 1)[1:]
    sums = np.bincount(flat, weights=prediction.foreground.ravel(), minlength=count + 1)[1:]
    boxes = np.array(
        [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(labels)],
        dtype=np.float64,
    )
    kept = areas >= least_area
    return Found(boxes[kept], (sums / areas)[kept])
