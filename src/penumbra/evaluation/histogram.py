"""Fine histograms of doubt and of confidence: fixed bins, so that parts add up to the whole.

Most pixels are nearly certain, so bins of equal width would hold almost all of them in one. Bins
here are of equal width on t(2u) with t(v) = ln(1 + v/ε) / ln(1 + 1/ε) for u < ½, and mirrored
above: equal ratios of the distance to the nearer end, and equal widths within ε of it. Their
number is a power of two, so that two histograms of different resolution can always be brought to
the coarser one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FINE_BINS = 4096
"""Bins of a fine histogram: its bins are less than 1 % of the distance to the nearer end wide."""

LEAST_DOUBT = 1e-8
"""ε of doubt at either end, as a share of its largest value."""

LEAST_CONFIDENCE = 1e-5
"""ε of a probability at either end."""


def _two_ended(u: NDArray[np.floating], least: float, n_bins: int) -> NDArray[np.intp]:
    """Give the bins of values in [0, 1]: half below ½, on t(2u), and as many mirrored above."""
    u = np.clip(u, 0.0, 1.0)
    upper = u >= 0.5
    near = np.where(upper, 1.0 - u, u).astype(np.float32)
    half = n_bins // 2
    near = np.log1p(near * np.float32(2.0 / least))
    at = (near * np.float32(half / math.log1p(1.0 / least))).astype(np.intp)
    np.minimum(at, half - 1, out=at)
    return np.asarray(np.where(upper, n_bins - 1 - at, at))


def doubt_bins(
    doubt: NDArray[np.floating], *, largest: float = 1.0, n_bins: int = FINE_BINS
) -> NDArray[np.intp]:
    """Give the bin of each value of a map of doubt, the surest first.

    The upper end is as fine as the lower one: entropy is flat at its maximum, where many
    probabilities crowd.

    Args:
        doubt: values in [0, largest]; what lies beyond is held at the ends.
        largest: the most that the doubt can be, such as ln C for an entropy.
        n_bins: a power of two; ε is `LEAST_DOUBT`.

    Examples:
        >>> doubt_bins(np.array([0.0, 1e-6, 1e-3, 0.5, 1.0])).tolist()
        [0, 589, 1357, 2048, 4095]
    """
    return _two_ended(np.asarray(doubt) / largest, LEAST_DOUBT, n_bins)


def confidence_bins(p: NDArray[np.floating], *, n_bins: int = FINE_BINS) -> NDArray[np.intp]:
    """Give the bin of each probability, from 0 to 1, fine towards both ends.

    Args:
        p: in [0, 1]; what lies beyond is held at the ends.
        n_bins: a power of two; ε is `LEAST_CONFIDENCE`.

    Examples:
        >>> confidence_bins(np.array([0.0, 0.25, 0.5, 0.75, 1.0])).tolist()
        [0, 1924, 2048, 2171, 4095]
    """
    return _two_ended(np.asarray(p), LEAST_CONFIDENCE, n_bins)


def confidence_edges(n_bins: int = FINE_BINS) -> Floats:
    """Give the edges (n_bins + 1,) of the bins of `confidence_bins`.

    Examples:
        >>> confidence_edges(4).round(4).tolist()
        [0.0, 0.0016, 0.5, 0.9984, 1.0]
    """
    return _edges(LEAST_CONFIDENCE, n_bins)


def doubt_edges(n_bins: int = FINE_BINS) -> Floats:
    """Give the edges (n_bins + 1,) of the bins of `doubt_bins`, as shares of the largest value."""
    return _edges(LEAST_DOUBT, n_bins)


def _edges(least: float, n_bins: int) -> Floats:
    t = np.linspace(0.0, 1.0, n_bins // 2 + 1)
    lower = np.expm1(t * math.log1p(1.0 / least)) * least / 2
    return np.concatenate([lower, 1.0 - lower[-2::-1]])


def count_bins(at: NDArray[np.intp], *weights: NDArray[np.floating], n_bins: int) -> Floats:
    """Count values per bin, and sum up what they carry: (1 + len(weights), n_bins)."""
    rows: list[Floats] = [np.bincount(at, minlength=n_bins).astype(np.float64)]
    rows += [
        np.asarray(np.bincount(at, weights=weight, minlength=n_bins), np.float64)
        for weight in weights
    ]
    return np.stack(rows)


def coarsen(bins: Floats, n_bins: int) -> Floats:
    """Bring histograms (…, B) to fewer bins (…, n_bins); both are powers of two.

    Examples:
        >>> coarsen(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist()
        [3.0, 7.0]
    """
    ratio = bins.shape[-1] // n_bins
    return bins if ratio <= 1 else bins.reshape(*bins.shape[:-1], n_bins, ratio).sum(axis=-1)


def condense(bins: Floats, n_bins: int) -> Floats:
    """Join neighbouring bins into at most `n_bins` of about equal mass.

    What is over many resamples needs no finer ones: each resample has nearly the same masses.

    Args:
        bins: (G, …, k, B) histograms of G groups whose first of k quantities is the mass.
        n_bins: the most that are left.

    Returns:
        (G, …, k, n_bins); the same neighbours are joined in every group. Unused bins are 0.
    """
    if bins.shape[-1] <= n_bins:
        return bins
    out = np.zeros((*bins.shape[:-1], n_bins))
    mass = bins[..., 0, :].sum(axis=0)
    for row in np.ndindex(mass.shape[:-1]):
        total = np.cumsum(mass[row])
        if total[-1] <= 0:
            continue
        middle = (total - mass[row] / 2) / total[-1]
        labels = np.minimum((middle * n_bins).astype(np.intp), n_bins - 1)
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        at = (slice(None), *row)
        out[(*at, slice(None), slice(len(starts)))] = np.add.reduceat(bins[at], starts, axis=-1)
    return out
