"""Scores against the true probability, where it is known: on phantoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation.calibration import CLAMP

Floats = NDArray[np.float64]

AGAINST_TRUTH = (
    "expected_nll",
    "least_nll",
    "expected_brier",
    "least_brier",
    "probability_error",
    "probability_bias",
)
"""What `truth_scores` computes, in its order."""


@dataclass(frozen=True)
class TruthSums:
    """Sums over pixels whose true probability is known.

    Attributes:
        n: (…) pixels.
        total: (…, 6) sums of the `AGAINST_TRUTH`.
    """

    n: Floats
    total: Floats


def tally_truth(
    true_probability: NDArray[np.floating] | None,
    probabilities: NDArray[np.floating],
    truth: NDArray[np.uint8],
) -> TruthSums:
    """Sum up one image of two classes; pixels whose truth is 255 (ignore) are left out.

    With q the true and p the given probability of the foreground:

    - expected NLL: −q ln p − (1 − q) ln(1 − p), with p held in [10⁻⁷, 1 − 10⁻⁷]; what the NLL is
      over all masks that could have been drawn. Least NLL: the same at p = q.
    - expected Brier: (p − q)² + q (1 − q). Least Brier: q (1 − q).
    - probability error: the distance of p and q. Probability bias: p − q.

    Args:
        true_probability: (H, W) of the foreground, or ``None`` where it is not known.
        probabilities: (2, H, W) that were given.
        truth: (H, W) class indices.

    Examples:
        >>> q, p = np.array([[0.5, 0.0]]), np.array([[[0.6, 1.0]], [[0.4, 0.0]]])
        >>> sums = tally_truth(q, p, np.zeros((1, 2), dtype=np.uint8))
        >>> truth_scores(sums).round(3).tolist()
        [0.357, 0.347, 0.13, 0.125, 0.05, -0.05]
    """
    if true_probability is None or len(probabilities) != 2:
        return TruthSums(np.zeros(()), np.zeros(len(AGAINST_TRUTH)))
    scored = truth != IGNORE
    q = np.clip(true_probability[scored].astype(np.float64), 0.0, 1.0)
    p = np.clip(probabilities[1][scored].astype(np.float64), 0.0, 1.0)

    def cross_entropy(given: Floats) -> float:
        held = np.clip(given, CLAMP, 1.0 - CLAMP)
        return float(-(q * np.log(held) + (1.0 - q) * np.log1p(-held)).sum())

    spread, off = float((q * (1.0 - q)).sum()), p - q
    total = [
        cross_entropy(p),
        cross_entropy(q),
        float(np.square(off).sum()) + spread,
        spread,
        float(np.abs(off).sum()),
        float(off.sum()),
    ]
    return TruthSums(np.asarray(float(q.size)), np.array(total))


def truth_scores(sums: TruthSums) -> Floats:
    """Compute the means over pixels, (…, 6) in the order of `AGAINST_TRUTH`."""
    n = np.broadcast_to(np.asarray(sums.n)[..., None], sums.total.shape)
    return np.asarray(np.divide(sums.total, n, out=np.full(sums.total.shape, np.nan), where=n > 0))
