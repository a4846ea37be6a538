"""Overlap of masks: Dice, IoU, precision, recall, specificity and accuracy from exact counts.

Pixels are counted once, as whole numbers, and every score is a ratio of counts. Counts of parts
add up to the counts of the whole, so scores can be pooled over images, processes and machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE

Floats = NDArray[np.float64]
Counted = NDArray[np.int64] | Floats

EmptyPolicy = Literal["one", "nan", "skip"]
"""What a score of nothing over nothing is.

``"one"``: it is settled by whether the prediction was right: 1 where there was nothing to find and
nothing was found, 0 where only one of the two is empty. ``"nan"``: not a number, and so is every
mean that it enters. ``"skip"``: not a number, and means leave it out.
"""


@dataclass(frozen=True)
class Counts:
    """Pixel counts per class, one against the rest.

    Attributes:
        tp: (…, C) pixels of the class that were predicted as such.
        fp: (…, C) pixels predicted as the class that are not.
        fn: (…, C) pixels of the class that were predicted as another.
        tn: (…, C) the rest.
    """

    tp: Counted
    fp: Counted
    fn: Counted
    tn: Counted


def count(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], *, n_classes: int) -> Counts:
    """Count pixels by class; pixels whose truth is 255 (ignore) are left out.

    Args:
        truth: (H, W) class indices.
        predicted: (H, W) class indices.
        n_classes: C, background included.

    Returns:
        Counts of shape (C,), int64.

    Examples:
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> predicted = np.array([[1, 1, 0, 1]], dtype=np.uint8)
        >>> counts = count(truth, predicted, n_classes=2)
        >>> counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist(), counts.tn.tolist()
        ([0, 1], [1, 1], [1, 1], [1, 0])
    """
    scored = truth != IGNORE
    pairs = truth[scored].astype(np.int64) * n_classes + predicted[scored]
    table = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    tp = np.diagonal(table).astype(np.int64)
    fp, fn = table.sum(axis=0) - tp, table.sum(axis=1) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=table.sum() - tp - fp - fn)


def merge(a: Counts, b: Counts) -> Counts:
    """Add the counts of two disjoint sets of pixels."""
    return Counts(tp=a.tp + b.tp, fp=a.fp + b.fp, fn=a.fn + b.fn, tn=a.tn + b.tn)


def _ratio(part: Counted, whole: Counted, wrong: Counted, empty: EmptyPolicy) -> Floats:
    """Divide, settling 0/0 by the policy; `wrong` counts the mistakes that decide ``"one"``."""
    undefined = np.asarray(whole) == 0
    settled = np.where(np.asarray(wrong) == 0, 1.0, 0.0) if empty == "one" else np.nan
    value = np.asarray(part) / np.where(undefined, 1, whole)
    return np.asarray(np.where(undefined, settled, value), dtype=np.float64)


def dice(counts: Counts, *, empty: EmptyPolicy = "one") -> Floats:
    """Compute Dice = 2·TP / (2·TP + FP + FN) per class, (…, C) in [0, 1].

    An empty truth with a non-empty prediction scores 0; where both are empty, `empty` decides.

    Source: L. R. Dice, Measures of the amount of ecologic association between species, Ecology
    26(3), 1945.

    Examples:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> predicted = np.array([[1, 1, 0, 1]], dtype=np.uint8)
        >>> dice(count(truth, predicted, n_classes=2)).round(3).tolist()
        [0.0, 0.667]
    """
    wrong = counts.fp + counts.fn
    return _ratio(2 * counts.tp, 2 * counts.tp + wrong, wrong, empty)


def iou(counts: Counts, *, empty: EmptyPolicy = "one") -> Floats:
    """Compute the intersection over union TP / (TP + FP + FN) per class, (…, C) in [0, 1].

    Source: P. Jaccard, The distribution of the flora in the alpine zone, New Phytologist 11(2),
    1912.

    Examples:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> predicted = np.array([[1, 1, 0, 1]], dtype=np.uint8)
        >>> iou(count(truth, predicted, n_classes=2)).tolist()
        [0.0, 0.5]
    """
    wrong = counts.fp + counts.fn
    return _ratio(counts.tp, counts.tp + wrong, wrong, empty)


def precision(counts: Counts, *, empty: EmptyPolicy = "one") -> Floats:
    """Compute TP / (TP + FP) per class, (…, C) in [0, 1].

    With nothing predicted it is 0/0: under ``"one"`` 1 if there was nothing to find, else 0.

    Examples:
        >>> nothing = np.zeros((1, 4), dtype=np.uint8)
        >>> precision(count(nothing, nothing, n_classes=2)).tolist()
        [1.0, 1.0]
        >>> precision(count(nothing + 1, nothing, n_classes=2)).tolist()
        [0.0, 0.0]
    """
    return _ratio(counts.tp, counts.tp + counts.fp, counts.fn, empty)


def recall(counts: Counts, *, empty: EmptyPolicy = "one") -> Floats:
    """Compute TP / (TP + FN), the sensitivity, per class, (…, C) in [0, 1].

    With nothing to find it is 0/0: under ``"one"`` 1 if nothing was predicted, else 0.

    Examples:
        >>> nothing = np.zeros((1, 4), dtype=np.uint8)
        >>> recall(count(nothing, nothing + 1, n_classes=2), empty="skip").tolist()
        [0.0, nan]
    """
    return _ratio(counts.tp, counts.tp + counts.fn, counts.fp, empty)


def specificity(counts: Counts, *, empty: EmptyPolicy = "one") -> Floats:
    """Compute TN / (TN + FP) per class, (…, C) in [0, 1].

    Where the class fills the image it is 0/0: under ``"one"`` 1 if it was predicted to, else 0.

    Examples:
        >>> truth = np.array([[0, 0, 0, 1]], dtype=np.uint8)
        >>> predicted = np.array([[0, 0, 1, 1]], dtype=np.uint8)
        >>> specificity(count(truth, predicted, n_classes=2)).round(3).tolist()
        [1.0, 0.667]
    """
    return _ratio(counts.tn, counts.tn + counts.fp, counts.fn, empty)


def class_accuracy(counts: Counts) -> Floats:
    """Compute (TP + TN) / pixels per class, one against the rest, (…, C) in [0, 1].

    Not a number where no pixel was counted.
    """
    right = counts.tp + counts.tn
    return _ratio(right, right + counts.fp + counts.fn, right, "nan")


def pixel_accuracy(counts: Counts) -> Floats:
    """Compute the share of pixels whose class is right, (…) in [0, 1].

    Not a number where no pixel was counted.

    Examples:
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> predicted = np.array([[1, 1, 1, 1]], dtype=np.uint8)
        >>> round(float(pixel_accuracy(count(truth, predicted, n_classes=2))), 3)
        0.667
    """
    right = np.asarray(counts.tp).sum(axis=-1)
    every = np.asarray(counts.tp + counts.fn).sum(axis=-1)
    return _ratio(right, every, right, "nan")
