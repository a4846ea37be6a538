"""Whether probabilities mean what they say: Brier score, NLL, ECE and reliability tables.

Every scored pixel is counted, never a sample of them. Probabilities are sorted into bins once and
the bins add up, so the expected calibration error of a whole is exact from its parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE

Floats = NDArray[np.float64]

N_BINS = 15
"""Bins of equal width on [0, 1], after Guo et al. 2017."""

CLAMP = 1e-7
"""Probabilities are held in [CLAMP, 1 − CLAMP] inside a logarithm.

About the resolution of float32 near 1. A pixel that was given no chance and is true so costs
−ln 1e-7 ≈ 16.1 nats, not infinity.
"""


@dataclass(frozen=True)
class Calibration:
    """Sums over pixels from which every calibration score is made.

    Leading axes (…) may run over groups or resamples.

    Attributes:
        n: (…) pixels.
        brier: (…, C) Σ (p_c − y_c)² per class.
        nll: (…) Σ −ln p of the true class.
        class_nll: (…, C) Σ of the binary cross-entropy of each class against the rest.
        bins: (…, 1 + C, B, 3): pixels, Σ confidence and Σ hits per bin. Row 0 is the predicted
            class (confidence its probability, hit if it is right), row 1 + c is class c
            (confidence p_c, hit if the truth is c).
    """

    n: Floats
    brier: Floats
    nll: Floats
    class_nll: Floats
    bins: Floats


@dataclass(frozen=True)
class ReliabilityBin:
    """One row of a reliability table.

    Attributes:
        low: lower end of the bin, included.
        high: upper end, excluded but for 1.
        count: pixels in the bin.
        confidence: their mean probability; not a number where there are none.
        accuracy: the share of them that are hits: right, or, for one class, of that class.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def _binned(confidence: Floats, hits: NDArray[np.bool_], n_bins: int) -> Floats:
    at = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    return np.stack(
        [
            np.bincount(at, minlength=n_bins).astype(np.float64),
            np.bincount(at, weights=confidence, minlength=n_bins),
            np.bincount(at, weights=hits, minlength=n_bins),
        ],
        axis=-1,
    )


def tally(
    truth: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    predicted: NDArray[np.uint8],
    *,
    n_bins: int = N_BINS,
) -> Calibration:
    """Sum up one image; pixels whose truth is 255 (ignore) are left out.

    Args:
        truth: (H, W) class indices.
        probabilities: (C, H, W) in [0, 1].
        predicted: (H, W) class indices; its probability is the confidence of the pixel.
        n_bins: bins of equal width on [0, 1]; a bin holds its lower end, the last also 1.

    Examples:
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> foreground = np.array([[0.2, 0.8, 0.6, 0.9]])
        >>> p = np.stack([1 - foreground, foreground])
        >>> sums = tally(truth, p, p.argmax(axis=0).astype(np.uint8))
        >>> round(float(brier(sums)), 4), round(float(nll(sums)), 4), round(float(ece(sums)), 4)
        (0.08, 0.319, 0.2667)
    """
    scored = truth != IGNORE
    true_class = truth[scored].astype(np.int64)
    # Rounding in float32 can leave [0, 1] by a hair, which would fall out of the bins.
    p = np.clip(probabilities[:, scored].astype(np.float64), 0.0, 1.0)
    chosen = predicted[scored].astype(np.int64)
    pixel = np.arange(true_class.size)
    rows = [_binned(p[chosen, pixel], chosen == true_class, n_bins)]
    squares, entropies = np.zeros(len(p)), np.zeros(len(p))
    for index, p_class in enumerate(p):
        hits = true_class == index
        rows.append(_binned(p_class, hits, n_bins))
        squares[index] = np.square(p_class - hits).sum()
        given = np.clip(np.where(hits, p_class, 1.0 - p_class), CLAMP, 1.0)
        entropies[index] = -np.log(given).sum()
    of_truth = np.clip(p[true_class, pixel], CLAMP, 1.0)
    return Calibration(
        n=np.asarray(true_class.size, dtype=np.float64),
        brier=squares,
        nll=np.asarray(-np.log(of_truth).sum()),
        class_nll=entropies,
        bins=np.stack(rows),
    )


def merge(a: Calibration, b: Calibration) -> Calibration:
    """Add the sums of two disjoint sets of pixels."""
    return Calibration(
        n=a.n + b.n,
        brier=a.brier + b.brier,
        nll=a.nll + b.nll,
        class_nll=a.class_nll + b.class_nll,
        bins=a.bins + b.bins,
    )


def _per_pixel(total: Floats, n: Floats) -> Floats:
    return np.asarray(np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0))


def class_brier(sums: Calibration) -> Floats:
    """Compute the mean of (p_c − y_c)² per class, (…, C) in [0, 1]."""
    return _per_pixel(sums.brier, np.broadcast_to(sums.n[..., None], sums.brier.shape))


def brier(sums: Calibration) -> Floats:
    """Compute the Brier score, (…) in [0, 1]: the mean over pixels and classes of (p_c − y_c)².

    With two classes this is (p − y)², as it is for a single event; the sum over classes, which
    some write instead, is C times as much.

    Source: G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly
    Weather Review 78(1), 1950.
    """
    return np.asarray(class_brier(sums).mean(axis=-1))


def nll(sums: Calibration) -> Floats:
    """Compute the mean of −ln p of the true class in nats, (…); p is held above `CLAMP`."""
    return _per_pixel(sums.nll, sums.n)


def class_nll(sums: Calibration) -> Floats:
    """Compute the mean binary cross-entropy of each class against the rest, (…, C) in nats."""
    return _per_pixel(sums.class_nll, np.broadcast_to(sums.n[..., None], sums.class_nll.shape))


def _gap(bins: Floats) -> Floats:
    pixels = bins[..., 0].sum(axis=-1)
    return _per_pixel(np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1), pixels)


def ece(sums: Calibration) -> Floats:
    """Compute the expected calibration error of the predicted class, (…) in [0, 1].

    ECE = Σ_b (n_b / n) · |mean confidence in b − share of right pixels in b|, over all pixels.

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
    networks, ICML 2017.
    """
    return _gap(sums.bins[..., 0, :, :])


def class_ece(sums: Calibration) -> Floats:
    """Compute the binary calibration error per class, (…, C) in [0, 1].

    As `ece`, with p_c for the confidence and the frequency of class c for the share of hits.
    """
    return _gap(sums.bins[..., 1:, :, :])


def reliability(sums: Calibration, *, class_index: int | None = None) -> tuple[ReliabilityBin, ...]:
    """Give the reliability table of the predicted class, or of one class against the rest.

    Args:
        sums: of one set of pixels, without leading axes.
        class_index: the class; ``None`` for the predicted one.
    """
    row = sums.bins[0 if class_index is None else 1 + class_index]
    counts = row[:, 0]
    confidence, accuracy = _per_pixel(row[:, 1], counts), _per_pixel(row[:, 2], counts)
    edges = np.linspace(0.0, 1.0, len(row) + 1)
    return tuple(
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            count=int(counts[b]),
            confidence=float(confidence[b]),
            accuracy=float(accuracy[b]),
        )
        for b in range(len(row))
    )
