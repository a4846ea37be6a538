"""STAPLE: the mask behind several masks, and how far each reader can be trusted.

Source: S. K. Warfield, K. H. Zou, W. M. Wells, Simultaneous truth and performance level estimation
(STAPLE): an algorithm for the validation of image segmentation, IEEE Transactions on Medical
Imaging 23(7), 2004, doi:10.1109/TMI.2004.828354.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected

Floats = NDArray[np.float64]
_TRUST = 0.99999
"""What a reader is trusted with at first; the paper begins near 1, too."""


@dataclass(frozen=True)
class Staple:
    """What STAPLE estimated.

    Attributes:
        mask: (H, W) uint8, the most probable class, the lowest of equally probable ones; 255 where
            every reader ignores the pixel.
        probabilities: (C, H, W) float64, the probability of each class given all masks and the
            readers' performance; the prior where every reader ignores the pixel.
        performance: (R, C, C) float64, θ[r, d, t] = probability that reader r writes class d where
            the truth is t. For two classes θ[r, 1, 1] is the reader's sensitivity p and θ[r, 0, 0]
            the specificity q.
        prior: (C,) float64, the share of each class that was taken as known beforehand.
        iterations: how many rounds were made.
        converged: whether the last round moved no entry of θ by the tolerance or more.
    """

    mask: NDArray[np.uint8]
    probabilities: Floats
    performance: Floats
    prior: Floats
    iterations: int
    converged: bool


def staple(
    masks: NDArray[np.uint8],
    *,
    n_classes: int,
    prior: Sequence[float] | None = None,
    tolerance: float = 1e-9,
    most: int = 1000,
) -> Staple:
    """Estimate the truth and the readers' performance together by expectation–maximisation.

    With D_ij what reader j wrote at pixel i, θ_j(d|t) the reader's performance and γ the prior,

    - E: W_i(t) = γ_t Π_j θ_j(D_ij|t) / Σ_s γ_s Π_j θ_j(D_ij|s)
    - M: θ_j(d|t) = Σ_{i: D_ij = d} W_i(t) / Σ_i W_i(t)

    in float64 and in logarithms, so that many readers do not underflow. Where a reader ignores a
    pixel (255), the reader has no factor there and the pixel does not count for the reader's
    performance. Pixels on which all readers wrote the same are worked out once, with a weight: the
    result is that of a loop over all pixels, the time that of the few patterns that occur.

    A word of care: with two readers there is nothing that could tell which of them is right, and
    the prior decides; with a large background both come out as trusted there.

    Args:
        masks: (R, H, W) uint8 class indices of R ≥ 1 readers, 255 = ignore.
        n_classes: C ≥ 2, background included.
        prior: share of each class, positive, scaled to sum to 1; by default the share of each
            class among all that was written, as in the paper.
        tolerance: the largest change of an entry of θ at which the rounds end.
        most: rounds at most.

    Raises:
        SettingsError: a shape, a value or the prior does not fit.

    Examples:
        >>> a = np.array([[0, 0, 0, 1, 1, 1]], dtype=np.uint8)
        >>> b = np.array([[0, 0, 0, 0, 1, 1]], dtype=np.uint8)
        >>> found = staple(np.stack([a, a, b]), n_classes=2)
        >>> found.mask.tolist(), found.performance[:, 1, 1].round(3).tolist()
        ([[0, 0, 0, 1, 1, 1]], [1.0, 1.0, 0.667])
    """
    _check(masks, n_classes)
    # Where readers balance each other, rounding would decide, and with it their order.
    order = sorted(range(len(masks)), key=lambda reader: masks[reader].tobytes())
    patterns, weights, back = _patterns(masks[order])
    gamma = _prior(patterns, weights, n_classes, prior)
    theta = np.full((len(masks), n_classes, n_classes), (1 - _TRUST) / (n_classes - 1))
    theta[:, np.arange(n_classes), np.arange(n_classes)] = _TRUST
    rounds, moved = 0, np.inf
    truth = _expect(patterns, theta, gamma)
    while rounds < most and moved >= tolerance:
        new = _maximise(patterns, weights, truth, theta)
        moved = float(np.abs(new - theta).max())
        theta, rounds = new, rounds + 1
        truth = _expect(patterns, theta, gamma)
    decided = np.argmax(truth, axis=1).astype(np.uint8)
    decided[(patterns == IGNORE).all(axis=1)] = IGNORE
    size = masks.shape[1:]
    return Staple(
        mask=decided[back].reshape(size),
        probabilities=np.moveaxis(truth[back].reshape(*size, n_classes), -1, 0),
        performance=theta[np.argsort(order)],
        prior=gamma,
        iterations=rounds,
        converged=moved < tolerance,
    )


def _check(masks: NDArray[np.uint8], n_classes: int) -> None:
    if masks.ndim != 3 or masks.dtype != np.uint8 or not masks.size:
        raise SettingsError(
            expected("`masks`", "of shape (R, H, W) and uint8, with a pixel at least",
                     f"shape {masks.shape}, {masks.dtype}", "np.stack of the readers' masks")
        )  # fmt: skip
    if n_classes < 2:
        raise SettingsError(expected("`n_classes`", "2 or more", n_classes, "2"))
    outside = np.setdiff1d(np.unique(masks), [*range(n_classes), IGNORE])
    if outside.size:
        raise SettingsError(
            expected("every value of `masks`", f"a class 0–{n_classes - 1} or {IGNORE} (ignore)",
                     outside[:8].tolist(), "a larger `n_classes`")
        )  # fmt: skip


def _patterns(masks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Floats, NDArray[np.intp]]:
    """Give what readers wrote together (M, R), how often (M,), and each pixel's row (H · W,)."""
    columns = np.ascontiguousarray(masks.reshape(len(masks), -1).T)
    rows = columns.view(np.dtype((np.void, columns.shape[1]))).ravel()
    _, first, back, counts = np.unique(
        rows, return_index=True, return_inverse=True, return_counts=True
    )
    return columns[first], counts.astype(np.float64), back.ravel()


