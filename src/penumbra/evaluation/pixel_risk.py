"""Whether a map of doubt finds the pixels that are wrong: AURC, E-AURC and AUSE over all pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation import selective
from penumbra.evaluation.histogram import FINE_BINS, count_bins, doubt_bins, doubt_edges
from penumbra.inference.prediction import Prediction, entropy

Floats = NDArray[np.float64]

PIXEL_SCORES = ("entropy", "least_confidence", "mutual_information", "variance")
"""Maps of doubt that are judged: −Σ p ln p, 1 − p of the mask's class, and what passes disagree."""


@dataclass(frozen=True)
class PixelRisk:
    """Histograms of doubt, one for each of the `PIXEL_SCORES`, and of the loss itself.

    Attributes:
        scores: (…, 4, 3, B) per score and step of doubt: pixels, errors of the mask, Σ of the
            pixels' Brier scores. All 0 for a score that there is no map of.
        oracle: (…, 2, B) per step of Brier score: pixels and Σ of Brier scores, which is the best
            order that there is.
    """

    scores: Floats
    oracle: Floats


def doubt_maps(prediction: Prediction) -> dict[str, tuple[NDArray[np.floating], float]]:
    """Give the maps of doubt (H, W) of a prediction by name, each with the most it can be."""
    n_classes = prediction.n_classes
    p, maps = prediction.probabilities, prediction.uncertainty
    chosen = np.take_along_axis(p, prediction.mask[None].astype(np.intp), axis=0)[0]
    nats = math.log(n_classes)
    found: dict[str, tuple[NDArray[np.floating], float]] = {
        "entropy": (maps["entropy"] if "entropy" in maps else entropy(p), nats),
        "least_confidence": (1.0 - chosen, 1.0),
    }
    # Summed over classes, the variance of two passes over K − 1 = 1 reaches 1.
    for name, largest in (("mutual_information", nats), ("variance", 1.0)):
        if prediction.passes > 1 and name in maps:
            found[name] = (maps[name], largest)
    return found


def pixel_brier(truth: NDArray[np.intp], probabilities: NDArray[np.floating]) -> Floats:
    """Compute the mean over classes of (p_c − y_c)² for each of N pixels, (N,) in [0, 1].

    Args:
        truth: (N,) class indices.
        probabilities: (C, N).
    """
    p = np.asarray(probabilities, dtype=np.float32)
    given = p[truth, np.arange(truth.size)]
    # Σ_c (p_c − y_c)² = Σ_c p_c² − 2 p_true + 1, without a one-hot array.
    squares = np.einsum("cn,cn->n", p, p) - 2.0 * given + 1.0
    return np.asarray(np.clip(squares.astype(np.float64) / len(p), 0.0, 1.0))


def tally_risk(
    truth: NDArray[np.uint8], prediction: Prediction, *, n_bins: int = FINE_BINS
) -> PixelRisk:
    """Count one image; pixels whose truth is 255 (ignore) are left out.

    Args:
        truth: (H, W) class indices.
        prediction: for the same (H, W).
        n_bins: steps of doubt, a power of two.

    Examples:
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> p = np.array([[[0.9, 0.4, 0.6, 0.5]], [[0.1, 0.6, 0.4, 0.5]]], dtype=np.float32)
        >>> sums = tally_risk(truth, Prediction(p, p.argmax(axis=0).astype(np.uint8), {}))
        >>> sums.scores[:, 0].sum(axis=-1).tolist(), sums.scores[0, 1].sum().item()
        ([3.0, 3.0, 0.0, 0.0], 1.0)
    """
    scored = truth != IGNORE
    true_class = truth[scored].astype(np.intp)
    wrong = prediction.mask[scored] != true_class
    loss = pixel_brier(true_class, prediction.probabilities[:, scored])
    maps = doubt_maps(prediction)
    rows = np.zeros((len(PIXEL_SCORES), 3, n_bins))
    for row, name in enumerate(PIXEL_SCORES):
        if name in maps:
            doubt, largest = maps[name]
            at = doubt_bins(doubt[scored], largest=largest, n_bins=n_bins)
            rows[row] = count_bins(at, wrong, loss, n_bins=n_bins)
    best = count_bins(doubt_bins(loss, n_bins=n_bins), loss, n_bins=n_bins)
    return PixelRisk(scores=rows, oracle=best)


RISKS = ("aurc", "e_aurc", "ause")
"""What `risks` computes, in its order."""


def risks(sums: PixelRisk, *, scores: slice = slice(None)) -> Floats:
    """Compute AURC, E-AURC and AUSE, (…, S, 3); not a number for a score that has no map.

    - AURC: area under the curve of error rate (of the mask) against coverage.
    - E-AURC: its excess over the order that has all right pixels first.
    - AUSE: area between the sparsification curves of doubt and of the oracle, where the least
      doubtful pixels are kept and the curve is their mean Brier score; the oracle keeps those with
      the least Brier score. Curves are not divided by their start. With 0/1 errors in place of the
      Brier score AUSE and E-AURC are the same number.

    Args:
        sums: of the pixels.
        scores: which of the `PIXEL_SCORES`.

    Source: Y. Geifman, G. Uziel and R. El-Yaniv, Bias-reduced uncertainty estimation for deep
    neural classifiers, ICLR 2019; E. Ilg et al., Uncertainty estimates and multi-hypotheses
    networks for optical flow, ECCV 2018.
    """
    chosen = sums.scores[..., scores, :, :]
    n, errors, loss = chosen[..., 0, :], chosen[..., 1, :], chosen[..., 2, :]
    area = selective.aurc(n, errors)
    best = selective.aurc_of_best_order(n.sum(axis=-1), errors.sum(axis=-1))
    oracle = selective.aurc(sums.oracle[..., 0, :], sums.oracle[..., 1, :])
    sparse = selective.aurc(n, loss) - oracle[..., None]
    return np.stack([area, area - best, sparse], axis=-1)


def risk_bounds(sums: PixelRisk) -> Floats:
    """Compute how far the histograms can be from sorting every pixel, (…, S, 3) as `risks`.

    For AURC and E-AURC see `selective.aurc_bound`. AUSE adds what the oracle's steps can hide.
    """
    n, errors, loss = (sums.scores[..., row, :] for row in range(3))
    area = selective.aurc_bound(n, errors)
    width = np.diff(doubt_edges(n.shape[-1]))
    oracle = selective.aurc_bound(sums.oracle[..., 0, :], sums.oracle[..., 1, :], width=width)
    sparse = selective.aurc_bound(n, loss) + oracle[..., None]
    return np.stack([area, area, sparse], axis=-1)
