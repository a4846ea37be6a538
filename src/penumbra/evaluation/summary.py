"""From the sums of groups to every metric with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import adaptive, calibration, joint, overlap, pixel_risk
from penumbra.evaluation.bootstrap import RESAMPLES, Interval, bootstrap, interval
from penumbra.evaluation.scores import MEAN_METRICS, ScoreSettings, mean_of_classes
from penumbra.evaluation.sums import GroupSums, condensed, weigh

Floats = NDArray[np.float64]

OVERALL_METRICS = pixel_risk.RISKS
"""Metrics that are of all classes together: AURC, E-AURC and AUSE of the entropy, over pixels."""

METRICS = (
    *MEAN_METRICS,
    "dice_pooled",
    "iou_pooled",
    "brier",
    "nll",
    "ece",
    "ace",
    "mce",
    "joint_nll",
    "joint_nll_untempered",
    *OVERALL_METRICS,
)
"""Every metric of a summary, in the order of `statistic`."""

_BLOCK = 64


def _means(whole: GroupSums, settings: ScoreSettings) -> Floats:
    means = np.where(whole.n > 0, whole.total / np.maximum(whole.n, 1e-12), np.nan)
    if settings.empty == "nan":
        means = np.where(whole.missing > 0, np.nan, means)
    return means


def _block(sums: GroupSums, weights: Floats, settings: ScoreSettings) -> Floats:
    whole = weigh(sums, weights)

    def with_overall(by_class: Floats) -> Floats:
        overall = mean_of_classes(by_class[..., list(settings.scored)], settings.empty)
        return np.concatenate([overall[..., None], by_class], axis=-1)

    def beside(overall: Floats, by_class: Floats) -> Floats:
        return np.concatenate([overall[..., None], by_class], axis=-1)

    cal = whole.calibration
    pooled = [
        with_overall(overlap.dice(whole.counts, empty=settings.empty)),
        with_overall(overlap.iou(whole.counts, empty=settings.empty)),
        beside(calibration.brier(cal), calibration.class_brier(cal)),
        beside(calibration.nll(cal), calibration.class_nll(cal)),
        beside(calibration.ece(cal), calibration.class_ece(cal)),
        adaptive.ace(whole.confidence, n_bins=settings.n_bins),
        adaptive.mce(cal),
        joint.joint_nll(whole.joint),
        joint.joint_nll(whole.joint, tempered=False),
    ]
    by_entropy = pixel_risk.risks(whole.risk, scores=slice(0, 1))[..., 0, :]
    overall_only = np.full((*by_entropy.shape, pooled[0].shape[-1]), np.nan)
    overall_only[..., 0] = by_entropy
    return np.concatenate(
        [_means(whole, settings), np.stack(pooled, axis=-2), overall_only], axis=-2
    )


def statistic(sums: GroupSums, weights: Floats, settings: ScoreSettings) -> Floats:
    """Compute every metric from weighted groups.

    Args:
        sums: of G groups, with a leading axis G.
        weights: (R, G), how often each group counts.
        settings: classes and policies.

    Returns:
        (R, 21, 1 + C) in the order of `METRICS`; column 0 is overall, column 1 + c is class c,
        not a number for the `OVERALL_METRICS`.
    """
    return in_blocks(lambda rows: _block(sums, rows, settings), weights)


def in_blocks(statistic: Callable[[Floats], Floats], weights: Floats) -> Floats:
    """Compute a statistic for a few resamples at a time, so that histograms stay in memory."""
    parts = range(0, len(weights), _BLOCK)
    return np.concatenate([statistic(weights[start : start + _BLOCK]) for start in parts])


def with_intervals(
    compute: Callable[[GroupSums, Floats], Floats],
    sums: GroupSums,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Compute a statistic of sums with its 95 % interval over groups.

    The value is from the fine histograms. Resamples use condensed ones, and their interval is
    moved by the difference that this makes to the value, far less than it is wide.

    Args:
        compute: from sums of G groups and weights (R, G) to values (R, …).
        sums: of G groups, with a leading axis G.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Value, low and high, each (…).
    """
    n_groups = len(sums.total)
    few = condensed(sums)
    value = compute(sums, np.ones((1, n_groups)))[0]
    near, low, high = bootstrap(
        lambda weights: compute(few, weights), n_groups=n_groups, resamples=resamples, seed=seed
    )
    return value, low + (value - near), high + (value - near)


def summarise(
    sums: GroupSums, settings: ScoreSettings, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Mapping[str, Interval], Mapping[str, Mapping[str, Interval]]]:
    """Compute every metric with its 95 % interval over groups.

    Returns:
        `overall` by metric, and `per_class` by class name and metric; the latter without the
        `OVERALL_METRICS`.
    """
    value, low, high = with_intervals(
        lambda some, weights: statistic(some, weights, settings),
        sums,
        resamples=resamples,
        seed=seed,
    )

    def column(at: int) -> dict[str, Interval]:
        return {
            name: interval(value[row, at], low[row, at], high[row, at])
            for row, name in enumerate(METRICS)
            if at == 0 or name not in OVERALL_METRICS
        }

    names = settings.class_names
    return column(0), {name: column(1 + index) for index, name in enumerate(names)}
