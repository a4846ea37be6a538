"""Noise in logit space: whole coherent samples for a few products a pixel, and an exact marginal.

η_k(x) = μ_k(x)/T + e^s · Σ_r P_rk(x) · n_r(x), with signed amplitudes P that are linear maps of
decoder features and R independent unit-variance factors n: some are one number for the image
(the low-rank part of a Stochastic Segmentation Network, Monteiro et al. 2020, arXiv 2006.06015),
the others are lattice fields of several lengths, which are coherent across windows.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from penumbra.errors import RunError, expected
from penumbra.inference.calibration import LogitNoise
from penumbra.inference.doubt import Level
from penumbra.inference.linear_map import MapTensors
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.noise.draws import join_keys, normal
from penumbra.noise.fields import draw
from penumbra.noise.patterns import Pattern

NODES = 20
"""Nodes of the Gauss–Hermite rule."""

POINTS = 64
"""Points of the rule for three classes and more, in antithetic pairs."""

_CHUNK = 1 << 20  # numbers of one piece of fields: what a core's cache holds beside the amplitudes


@dataclass(frozen=True)
class LogitSampler:
    """A `LogitNoise` as tensors.

    Attributes:
        map: gives P, R·K rows.
        taps: names of the features that `map` reads.
        lengths: per factor, in image pixels; 0 = one number for the image.
        scale: e^s.
        temperature: T of μ.
        n_logits: K.
    """

    map: MapTensors
    taps: tuple[str, ...]
    lengths: tuple[float, ...]
    scale: float
    temperature: float
    n_logits: int

    @classmethod
    def of(cls, noise: LogitNoise, n_logits: int) -> LogitSampler:
        """Check logit noise against the network's K logits.

        Raises:
            RunError: the map has not R·K rows, or a length is negative.
        """
        rows = len(noise.lengths) * n_logits
        if len(noise.map.bias) != rows or rows == 0 or min(noise.lengths) < 0:
            raise RunError(
                expected("noise in logit space", f"{len(noise.lengths)} lengths ≥ 0 of {n_logits}"
                         " rows each", f"{len(noise.map.bias)} rows, lengths {noise.lengths}",
                         "`penumbra calibrate` again")
            )  # fmt: skip
        return cls(
            MapTensors.of(noise.map), noise.map.taps, noise.lengths,
            math.exp(noise.log_scale), noise.temperature, n_logits,
        )  # fmt: skip

    def parts(self, logits: Tensor, levels: Sequence[Level]) -> tuple[Tensor, Tensor]:
        """Compute the mean μ/T (N, K, H, W) and the amplitudes e^s·P (N, R, K, H, W)."""
        size = (logits.shape[-2], logits.shape[-1])
        rows = self.map(levels, size) * self.scale
        return logits.float() / self.temperature, rows.view(len(rows), -1, self.n_logits, *size)

    def samples(
        self,
        mean: Tensor,
        amplitudes: Tensor,
        *,
        keys: Tensor,
        first: int,
        count: int,
        origins: Tensor | None = None,
    ) -> Tensor:
        """Draw coherent samples from what `parts` gave; see `Head.samples`."""
        keys = keys.to(mean.device)
        n, k, height, width = mean.shape
        out = mean.new_empty(n, count, max(k, 2), height, width)
        for pair, offset in self._offsets(amplitudes, keys, (first, first + count), origins):
            for sample, sign in ((2 * pair, 1), (2 * pair + 1, -1)):
                if first <= sample < first + count:
                    eta = torch.add(mean, offset, alpha=sign)
                    out[:, sample - first] = logits_to_probabilities(eta)
        return out

    def _offsets(
        self, amplitudes: Tensor, keys: Tensor, span: tuple[int, int], origins: Tensor | None
    ) -> Iterator[tuple[int, Tensor]]:
        """Give Σ_r amplitude_r · n_r (N, K, H, W) of each antithetic pair that `span` touches."""
        n, factors, _, height, width = amplitudes.shape
        pairs = range(span[0] // 2, (span[1] + 1) // 2)
        step = max(1, _CHUNK // (n * factors * height * width))
        for start in range(0, len(pairs), step):
            some = pairs[start : start + step]
            fields = draw_factors(self.lengths, keys, some, (height, width), origins=origins)
            for index, pair in enumerate(some):
                offset = torch.zeros_like(amplitudes[:, 0])
                for r, field in enumerate(fields):
                    offset.addcmul_(amplitudes[:, r], field[index])
                yield pair, offset


def draw_factors(
    lengths: Sequence[float],
    keys: Tensor,
    pairs: Sequence[int],
    size: tuple[int, int],
    *,
    origins: Tensor | None = None,
) -> list[Tensor]:
    """Draw the factors n_r of several antithetic pairs, each of unit variance at every pixel.

    Args:
        lengths: per factor r, in image pixels; 0 = one number for the image.
        keys: (N,) int64 of the images.
        pairs: numbers of the pairs; sample 2j adds the pair's factors, sample 2j + 1 takes them
            away.
        size: (H, W).
        origins: (N, 2) row and column of each window in its image.

    Returns:
        Per factor (len(pairs), N, 1, H, W), or (len(pairs), N, 1, 1, 1) for an image-wide one.
    """
    numbers = torch.tensor(list(pairs), device=keys.device)
    joined = join_keys(keys, numbers[:, None]).flatten()
    shape = (len(pairs), len(keys), 1)
    out: dict[int, Tensor] = {}
    order = sorted(range(len(lengths)), key=lambda r: lengths[r])
    for length, group in itertools.groupby(order, key=lambda r: lengths[r]):
        members = list(group)
        own = join_keys(joined, members[0])
        if length == 0:
            drawn = normal(own, (len(members), 1, 1))
        else:
            where = None if origins is None else origins.repeat(len(pairs), 1)
            pattern = Pattern(name="lattice", length=length)
            drawn = draw(pattern, own, len(members), size, origins=where)
        for index, r in enumerate(members):
            out[r] = drawn[:, index].view(*shape, *drawn.shape[-2:])
    return [out[r] for r in range(len(lengths))]


def marginal_probabilities(mean: Tensor, amplitudes: Tensor) -> Tensor:
    """Compute E[p] under η = mean + Σ_r amplitude_r · n_r, n standard normal at every pixel.

    K = 1: sigmoid averaged by the 20-node Gauss–Hermite rule over a normal of variance
    Σ_r amplitude_r², exact up to the rule (error under 1.5 · 10⁻³ for deviations up to 4).
    K = 2: the same for the difference of the two logits. K ≥ 3 has no such rule: softmax is
    averaged over 64 fixed points, antithetic Sobol points whose second moment is made the
    identity.

    Args:
        mean: (N, K, H, W).
        amplitudes: (N, R, K, H, W).

    Returns:
        (N, C, H, W) float32.
    """
    if mean.shape[1] <= 2:
        last, before = mean.shape[1] - 1, mean.shape[1] - 2
        centre, spread = mean[:, last], amplitudes[:, :, last]
        if before >= 0:
            centre, spread = centre - mean[:, before], spread - amplitudes[:, :, before]
        deviation = spread.square().sum(dim=1).sqrt()
        p = expected_sigmoid(centre, deviation)
        return torch.stack([1 - p, p], dim=1)
    points = point_rule(amplitudes.shape[1]).to(mean.device)
    total = torch.zeros_like(mean)
    for point in points:
        offset = torch.einsum("r,nrkhw->nkhw", point, amplitudes)
        total += torch.softmax(mean + offset, dim=1) + torch.softmax(mean - offset, dim=1)
    return total / (2 * len(points))


def expected_sigmoid(mean: Tensor, deviation: Tensor) -> Tensor:
    """Compute E[sigmoid(z)], z normal, by Gauss–Hermite; see `marginal_probabilities`.

    Examples:
        >>> round(float(expected_sigmoid(torch.tensor(1.0), torch.tensor(2.0))), 4)
        0.6477
    """
    total = torch.zeros_like(mean)
    for node, weight in hermite_rule():
        total = total + weight * torch.sigmoid(mean + node * deviation)
    return total


@functools.cache
def hermite_rule() -> tuple[tuple[float, float], ...]:
    """Give nodes and weights of the rule for a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    return tuple(zip(nodes.tolist(), weights.tolist(), strict=True))


@functools.cache
def point_rule(factors: int) -> Tensor:
    """Give (POINTS/2, R) fixed points; with their opposites they have mean 0 and variance 1."""
    # Kept for later, where gradients may be wanted: an inference tensor would not allow them.
    with torch.inference_mode(mode=False):
        engine = torch.quasirandom.SobolEngine(factors, scramble=True, seed=0)  # type: ignore[no-untyped-call]
        u = engine.draw(POINTS // 2).double().clamp(1e-6, 1 - 1e-6)
        z: Tensor = torch.special.ndtri(u)
        if len(z) > factors:
            second = z.T @ z / len(z)
            z = torch.linalg.solve_triangular(torch.linalg.cholesky(second), z.T, upper=False).T
        return z.float()
