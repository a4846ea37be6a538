"""The scores of one image, and the sums of one group of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation import boundary, calibration, overlap
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.inference.prediction import Prediction, entropy

Floats = NDArray[np.float64]

MEAN_METRICS = (
    "dice",
    "iou",
    "precision",
    "recall",
    "specificity",
    "pixel_accuracy",
    "boundary_f1",
    "hd95",
    "hd95_mm",
)
"""Metrics that are computed per image and then averaged over images."""


@dataclass(frozen=True)
class ScoreSettings:
    """How images are scored.

    Attributes:
        class_names: one name per class.
        scored: indices of the classes that averages over classes hold.
        empty: what a score of nothing over nothing is.
        tolerance: of the boundary F1, in pixels.
        n_bins: of the calibration error.
    """

    class_names: tuple[str, ...]
    scored: tuple[int, ...]
    empty: EmptyPolicy
    tolerance: float
    n_bins: int


@dataclass(frozen=True)
class ImageScores:
    """Everything that is measured on one image.

    Attributes:
        id: the sample.
        group: its group.
        table: (9, 1 + C) the `MEAN_METRICS`; column 0 is the mean over the scored classes (for
            pixel accuracy, the share of pixels whose class is right), column 1 + c is class c.
        area_truth: (C,) pixels of each class.
        area_predicted: (C,) pixels predicted as each class, among the scored ones.
        has_spacing: whether distances in millimetres are known.
        mean_entropy: of the prediction over the scored pixels, in nats.
        counts: for pooled overlap.
        calibration: for Brier, NLL and ECE.
    """

    id: str
    group: str
    table: Floats
    area_truth: NDArray[np.int64]
    area_predicted: NDArray[np.int64]
    has_spacing: bool
    mean_entropy: float
    counts: overlap.Counts
    calibration: calibration.Calibration


def _boundary_rows(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    spacing: tuple[float, float] | None,
    settings: ScoreSettings,
) -> Floats:
    columns = []
    for index in range(len(settings.class_names)):
        found = boundary.compare_outlines(truth, predicted, class_index=index, spacing=spacing)
        columns.append(
            (
                boundary.boundary_f1(found, tolerance=settings.tolerance, empty=settings.empty),
                boundary.hd95(found, empty=settings.empty),
                boundary.hd95(found, unit="mm", empty=settings.empty),
            )
        )
    return np.array(columns, dtype=np.float64).T


def mean_of_classes(values: Floats, empty: EmptyPolicy) -> Floats:
    """Average over the last axis; under ``"skip"`` what is not a number is left out."""
    known = np.isfinite(values) if empty == "skip" else np.ones(values.shape, bool)
    total = np.where(known, values, 0.0).sum(axis=-1)
    n = known.sum(axis=-1)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))


def score_image(
    sample_id: str,
    group: str,
    truth: NDArray[np.uint8],
    prediction: Prediction,
    *,
    spacing: tuple[float, float] | None,
    settings: ScoreSettings,
) -> ImageScores:
    """Score one image.

    Args:
        sample_id: the sample's id.
        group: its group.
        truth: (H, W) class indices, 255 = ignore, with at least one pixel that is not ignored.
        prediction: for the same (H, W).
        spacing: millimetres per pixel (row, column), where known.
        settings: classes and policies.
    """
    empty = settings.empty
    counts = overlap.count(truth, prediction.mask, n_classes=len(settings.class_names))
    by_class = np.vstack(
        [
            overlap.dice(counts, empty=empty),
            overlap.iou(counts, empty=empty),
            overlap.precision(counts, empty=empty),
            overlap.recall(counts, empty=empty),
            overlap.specificity(counts, empty=empty),
            overlap.class_accuracy(counts),
            _boundary_rows(truth, prediction.mask, spacing, settings),
        ]
    )
    together = mean_of_classes(by_class[:, list(settings.scored)], empty)
    together[MEAN_METRICS.index("pixel_accuracy")] = overlap.pixel_accuracy(counts)
    doubt = prediction.uncertainty.get("entropy")
    if doubt is None:
        doubt = entropy(prediction.probabilities)
    return ImageScores(
        id=sample_id,
        group=group,
        table=np.column_stack([together, by_class]),
        area_truth=np.asarray(counts.tp + counts.fn, dtype=np.int64),
        area_predicted=np.asarray(counts.tp + counts.fp, dtype=np.int64),
        has_spacing=spacing is not None,
        mean_entropy=float(np.mean(doubt[truth != IGNORE], dtype=np.float64)),
        counts=counts,
        calibration=calibration.tally(
            truth, prediction.probabilities, prediction.mask, n_bins=settings.n_bins
        ),
    )


@dataclass(frozen=True)
class GroupSums:
    """Sums over the images of one group, or, with a leading axis, of many groups.

    Attributes:
        total: (…, 9, 1 + C) sums of the `MEAN_METRICS` over images where they are a number.
        n: (…, 9, 1 + C) how many images those are.
        missing: (…, 9, 1 + C) images where the metric is not a number though it applies.
        counts: pixel counts (…, C).
        calibration: sums for Brier, NLL and ECE.
    """

    total: Floats
    n: Floats
    missing: Floats
    counts: overlap.Counts
    calibration: calibration.Calibration


def sums_of_image(scores: ImageScores) -> GroupSums:
    """Start the sums of a group with one image."""
    known = np.isfinite(scores.table)
    missing = ~known
    if not scores.has_spacing:
        missing[MEAN_METRICS.index("hd95_mm")] = False
    return GroupSums(
        total=np.where(known, scores.table, 0.0),
        n=known.astype(np.float64),
        missing=missing.astype(np.float64),
        counts=scores.counts,
        calibration=scores.calibration,
    )


def combine(function: Callable[..., NDArray[Any]], *sums: GroupSums) -> GroupSums:
    """Apply a function to each array of one or more sums, array by array."""
    counts, cal = [s.counts for s in sums], [s.calibration for s in sums]

    def each(parts: Sequence[object], name: str) -> NDArray[Any]:
        return function(*(np.asarray(getattr(part, name)) for part in parts))

    return GroupSums(
        total=each(sums, "total"),
        n=each(sums, "n"),
        missing=each(sums, "missing"),
        counts=overlap.Counts(**{name: each(counts, name) for name in ("tp", "fp", "fn", "tn")}),
        calibration=calibration.Calibration(
            **{name: each(cal, name) for name in ("n", "brier", "nll", "class_nll", "bins")}
        ),
    )


def merge(a: GroupSums, b: GroupSums) -> GroupSums:
    """Add the sums of two disjoint sets of images."""
    return combine(np.add, a, b)


def stack(sums: Sequence[GroupSums]) -> GroupSums:
    """Put the sums of G groups side by side: every array gains a leading axis G."""
    return combine(lambda *arrays: np.stack(arrays), *sums)


def take(sums: GroupSums, groups: Sequence[int]) -> GroupSums:
    """Choose some of the stacked groups, by position."""
    return combine(lambda array: array[list(groups)], sums)


def weigh(sums: GroupSums, weights: Floats) -> GroupSums:
    """Add up stacked groups (G, …), each as often as `weights` (R, G) says: sums (R, …)."""
    return combine(lambda array: np.tensordot(weights, array.astype(np.float64), (1, 0)), sums)
