"""Confidence intervals by resampling groups.

Images of one patient resemble one another, so the patient is what is drawn again, not the image:
drawing images would promise more certainty than the data holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Statistic = Callable[[Floats], Floats]
"""From weights (R, G), how often each group was drawn in each resample, to values (R, …)."""

RESAMPLES = 2000
FEW_GROUPS = 5
"""With fewer groups, an interval over them ends where its groups do, and no verdict rests on it."""

_LEVEL = 95.0
_CELLS = 2**22  # weights held at a time: 32 MiB


class Interval(TypedDict):
    """A value with its 95 % interval; the ends are not a number where there is one group only."""

    mean: float
    low: float
    high: float


def bootstrap(
    statistic: Statistic, *, n_groups: int, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Compute a statistic with its 95 % percentile interval over resampled groups.

    Every resample draws `n_groups` groups with replacement; all values of the statistic see the
    same resamples, so a difference of two is paired.

    Args:
        statistic: from weights (R, G) to values (R, …).
        n_groups: G.
        resamples: how many; memory stays bounded whatever the number.
        seed: of the draws.

    Returns:
        The value on the groups themselves, and the 2.5th and 97.5th percentiles over resamples,
        each (…). Resamples where the value is not a number are left out; with a single group,
        or a value that is not a number, both ends are not a number.

    Source: B. Efron and R. J. Tibshirani, An introduction to the bootstrap, 1993, chapter 13.

    Examples:
        >>> scores = np.array([0.7, 0.8, 0.9, 0.95])
        >>> value, low, high = bootstrap(lambda w: w @ scores / w.sum(axis=1), n_groups=4)
        >>> round(float(value), 4), bool(low < value < high)
        (0.8375, True)
    """
    value = statistic(np.ones((1, n_groups)))[0]
    nothing = np.full_like(value, np.nan)
    if n_groups < 2:
        return value, nothing, nothing
    rng = np.random.default_rng(seed)
    shares = np.full(n_groups, 1.0 / n_groups)
    drawn = []
    for start in range(0, resamples, max(1, _CELLS // n_groups)):
        rows = min(max(1, _CELLS // n_groups), resamples - start)
        drawn.append(statistic(rng.multinomial(n_groups, shares, size=rows).astype(np.float64)))
    tail = (100.0 - _LEVEL) / 2
    with warnings.catch_warnings():
        # A value that is nowhere a number has no percentile; NaN is the answer, not an accident.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        low, high = np.nanpercentile(np.concatenate(drawn), [tail, 100.0 - tail], axis=0)
    known = np.isfinite(value)
    return value, np.where(known, low, np.nan), np.where(known, high, np.nan)


def interval(mean: float, low: float, high: float) -> Interval:
    """Make an interval of plain floats."""
    return Interval(mean=float(mean), low=float(low), high=float(high))
