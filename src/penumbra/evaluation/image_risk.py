"""Whether an image-level score finds the images that came out badly: risk = 1 − Dice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import selective

Floats = NDArray[np.float64]

IMAGE_RISKS = ("aurc", "e_aurc", "spearman", "auroc")
"""What `image_risks` computes, in its order."""

FLAGS = ("flagged", "worst_found", "worst_among_flagged")
"""What `flag_shares` computes, in its order."""

WORST_SHARE = 0.2
"""The share of images that count as the worst, by Dice."""

_CELLS = 2**20


@dataclass(frozen=True)
class ImageRisks:
    """Images with what they risk and how much doubt there was.

    Attributes:
        risk: (n,) 1 − Dice.
        doubt: (n,) the image-level score; higher is more doubt.
        group: (n,) position of the image's group.
    """

    risk: Floats
    doubt: Floats
    group: NDArray[np.intp]


def worst(risk: Floats, share: float = WORST_SHARE) -> tuple[NDArray[np.bool_], float]:
    """Mark the worst share of images, ties included, and give the risk from which on they are.

    Args:
        risk: (n,).
        share: at least one image, ⌈share · n⌉.

    Examples:
        >>> worst(np.array([0.1, 0.5, 0.2, 0.1, 0.3]))
        (array([False,  True, False, False, False]), 0.5)
    """
    count = max(1, math.ceil(share * len(risk)))
    limit = float(np.sort(risk)[len(risk) - count])
    return risk >= limit, limit


def _tied(values: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Sort values: their order, where each run of equal ones starts, and each one's run."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    run = np.empty(len(values), dtype=np.intp)
    run[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), run


def _runs(weights: Floats, order: NDArray[np.intp], starts: NDArray[np.intp]) -> Floats:
    return np.asarray(np.add.reduceat(weights[:, order], starts, axis=1))


def _ranks(weights: Floats, values: Floats) -> Floats:
    """Give each image's mean rank (R, n) where image i is there weights[r, i] times."""
    order, starts, run = _tied(values)
    n = _runs(weights, order, starts)
    return np.asarray((np.cumsum(n, axis=1) - n / 2 + 0.5)[:, run])


def _correlation(weights: Floats, a: Floats, b: Floats) -> Floats:
    n = weights.sum(axis=1, keepdims=True)
    a = a - (weights * a).sum(axis=1, keepdims=True) / n
    b = b - (weights * b).sum(axis=1, keepdims=True) / n
    both = (weights * a * b).sum(axis=1)
    scale = np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1))
    # Ranks are halves: what is left of a constant after subtracting its mean is rounding.
    return np.asarray(np.divide(both, scale, out=np.full_like(both, np.nan), where=scale > 1e-9))


def _one_block(images: ImageRisks, weights: Floats) -> Floats:
    risk, doubt = images.risk, images.doubt
    order, starts, _ = _tied(doubt)
    n, lost = _runs(weights, order, starts), _runs(weights * risk, order, starts)
    best_order, best_starts, _ = _tied(risk)
    best_n = _runs(weights, best_order, best_starts)
    best_lost = _runs(weights * risk, best_order, best_starts)
    area = selective.aurc(n, lost)
    bad, _ = worst(risk)
    return np.stack(
        [
            area,
            area - selective.aurc(best_n, best_lost),
            _correlation(weights, _ranks(weights, doubt), _ranks(weights, risk)),
            selective.auroc(n, _runs(weights * bad, order, starts)),
        ],
        axis=-1,
    )


def image_risks(images: ImageRisks, weights: Floats) -> Floats:
    """Compute AURC, E-AURC, Spearman's ρ and AUROC of finding the worst fifth, (R, 4).

    Images are accepted from the least doubt on; their loss is 1 − Dice. E-AURC is the excess over
    the order by Dice itself. ρ is the rank correlation of doubt and loss: 1 where doubt ranks the
    images as their Dice does. AUROC is the probability that one of the worst fifth has more
    doubt than one of the others. Equal scores are tied, in no order.

    Args:
        images: n of them, with finite values.
        weights: (R, G), how often each group counts; whole numbers.

    Source: as `selective.aurc` and `selective.auroc`; P. F. Jaeger, C. T. Lüth, L. Klein and T. J.
    Bungert, A call to reflect on evaluation practices for failure detection in image
    classification, ICLR 2023, for risk against confidence as the measure of failure detection.

    Examples:
        >>> risk, doubt = np.array([0.1, 0.2, 0.3, 0.9]), np.array([1.0, 3.0, 2.0, 8.0])
        >>> images = ImageRisks(risk, doubt, np.arange(4))
        >>> image_risks(images, np.ones((1, 4))).round(3).tolist()
        [[0.219, 0.013, 0.8, 1.0]]
    """
    step = max(1, _CELLS // max(1, len(images.risk)))
    parts = (weights[start : start + step] for start in range(0, len(weights), step))
    return np.concatenate([_one_block(images, part[:, images.group]) for part in parts])


def flag_shares(
    flagged: NDArray[np.bool_], risk: Floats, group: NDArray[np.intp], weights: Floats
) -> Floats:
    """Compute the shares (R, 3): of images flagged, of the worst fifth flagged, and of the
    flagged that are of the worst fifth.

    Args:
        flagged: (n,) whether somebody should look.
        risk: (n,) 1 − Dice.
        group: (n,) position of the image's group.
        weights: (R, G), how often each group counts.

    Examples:
        >>> flagged, risk = np.array([True, False, True, False, False]), np.arange(5.0)
        >>> flag_shares(flagged, risk, np.arange(5), np.ones((1, 5))).round(2).tolist()
        [[0.4, 0.0, 0.0]]
    """  # noqa: D205 - the summary needs two lines
    bad, _ = worst(risk)
    n_groups = weights.shape[1]

    def total(of: NDArray[np.bool_]) -> Floats:
        return np.asarray(weights @ np.bincount(group, weights=of, minlength=n_groups))

    every, looked = total(np.ones_like(flagged)), total(flagged)
    both, worse = total(flagged & bad), total(bad)

    def share(part: Floats, whole: Floats) -> Floats:
        return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)

    return np.stack([share(looked, every), share(both, worse), share(both, looked)], axis=-1)
