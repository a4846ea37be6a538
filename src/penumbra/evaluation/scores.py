"""The scores of one image, and the sums that a group starts with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation import boundary, calibration, joint, overlap
from penumbra.evaluation.adaptive import ConfidenceHistogram, tally_confidence
from penumbra.evaluation.agreement import AgreementSums, sample_masks, tally_agreement
from penumbra.evaluation.areas import AreaSums, tally_areas
from penumbra.evaluation.cases import Case
from penumbra.evaluation.histogram import FINE_BINS
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.evaluation.pixel_risk import PixelRisk, tally_risk
from penumbra.evaluation.sums import GroupSums
from penumbra.evaluation.true_probability import TruthSums, tally_truth
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
        calibration: for Brier, NLL, ECE and MCE.
        confidence: for ACE.
        risk: for AURC, E-AURC and AUSE over pixels.
        joint: for the joint NLL of tiles.
        areas: for the area intervals.
        agreement: with several readers.
        truth: against the true probability.
        passes: of the sampler.
        scores: doubt about the whole image by name; higher is more.
        area_intervals: class name → lowest, estimated and highest area in pixels.
        flagged: whether somebody should look, where the run was calibrated.
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
    confidence: ConfidenceHistogram
    risk: PixelRisk
    joint: joint.JointSums
    areas: AreaSums
    agreement: AgreementSums
    truth: TruthSums
    passes: int = 1
    scores: Mapping[str, float] = field(default_factory=dict)
    area_intervals: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    flagged: bool | None = None


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


def _table(case: Case, counts: overlap.Counts, settings: ScoreSettings) -> Floats:
    """Compute the `MEAN_METRICS` of one image, (9, 1 + C)."""
    empty = settings.empty
    by_class = np.vstack(
        [
            overlap.dice(counts, empty=empty),
            overlap.iou(counts, empty=empty),
            overlap.precision(counts, empty=empty),
            overlap.recall(counts, empty=empty),
            overlap.specificity(counts, empty=empty),
            overlap.class_accuracy(counts),
            _boundary_rows(case.truth, case.prediction.mask, case.spacing, settings),
        ]
    )
    together = mean_of_classes(by_class[:, list(settings.scored)], empty)
    together[MEAN_METRICS.index("pixel_accuracy")] = overlap.pixel_accuracy(counts)
    return np.column_stack([together, by_class])


def _joint(
    truth: NDArray[np.uint8], prediction: Prediction, sums: calibration.Calibration
) -> joint.JointSums:
    if prediction.passes <= 1:
        return joint.joint_of_one_pass(sums)
    if prediction.samples is None:
        return joint.nothing_joint(prediction.n_classes)
    return joint.tally_joint(truth, prediction.samples)


def _mean_entropy(truth: NDArray[np.uint8], prediction: Prediction) -> float:
    doubt = prediction.uncertainty.get("entropy")
    if doubt is None:
        doubt = entropy(prediction.probabilities)
    return float(np.mean(doubt[truth != IGNORE], dtype=np.float64))


def score_image(case: Case, *, settings: ScoreSettings, n_fine: int = FINE_BINS) -> ImageScores:
    """Score one image.

    Args:
        case: the sample with its prediction; at least one pixel of its truth is not ignored.
        settings: classes and policies.
        n_fine: bins of the fine histograms, a power of two.
    """
    truth, prediction = case.truth, case.prediction
    counts = overlap.count(truth, prediction.mask, n_classes=len(settings.class_names))
    p, mask = prediction.probabilities, prediction.mask
    sums = calibration.tally(truth, p, mask, n_bins=settings.n_bins)
    mean_entropy = _mean_entropy(truth, prediction)
    masks = mask[None] if case.readers is None else sample_masks(prediction)
    return ImageScores(
        id=case.id,
        group=case.group,
        table=_table(case, counts, settings),
        area_truth=np.asarray(counts.tp + counts.fn, dtype=np.int64),
        area_predicted=np.asarray(counts.tp + counts.fp, dtype=np.int64),
        has_spacing=case.spacing is not None,
        mean_entropy=mean_entropy,
        counts=counts,
        calibration=sums,
        confidence=tally_confidence(truth, p, mask, n_bins=n_fine),
        risk=tally_risk(truth, prediction, n_bins=n_fine),
        joint=_joint(truth, prediction, sums),
        areas=tally_areas(truth, prediction.area_intervals, settings.class_names),
        agreement=tally_agreement(case.readers, masks, scored=settings.scored),
        truth=tally_truth(case.true_probability, p, truth),
        passes=prediction.passes,
        scores={"mean_entropy": mean_entropy, **prediction.scores},
        area_intervals=dict(prediction.area_intervals),
        flagged=prediction.flagged,
    )


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
        confidence=scores.confidence,
        risk=scores.risk,
        joint=scores.joint,
        areas=scores.areas,
        agreement=scores.agreement,
        truth=scores.truth,
    )
