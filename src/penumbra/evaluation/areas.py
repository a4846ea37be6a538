"""Whether intervals for areas hold the true areas, and how wide they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation.bootstrap import RESAMPLES, Interval, bootstrap, interval
from penumbra.inference.areas import AreaCase
from penumbra.inference.calibration import AreaInterval
from penumbra.inference.intervals import group_interval

Floats = NDArray[np.float64]

AREAS = ("coverage", "mean_width", "relative_width", "mean_estimate_error")
"""What `area_scores` computes, in its order."""


@dataclass(frozen=True)
class AreaSums:
    """Sums over images; leading axes (…) may run over groups or resamples.

    Attributes:
        table: (…, C, 6): images with an interval, those whose true area it holds, Σ width,
            images that show the class, Σ of their width / true area, Σ |estimate − true area|.
    """

    table: Floats


def tally_areas(
    truth: NDArray[np.uint8],
    intervals: Mapping[str, tuple[float, float, float]],
    class_names: Sequence[str],
) -> AreaSums:
    """Compare the intervals of one image with the true areas.

    An image with ignored pixels (255) has no known area and is left out.

    Args:
        truth: (H, W) class indices.
        intervals: class name → lowest, estimated and highest area in pixels; both ends count as
            inside. Classes without one are left out.
        class_names: one name per class index.

    Examples:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> sums = tally_areas(truth, {"lung": (2.0, 3.5, 5.0)}, ["back", "lung"])
        >>> area_scores(sums)[1].tolist()
        [1.0, 3.0, 1.0, 0.5]
    """
    table = np.zeros((len(class_names), 6))
    if intervals and not (truth == IGNORE).any():
        areas = np.bincount(truth.ravel(), minlength=len(class_names))
        for index, name in enumerate(class_names):
            if name not in intervals:
                continue
            low, estimate, high = intervals[name]
            area = float(areas[index])
            width = high - low
            shown = area > 0
            table[index] = (
                1.0,
                low <= area <= high,
                width,
                shown,
                width / area if shown else 0.0,
                abs(estimate - area),
            )
    return AreaSums(table)


def area_scores(sums: AreaSums) -> Floats:
    """Compute the scores (…, C, 4) of the intervals per class; not a number without an interval.

    - coverage: share of images whose true area lies in the interval.
    - mean width, in pixels.
    - relative width: mean of width / true area over the images that show the class.
    - mean |estimate − true area|, in pixels.
    """
    n, held, width, shown, relative, off = np.moveaxis(sums.table, -1, 0)
    pairs = ((held, n), (width, n), (relative, shown), (off, n))
    return np.stack(
        [
            np.divide(part, count, out=np.full_like(part, np.nan), where=count > 0)
            for part, count in pairs
        ],
        axis=-1,
    )


def volume_section(
    area: AreaInterval,
    cases: Sequence[AreaCase],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Say per class whether the intervals of volumes hold: of sums over a group's images.

    Args:
        area: what the intervals were made by.
        cases: one per image; pixels that are ignored count on neither side.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.

    Returns:
        Class name → ``n_groups``, the scores of `AREAS`, and ``groups`` with the lowest,
        estimated, highest and true volume in pixels. Groups of one image are left out: theirs is
        an area. Nothing where there are no others.
    """
    by_group: dict[str, list[AreaCase]] = {}
    for case in cases:
        by_group.setdefault(case.group, []).append(case)
    groups = sorted(group for group, own in by_group.items() if len(own) > 1)
    if not groups:
        return {}
    found = [group_interval(area, [case.estimate for case in by_group[g]]) for g in groups]
    truth = [np.sum([case.truth for case in by_group[g]], axis=0) for g in groups]
    section: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(area.class_names):
        rows = [(*each[name], float(true[c])) for each, true in zip(found, truth, strict=True)]
        section[name] = {
            "n_groups": len(groups),
            **_scores_of(np.array([_volume_row(row) for row in rows]), resamples, seed),
            "groups": {
                group: dict(zip(("low", "estimate", "high", "truth"), row, strict=True))
                for group, row in zip(groups, rows, strict=True)
            },
        }
    return section


def _scores_of(table: Floats, resamples: int, seed: int) -> dict[str, Interval]:
    def scores(weights: Floats) -> Floats:
        return area_scores(AreaSums(weights @ table))

    value, low, high = bootstrap(scores, n_groups=len(table), resamples=resamples, seed=seed)
    return {key: interval(value[i], low[i], high[i]) for i, key in enumerate(AREAS)}


def _volume_row(row: tuple[float, float, float, float]) -> tuple[float, ...]:
    low, estimate, high, truth = row
    width, shown = high - low, truth > 0
    relative = width / truth if shown else 0.0
    return 1.0, float(low <= truth <= high), width, float(shown), relative, abs(estimate - truth)
