"""Mean, variance and entropy of probabilities under noise in logit space, without drawing any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.inference.logit_noise import hermite_rule, point_rule


class Moments(NamedTuple):
    """Of the probabilities under the noise, at every pixel.

    Attributes:
        mean: (N, C, H, W) E[p], see `marginal_probabilities`.
        variance: (N, C, H, W) E[p²] − E[p]².
        expected_entropy: (N, H, W) E[−Σ_c p_c ln p_c] in nats.
    """

    mean: Tensor
    variance: Tensor
    expected_entropy: Tensor


def marginal_moments(mean: Tensor, amplitudes: Tensor) -> Moments:
    """Compute the moments under η = mean + Σ_r amplitude_r · n_r, n standard normal.

    One and two logits by the 20-node Gauss–Hermite rule, more by 64 fixed points: the rules of
    `marginal_probabilities`, whose mean this repeats.

    Args:
        mean: (N, K, H, W).
        amplitudes: (N, R, K, H, W).

    Examples:
        >>> mean, amplitudes = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1, 1), 2.0)
        >>> found = marginal_moments(mean, amplitudes)
        >>> round(float(found.mean[0, 1]), 3), round(float(found.variance[0, 1]), 3)
        (0.5, 0.099)
    """
    if mean.shape[1] <= 2:
        return _binary(mean, amplitudes)
    total, square = torch.zeros_like(mean), torch.zeros_like(mean)
    entropy = torch.zeros_like(mean[:, 0])
    points = point_rule(amplitudes.shape[1]).to(mean.device)
    for point in points:
        offset = torch.einsum("r,nrkhw->nkhw", point, amplitudes)
        for eta in (mean + offset, mean - offset):
            logs = torch.log_softmax(eta, dim=1)
            p = logs.exp()
            total += p
            square += p * p
            entropy -= (p * logs).sum(dim=1)
    count = 2 * len(points)
    return _moments(total / count, square / count, entropy / count)


def mixture(parts: Sequence[Moments]) -> Moments:
    """Compute the moments of an even mixture, such as that over symmetries or networks.

    The variance is the mean variance plus the variance of the means.
    """
    if len(parts) == 1:
        return parts[0]
    means = torch.stack([each.mean for each in parts])
    mean = means.mean(dim=0)
    variance = torch.stack([each.variance for each in parts]).mean(dim=0)
    entropy = torch.stack([each.expected_entropy for each in parts]).mean(dim=0)
    return Moments(mean, variance + (means - mean).square().mean(dim=0), entropy)


def _binary(mean: Tensor, amplitudes: Tensor) -> Moments:
    last, before = mean.shape[1] - 1, mean.shape[1] - 2
    centre, spread = mean[:, last], amplitudes[:, :, last]
    if before >= 0:
        centre, spread = centre - mean[:, before], spread - amplitudes[:, :, before]
    deviation = spread.square().sum(dim=1).sqrt()
    first, square, entropy = (torch.zeros_like(centre) for _ in range(3))
    for node, weight in hermite_rule():
        z = torch.add(centre, deviation, alpha=node)
        p = torch.sigmoid(z)
        first.add_(p, alpha=weight)
        square.addcmul_(p, p, value=weight)
        # H(σ(z)) = softplus(z) − z σ(z): no logarithm of a number near 0.
        entropy.add_(F.softplus(z).addcmul_(z, p, value=-1), alpha=weight)
    both = torch.stack([1 - first, first], dim=1)
    squares = torch.stack([1 - 2 * first + square, square], dim=1)
    return _moments(both, squares, entropy)


def _moments(mean: Tensor, square: Tensor, entropy: Tensor) -> Moments:
    variance = (square - mean * mean).clamp_(min=0)
    return Moments(mean, variance, entropy.clamp_(min=0, max=math.log(mean.shape[1])))
