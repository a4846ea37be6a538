"""Risk against coverage: does doubt rank what went wrong behind what went right?

Things (pixels, images) are accepted from the surest to the least sure; the risk at a coverage is
the mean loss of those accepted. Everything here is computed from histograms: per step of doubt,
how many things there are and what they lose together. Things of one step are tied, and their
order counts as random: the values are the exact means over all orders within the steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Floats = NDArray[np.float64]


def _steps(n: Floats) -> tuple[Floats, Floats]:
    """Give what comes before each step (…, B), and Σ 1/i over the step's ranks."""
    after = np.cumsum(n, axis=-1)
    before = after - n
    ranks = digamma(np.concatenate([before[..., :1], after], axis=-1) + 1.0)
    return before, np.diff(ranks, axis=-1)


def _mean(total: Floats, n: Floats) -> Floats:
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))


def aurc(n: Floats, loss: Floats) -> Floats:
    """Compute the area under the risk–coverage curve, (…): (1/N) Σ_i (mean loss of the i surest).

    Args:
        n: (…, B) things per step of doubt, the surest first; whole numbers.
        loss: (…, B) what they lose together, each between 0 and 1.

    Returns:
        In the unit of the loss; the mean loss where doubt is random, less where it ranks well;
        not a number where nothing was counted.

    Source: Y. Geifman and R. El-Yaniv, Selective classification for deep neural networks,
    NeurIPS 2017; Y. Geifman, G. Uziel and R. El-Yaniv, Bias-reduced uncertainty estimation for
    deep neural classifiers, ICLR 2019.

    Examples:
        >>> aurc(np.array([1.0, 1.0]), np.array([0.0, 1.0])), aurc(np.array([2.0]), np.array([1.0]))
        (array(0.25), array(0.5))
    """
    n, loss = np.asarray(n, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    before, ranks = _steps(n)
    lost_before = np.cumsum(loss, axis=-1) - loss
    each = loss / np.maximum(n, 1.0)
    total = (loss + (lost_before - before * each) * ranks).sum(axis=-1)
    return _mean(np.asarray(total), np.asarray(n.sum(axis=-1)))


def aurc_of_best_order(n: Floats, errors: Floats) -> Floats:
    """Compute the area that a perfect order reaches with losses of 0 and 1, (…).

    All N − E right ones come first, so the area is (1/N) [E − (N − E) (H_N − H_{N−E})] with the
    harmonic numbers H. `aurc` minus this is the excess area, E-AURC.

    Args:
        n: (…) things, N.
        errors: (…) errors among them, E.

    Examples:
        >>> float(aurc_of_best_order(np.array(2.0), np.array(1.0)))
        0.25
    """
    n, errors = np.asarray(n, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    right = n - errors
    ranks = digamma(n + 1.0) - digamma(right + 1.0)
    return _mean(np.asarray(errors - right * ranks), n)


def aurc_bound(n: Floats, loss: Floats, *, width: Floats | None = None) -> Floats:
    """Compute how far `aurc` can be from that of any order within the steps, (…).

    (1/N) Σ_b L_b (1 − L_b / n_b) (H_{N_b + n_b} − H_{N_b}), with N_b things before step b: within
    a step the loss so far differs from its share by no more than L_b (1 − L_b / n_b), nor than
    n_b · width / 4.

    Args:
        n: (…, B) things per step of doubt, the surest first.
        loss: (…, B) what they lose together, each between 0 and 1.
        width: (B,) how far the losses of a step can lie apart, where that is known.

    Examples:
        >>> float(aurc_bound(np.array([1.0, 1.0]), np.array([0.0, 1.0])))
        0.0
        >>> round(float(aurc_bound(np.array([4.0]), np.array([2.0]))), 3)
        0.521
    """
    n, loss = np.asarray(n, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    _, ranks = _steps(n)
    off = np.maximum(loss * (1.0 - loss / np.maximum(n, 1.0)), 0.0)
    if width is not None:
        off = np.minimum(off, n * width / 4)
    return _mean(np.asarray((off * ranks).sum(axis=-1)), np.asarray(n.sum(axis=-1)))


def auroc(n: Floats, hits: Floats) -> Floats:
    """Compute the probability that a hit has more doubt than another, (…) in [0, 1]; ties are ½.

    Not a number where there are only hits, or none.

    Args:
        n: (…, B) things per step of doubt, the surest first.
        hits: (…, B) those among them that doubt should find.

    Source: J. A. Hanley and B. J. McNeil, The meaning and use of the area under a receiver
    operating characteristic curve, Radiology 143(1), 1982.

    Examples:
        >>> auroc(np.array([2.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0])).round(3)
        np.float64(0.667)
    """
    n, hits = np.asarray(n, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    others = n - hits
    before = np.cumsum(others, axis=-1) - others
    wins = (hits * (before + others / 2)).sum(axis=-1)
    return _mean(np.asarray(wins), np.asarray(hits.sum(axis=-1) * others.sum(axis=-1)))
