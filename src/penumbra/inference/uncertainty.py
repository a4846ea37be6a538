"""What many passes say together: running sums of a stream of passes, and the maps they give.

Memory does not grow with the number of passes: `PassSums` keeps means, sums of squared deviations
and the mean entropy, and forgets each pass. What is left of overlapping tiles may be blended with
weights that sum to 1 at every pixel, and `decompose` turns the outcome into maps.

Blending is safe. Let p_kt be what pass k says in tile t and w_t the weights. The entropy is
concave, so Σ_t w_t · mean_k H(p_kt) ≤ H(Σ_t w_t · mean_k p_kt): the mutual information of blended
planes is never negative, nor is it less than that of the blended passes. Likewise the variance is
convex: Σ_t w_t · Var_k(p_kt) is never less than Var_k(Σ_t w_t · p_kt). Where tiles do not overlap
all of these are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.inference.prediction import entropy

Floats = NDArray[np.float32]


def _entropy(probabilities: Tensor) -> Tensor:
    # Rounding may leave a probability just below 0, where entr is minus infinity.
    terms: Tensor = torch.special.entr(probabilities.clamp_min(0))
    return terms.sum(dim=-3)


@dataclass
class _Welford:
    """Running mean and sum of squared deviations, without the cancellation of Σp² − (Σp)²/K.

    Source: B. P. Welford, Note on a method for calculating corrected sums of squares and
    products, Technometrics 4(3), 1962.
    """

    n: int = 0
    mean: Tensor = field(default_factory=lambda: torch.empty(0))
    squares: Tensor = field(default_factory=lambda: torch.empty(0))

    def add(self, value: Tensor) -> None:
        if self.n == 0:
            self.mean, self.squares = torch.zeros_like(value), torch.zeros_like(value)
        self.n += 1
        away = value - self.mean
        self.mean = self.mean + away / self.n
        self.squares = self.squares + away * (value - self.mean)

    @property
    def variance(self) -> Tensor:
        """With n − 1; 0 for a single value. Rounding cannot make it negative."""
        return self.squares / max(1, self.n - 1)


class PassSums:
    """Running sums over passes that arrive one at a time.

    Args:
        antithetic: whether passes 0 and 1, 2 and 3, … are pairs drawn with opposite noise. They
            are not independent, so the Monte Carlo error is then taken from the means of pairs.

    Examples:
        >>> sums = PassSums()
        >>> for p in (0.2, 0.4):
        ...     sums.add(torch.tensor([1 - p, p]).reshape(2, 1, 1))
        >>> sums.passes, round(sums.mean[1].item(), 4), round(sums.variance[1].item(), 4)
        (2, 0.3, 0.02)
    """

    def __init__(self, *, antithetic: bool = False) -> None:
        self._antithetic = antithetic
        self._single, self._pair = _Welford(), _Welford()
        self._entropy = torch.zeros(())
        self._waiting: Tensor | None = None

    @property
    def passes(self) -> int:
        """How many passes have been added."""
        return self._single.n

    def add(self, probabilities: Tensor) -> None:
        """Add what one pass says.

        Args:
            probabilities: (…, C, h, w), summing to 1 over C; summed up as float32. Every pass
                has the same shape; axes before C are tiles or images side by side.

        Raises:
            SettingsError: the shape differs from that of the passes before, or has no C, h, w.
        """
        if probabilities.ndim < 3 or (self.passes and probabilities.shape != self.mean.shape):
            wanted = f"of shape {tuple(self.mean.shape)}" if self.passes else "(…, C, h, w)"
            raise SettingsError(
                expected("a pass", wanted, tuple(probabilities.shape), "sums of its own for it")
            )
        probabilities = probabilities.detach().to(torch.float32)
        self._single.add(probabilities)
        self._entropy = self._entropy + (_entropy(probabilities) - self._entropy) / self.passes
        if not self._antithetic:
            return
        if self._waiting is None:
            self._waiting = probabilities
        else:
            self._pair.add((self._waiting + probabilities) / 2)
            self._waiting = None

    @property
    def mean(self) -> Tensor:
        """Mean over the passes, (…, C, h, w) float32."""
        return self._single.mean

    @property
    def variance(self) -> Tensor:
        """Estimated variance of a pass per class, (…, C, h, w) float32; 0 for a single pass.

        Σ_k (p_k − mean)² / (K − 1) for independent passes. The mean of antithetic pairs lies
        closer to the truth than that supposes: for them it is Σ_k (p_k − mean)² / K plus the
        variance of the mean, which the means of pairs tell from two pairs on and which a single
        pair leaves at 0.
        """
        single, pair = self._single, self._pair
        if pair.n == 0 or 2 * pair.n != single.n:
            return single.variance
        return single.squares / single.n + pair.variance / pair.n

    @property
    def expected_entropy(self) -> Tensor:
        """Mean over the passes of −Σ_c p_c ln p_c, (…, h, w) float32 in nats."""
        return self._entropy

    @property
    def squared_error(self) -> Tensor:
        """Estimated variance of `mean`, summed over the classes, (…, h, w) float32.

        Σ_c variance_c / K for independent passes. For antithetic ones the same over the means of
        pairs, from two pairs on; one pair says nothing about its own spread, so that the formula
        for independent passes stands in, which is too large where pairs do what they are for. A
        last pass without its partner does not count.
        """
        of = self._pair if self._pair.n >= 2 else self._single
        return of.variance.sum(dim=-3) / max(1, of.n)


@dataclass(frozen=True)
class Decomposition:
    """What `decompose` finds.

    Attributes:
        maps: (H, W) float32 by name: ``entropy`` H(mean); with two passes or more also
            ``expected_entropy``, ``mutual_information`` (all three in nats, the first the sum of
            the others), ``variance`` summed over classes, and ``standard_error``, the square root
            of the estimated variance of the mean summed over classes.
        class_maps: (C, H, W) float32 by name: ``variance`` with two passes or more.
    """

    maps: Mapping[str, Floats]
    class_maps: Mapping[str, Floats]


def mutual_information(mean: Floats, expected_entropy: Floats, *, passes: int) -> Floats:
    """Compute H(mean) − expected entropy: how far the passes disagree, in nats.

    Args:
        mean: (C, H, W) mean probabilities over the passes.
        expected_entropy: (H, W) mean entropy of the passes.
        passes: how many; a single one cannot disagree with itself.

    Returns:
        (H, W) float32 between 0 and ln C. Differences below 0 become 0: rounding, or, where the
        mean is exact and the entropy that of few passes, chance.

    Raises:
        SettingsError: fewer than 2 passes.

    Source: N. Houlsby et al., Bayesian active learning for classification and preference
    learning, arXiv:1112.5745, 2011.

    Examples:
        >>> sure = np.array([[[0.5]], [[0.5]]], dtype=np.float32)  # one pass says 0, the other 1
        >>> mutual_information(sure, np.zeros((1, 1), np.float32), passes=2).round(4).item()
        0.6930999755859375
    """
    if passes < 2:
        raise SettingsError(
            f"Expected at least 2 passes for mutual information, but got {passes}. "
            "Try a sampler with more passes, such as augmentation or noise:8."
        )
    return np.asarray(np.maximum(entropy(mean) - expected_entropy, 0), dtype=np.float32)


def decompose(
    mean: Floats,
    expected_entropy: Floats,
    *,
    passes: int,
    variance: Floats,
    squared_error: Floats | None = None,
) -> Decomposition:
    """Turn what is known of many passes into maps.

    Args:
        mean: (C, H, W) mean probabilities; of these passes, or what their mean tends to.
        expected_entropy: (H, W) mean entropy of the passes, in nats.
        passes: K, how many.
        variance: (C, H, W) over the passes with K − 1, as `PassSums.variance` gives it.
        squared_error: (H, W) estimated variance of the mean, summed over classes, as
            `PassSums.squared_error` gives it; by default Σ_c variance_c / K.

    Raises:
        SettingsError: there is no pass, or shapes do not fit.

    Examples:
        >>> sums = PassSums()
        >>> for p in (0.0, 1.0):
        ...     sums.add(torch.tensor([1 - p, p]).reshape(2, 1, 1))
        >>> found = decompose(
        ...     sums.mean.numpy(), sums.expected_entropy.numpy(), passes=2,
        ...     variance=sums.variance.numpy(),
        ... )
        >>> {name: round(float(plane[0, 0]), 3) for name, plane in found.maps.items()}
        {'entropy': 0.693, 'expected_entropy': 0.0, 'mutual_information': 0.693,
         'variance': 1.0, 'standard_error': 0.707}
    """
    if passes < 1:
        raise SettingsError(expected("`passes`", "at least 1", passes, "the number of passes"))
    if mean.ndim != 3 or expected_entropy.shape != mean.shape[1:] or variance.shape != mean.shape:
        got = f"{mean.shape}, {expected_entropy.shape} and {variance.shape}"
        raise SettingsError(
            expected("mean, expected entropy and variance", "(C, H, W), (H, W) and (C, H, W)",
                     got, "those of one `PassSums`")
        )  # fmt: skip
    if passes == 1:
        return Decomposition({"entropy": entropy(mean)}, {})
    # Resizing and blending may leave a rounding error below 0.
    variance = np.maximum(variance, np.float32(0))
    total = np.asarray(variance.sum(axis=0), dtype=np.float32)
    error = total / np.float32(passes) if squared_error is None else squared_error
    expected_entropy = np.maximum(expected_entropy, np.float32(0))
    maps = {
        "entropy": entropy(mean),
        "expected_entropy": expected_entropy,
        "mutual_information": mutual_information(mean, expected_entropy, passes=passes),
        "variance": total,
        "standard_error": np.asarray(np.sqrt(np.maximum(error, 0)), dtype=np.float32),
    }
    return Decomposition(maps, {"variance": variance})
