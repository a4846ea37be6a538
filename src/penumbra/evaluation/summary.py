"""From the sums of groups to every metric with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import calibration, overlap
from penumbra.evaluation.bootstrap import RESAMPLES, Interval, bootstrap, interval
from penumbra.evaluation.scores import (
    MEAN_METRICS,
    GroupSums,
    ScoreSettings,
    mean_of_classes,
    weigh,
)

Floats = NDArray[np.float64]

METRICS = (*MEAN_METRICS, "dice_pooled", "iou_pooled", "brier", "nll", "ece")
"""Every metric of a summary, in the order of `statistic`."""


def statistic(sums: GroupSums, weights: Floats, settings: ScoreSettings) -> Floats:
    """Compute every metric from weighted groups.

    Args:
        sums: of G groups, with a leading axis G.
        weights: (R, G), how often each group counts.
        settings: classes and policies.

    Returns:
        (R, 14, 1 + C) in the order of `METRICS`; column 0 is overall, column 1 + c is class c.
    """
    whole = weigh(sums, weights)
    means = np.where(whole.n > 0, whole.total / np.maximum(whole.n, 1e-12), np.nan)
    if settings.empty == "nan":
        means = np.where(whole.missing > 0, np.nan, means)

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
    ]
    return np.concatenate([means, np.stack(pooled, axis=-2)], axis=-2)


def summarise(
    sums: GroupSums, settings: ScoreSettings, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Mapping[str, Interval], Mapping[str, Mapping[str, Interval]]]:
    """Compute every metric with its 95 % interval over groups.

    Returns:
        `overall` by metric, and `per_class` by class name and metric.
    """
    value, low, high = bootstrap(
        lambda weights: statistic(sums, weights, settings),
        n_groups=len(sums.total),
        resamples=resamples,
        seed=seed,
    )

    def column(at: int) -> dict[str, Interval]:
        return {
            name: interval(value[row, at], low[row, at], high[row, at])
            for row, name in enumerate(METRICS)
        }

    names = settings.class_names
    return column(0), {name: column(1 + index) for index, name in enumerate(names)}
