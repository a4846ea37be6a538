"""Means over images with intervals over groups, of anything that is one number per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penumbra.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, interval


def mean_intervals(
    values: Mapping[str, Sequence[float]],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Average each metric over images, with 95 % intervals over resampled groups.

    All metrics see the same resamples. Groups are drawn in sorted order, so that the order of the
    images decides nothing.

    Args:
        values: metric → one number per image; what is not a number is left out.
        groups: of the images.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Metric → mean, low, high; not a number where no image has the metric.

    Examples:
        >>> found = mean_intervals({"dice": [0.5, 0.7, float("nan")]}, ["a", "b", "b"])
        >>> round(found["dice"]["mean"], 3), found["dice"]["low"], found["dice"]["high"]
        (0.6, 0.5, 0.7)
    """
    if not groups:
        return {name: interval(np.nan, np.nan, np.nan) for name in values}
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    table = np.array([list(column) for column in values.values()], dtype=np.float64).T
    known = np.isfinite(table)
    total, n = np.zeros((len(names), len(values))), np.zeros((len(names), len(values)))
    np.add.at(total, at, np.where(known, table, 0.0))
    np.add.at(n, at, known)

    def mean(weights: Floats) -> Floats:
        count = weights @ n
        # A resample of groups that all lack the metric has no mean.
        return np.asarray(np.where(count > 0, weights @ total / np.maximum(count, 1), np.nan))

    value, low, high = bootstrap(mean, n_groups=len(names), resamples=resamples, seed=seed)
    return {name: interval(value[i], low[i], high[i]) for i, name in enumerate(values)}
