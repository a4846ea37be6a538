"""Does a measure rank methods as another one does: Kendall's τ and Spearman's ρ with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from penumbra.errors import SettingsError, expected
from penumbra.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, interval

_CHUNK = 256


@dataclass(frozen=True)
class RankAgreement:
    """How far two rankings of the same methods agree.

    Attributes:
        kendall: Kendall's τ_b with its 95 % interval over groups; 1 the same order, −1 the
            reverse.
        spearman: Spearman's ρ, likewise.
        n_methods: that were ranked.
    """

    kendall: Interval
    spearman: Interval
    n_methods: int

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


def kendall(a: Floats, b: Floats) -> Floats:
    """Compute Kendall's τ_b over the last axis: (agreeing − contrary pairs) / √(n_a · n_b).

    n_a and n_b are the pairs that are not tied in a and in b.

    Args:
        a: (…, M).
        b: (…, M).

    Returns:
        (…) in [−1, 1]; not a number where either is constant.

    Source: M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33(3), 1945.

    Examples:
        >>> kendall(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])).round(3).item()
        0.333
    """
    first, second = np.triu_indices(a.shape[-1], k=1)
    one = np.sign(a[..., first] - a[..., second])
    other = np.sign(b[..., first] - b[..., second])
    return _ratio((one * other).sum(-1), (one**2).sum(-1) * (other**2).sum(-1))


def spearman(a: Floats, b: Floats) -> Floats:
    """Compute Spearman's ρ over the last axis: the correlation of the ranks, ties sharing theirs.

    Args:
        a: (…, M).
        b: (…, M).

    Returns:
        (…) in [−1, 1]; not a number where either is constant.

    Examples:
        >>> spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])).round(3).item()
        0.5
    """
    ranks = [stats.rankdata(x, axis=-1) for x in (a, b)]
    one, other = (x - x.mean(axis=-1, keepdims=True) for x in ranks)
    return _ratio((one * other).sum(-1), (one**2).sum(-1) * (other**2).sum(-1))


def _ratio(part: Floats, square: Floats) -> Floats:
    known = square > 0
    return np.asarray(np.where(known, part / np.sqrt(np.where(known, square, 1.0)), np.nan))


def rank_agreement(
    measured: ArrayLike,
    truth: ArrayLike,
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RankAgreement:
    """Compare the ranking of M methods by one measure with that by another, over the same images.

    A method's figure is its mean over images; groups are drawn again for the interval, the same
    draw for all methods and both measures. The interval says what other patients would change,
    not what other methods would.

    Args:
        measured: (M, images) of the measure in question; not a number where it does not apply.
        truth: (M, images) of the measure to be trusted.
        groups: of the images.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        SettingsError: shapes do not fit, or there are fewer than three methods.

    Examples:
        >>> dice = [[0.9, 0.8, 0.85], [0.7, 0.75, 0.6], [0.5, 0.4, 0.45]]
        >>> found = rank_agreement(dice, dice, ["a", "b", "c"])
        >>> found.kendall["mean"], found.spearman["low"]
        (1.0, 1.0)
    """
    ours, theirs = (np.asarray(x, dtype=np.float64) for x in (measured, truth))
    if ours.ndim != 2 or ours.shape != theirs.shape or ours.shape[1] != len(groups):
        got = f"{ours.shape}, {theirs.shape} and {len(groups)}"
        raise SettingsError(
            expected("both measures and groups", "(M, images) twice and one group per image", got,
                     "the same methods on the same images")
        )  # fmt: skip
    if len(ours) < 3:
        raise SettingsError(expected("the methods", "at least 3", len(ours), "more methods"))
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    sums = [_by_group(x, at, len(names)) for x in (ours, theirs)]

    def statistic(weights: Floats) -> Floats:
        parts = []
        for start in range(0, len(weights), _CHUNK):
            some = weights[start : start + _CHUNK]
            a, b = (_means(some, total, n) for total, n in sums)
            parts.append(np.stack([kendall(a, b), spearman(a, b)], axis=-1))
        return np.concatenate(parts)

    value, low, high = bootstrap(statistic, n_groups=len(names), resamples=resamples, seed=seed)
    found = [interval(value[i], low[i], high[i]) for i in range(2)]
    return RankAgreement(found[0], found[1], len(ours))


def _by_group(table: Floats, at: NDArray[np.intp], n_groups: int) -> tuple[Floats, Floats]:
    known = np.isfinite(table)
    total, n = np.zeros((n_groups, len(table))), np.zeros((n_groups, len(table)))
    np.add.at(total, at, np.where(known, table, 0.0).T)
    np.add.at(n, at, known.T)
    return total, n


def _means(weights: Floats, total: Floats, n: Floats) -> Floats:
    count = weights @ n
    # Rounded, since a tie must not depend on the order in which sums are made.
    mean = np.round((weights @ total) / np.maximum(count, 1), 12)
    # What no drawn group can measure ranks last: a method that answers nowhere is no good one.
    return np.asarray(np.where(count > 0, mean, 0.0))