def _prior(
    patterns: NDArray[np.uint8], weights: Floats, n_classes: int, given: Sequence[float] | None
) -> Floats:
    if given is not None:
        gamma = np.asarray(given, dtype=np.float64)
        fits = gamma.shape == (n_classes,) and bool(np.isfinite(gamma).all())
        if not fits or gamma.min() < 0 or gamma.sum() <= 0:
            raise SettingsError(
                expected("`prior`", f"{n_classes} shares, none negative", list(given), "None")
            )
        return np.asarray(gamma / gamma.sum(), dtype=np.float64)
    written = np.stack([(patterns == c).sum(axis=1) @ weights for c in range(n_classes)])
    total = written.sum()
    return np.asarray(written / total if total else np.full(n_classes, 1 / n_classes))


def _expect(patterns: NDArray[np.uint8], theta: Floats, gamma: Floats) -> Floats:
    """Give W (M, C): the probability of each class for each pattern."""
    with np.errstate(divide="ignore"):
        logs, total = np.log(theta), np.log(gamma)[None].repeat(len(patterns), axis=0)
    for reader, table in enumerate(logs):
        wrote = patterns[:, reader]
        said = wrote != IGNORE
        total[said] += table[wrote[said]]
    top = total.max(axis=1, keepdims=True)
    # A pattern that no class allows happens to nobody's mask: rounding alone could make it.
    weight = np.where(np.isfinite(top), np.exp(total - np.where(np.isfinite(top), top, 0)), gamma)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float64)


def _maximise(
    patterns: NDArray[np.uint8], weights: Floats, truth: Floats, before: Floats
) -> Floats:
    """Give θ (R, C, C); a class of which no reader's pixel is believed keeps its entries."""
    mass = weights[:, None] * truth
    theta = before.copy()
    for reader in range(patterns.shape[1]):
        wrote = patterns[:, reader]
        table = np.stack([mass[wrote == c].sum(axis=0) for c in range(before.shape[1])])
        seen = table.sum(axis=0)
        known = seen > 0
        theta[reader][:, known] = table[:, known] / seen[known]
    return theta
