"""Calibration error over bins of equal mass (ACE), and at its worst (MCE)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation.calibration import N_BINS, Calibration
from penumbra.evaluation.histogram import (
    FINE_BINS,
    confidence_bins,
    confidence_edges,
    count_bins,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConfidenceHistogram:
    """Fine histograms of confidence, from which bins of equal mass are formed.

    Attributes:
        bins: (…, 1 + C, 3, B): pixels, Σ confidence and Σ hits per fine bin, from 0 to 1. Row 0
            is the predicted class, row 1 + c is class c, as in `Calibration`.
    """

    bins: Floats


def tally_confidence(
    truth: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.uint8],
    *,
    n_bins: int = FINE_BINS,
) -> ConfidenceHistogram:
    """Count one image; pixels whose truth is 255 (ignore) are left out.

    Args:
        truth: (H, W) class indices.
        probabilities: (C, H, W) in [0, 1].
        predicted: (H, W) class indices.
        n_bins: fine bins, a power of two.

    Examples:
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> foreground = np.array([[0.2, 0.8, 0.6, 0.9]])
        >>> p = np.stack([1 - foreground, foreground])
        >>> sums = tally_confidence(truth, p, p.argmax(axis=0).astype(np.uint8))
        >>> ace(sums, n_bins=3).round(4).tolist()
        [0.2667, 0.2667, 0.2667]
    """
    scored = truth != IGNORE
    true_class = truth[scored]
    p = np.clip(probabilities[:, scored], 0.0, 1.0)
    chosen = predicted[scored].astype(np.intp)
    given = p[chosen, np.arange(chosen.size)]
    rows = [(given, chosen == true_class)]
    rows += [(p_class, true_class == index) for index, p_class in enumerate(p)]
    return ConfidenceHistogram(
        bins=np.stack(
            [
                count_bins(confidence_bins(c, n_bins=n_bins), c, hits, n_bins=n_bins)
                for c, hits in rows
            ]
        )
    )


def _gaps(row: Floats, n_bins: int) -> Floats:
    """Give |Σ confidence − Σ hits| of each bin of equal mass, from one histogram (3, B)."""
    total = np.concatenate([np.zeros((3, 1)), np.cumsum(row, axis=-1)], axis=-1)
    gap = total[1] - total[2]
    edges = np.linspace(0.0, total[0, -1], n_bins + 1)
    return np.asarray(np.abs(np.diff(np.interp(edges, total[0], gap))))


def ace(sums: ConfidenceHistogram, *, n_bins: int = N_BINS) -> Floats:
    """Compute the adaptive calibration error, (…, 1 + C) in [0, 1].

    Pixels are sorted by confidence into bins of equal mass; the error is the mean over bins of
    |confidence − share of hits|. Column 0 is the predicted class, column 1 + c is class c against
    the rest; Nixon et al. report the mean of the latter over classes. Where the edge of a bin
    falls inside a fine bin, that one's pixels are shared out in proportion, so equal confidences
    count the same on both sides; `ace_bound` says how much that can matter.

    Args:
        sums: of the pixels.
        n_bins: bins of equal mass.

    Source: J. Nixon, M. W. Dusenberry, L. Zhang, G. Jerfel and D. Tran, Measuring calibration in
    deep learning, CVPR Workshops 2019.
    """
    bins = np.asarray(sums.bins)
    out = np.full(bins.shape[:-2], np.nan)
    for at in np.ndindex(out.shape):
        pixels = bins[at][0].sum()
        if pixels > 0:
            out[at] = _gaps(bins[at], n_bins).sum() / pixels
    return out


def ace_bound(sums: ConfidenceHistogram, *, n_bins: int = N_BINS) -> Floats:
    """Compute how far `ace` can be from that of any order within the fine bins, (…, 1 + C).

    An edge inside a fine bin of n_b pixels with h_b hits moves at most h_b (1 − h_b / n_b) hits
    and n_b · width / 4 of confidence from one bin to its neighbour, and counts in both.
    """
    bins = np.asarray(sums.bins)
    n_fine = bins.shape[-1]
    out = np.full(bins.shape[:-2], np.nan)
    width = np.diff(confidence_edges(n_fine))
    for at in np.ndindex(out.shape):
        n, _, hits = bins[at]
        total = np.cumsum(n)
        if total[-1] <= 0:
            continue
        cuts = np.linspace(0.0, total[-1], n_bins + 1)[1:-1]
        cut = np.minimum(np.searchsorted(total, cuts), n_fine - 1)
        moved = hits[cut] * (1.0 - hits[cut] / np.maximum(n[cut], 1.0))
        out[at] = 2.0 * (moved + n[cut] * width[cut] / 4).sum() / total[-1]
    return out


def mce(sums: Calibration) -> Floats:
    """Compute the maximum calibration error, (…, 1 + C) in [0, 1].

    The largest |confidence − share of hits| over the bins of equal width that hold a pixel. Column
    0 is the predicted class, column 1 + c is class c against the rest. One pixel in a bin is enough
    to make it large, so it is a warning, not a score to choose by.

    Source: M. Pakdaman Naeini, G. F. Cooper and M. Hauskrecht, Obtaining well calibrated
    probabilities using Bayesian binning, AAAI 2015.
    """
    n = sums.bins[..., 0]
    gap = np.abs(sums.bins[..., 1] - sums.bins[..., 2]) / np.where(n > 0, n, 1.0)
    worst = np.where(n > 0, gap, 0.0).max(axis=-1)
    return np.asarray(np.where(n.sum(axis=-1) > 0, worst, np.nan))
