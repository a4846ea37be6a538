"""Dropout of features, of feature maps and of squares in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.noise.draws import uniform
from penumbra.noise.grid import first_feature, keys_at, uniform_at


@dataclass(frozen=True)
class Dropout:
    """Set features to zero with probability `rate`; the others times 1 / (1 − rate).

    Kept on at inference it is MC dropout (Gal and Ghahramani, arXiv 1506.02142).

    Attributes:
        rate: 0 ≤ rate < 1.
        whole_maps: drop whole feature maps (Tompson et al., arXiv 1411.4280) rather than single
            features, which the next convolution averages out.

    Raises:
        SettingsError: the rate is out of its range.

    Examples:
        >>> h, keys = torch.ones(1, 1000, 1, 1), torch.tensor([7])
        >>> dropped = Dropout(0.25)(h, "skip1", keys=keys, sample=0, stride=1.0, origins=None)
        >>> sorted({round(float(value), 3) for value in dropped.flatten()})
        [0.0, 1.333]
    """

    rate: float = 0.2
    whole_maps: bool = True
    name: str = "dropout"

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`."""
        drawn = keys_at(self.name, keys, sample, site, h)
        if self.whole_maps:
            u = uniform(drawn, h.shape[1])[:, :, None, None]
        else:
            u = uniform_at(
                drawn, (h.shape[1], h.shape[2], h.shape[3]), first=first_feature(origins, stride)
            )
        return h * ((u >= self.rate) / (1 - self.rate)).to(h.dtype)


@dataclass(frozen=True)
class DropBlock:
    """Set squares of each feature map to zero (Ghiasi et al. 2018, arXiv 1810.12890).

    Seeds of squares lie on the image's own grid, outside the window too, with probability
    γ = 1 − (1 − rate)^(1/b²): every feature is then dropped with probability `rate` exactly, also
    at borders, and overlapping windows agree up to the rounding of floor(origin / stride). The
    paper's γ is the first-order term of this, and it rescales by the share that was kept in the
    window; here it is 1 / (1 − rate).

    Attributes:
        rate: probability that a feature is dropped, 0 ≤ rate < 1.
        block: side of a square in image pixels; b = max(1, round(block / stride)) features.

    Raises:
        SettingsError: the rate or the block is out of its range.
    """

    rate: float = 0.1
    block: float = 16.0
    name: str = "dropblock"

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        if not self.block > 0:
            raise SettingsError(expected("`block`", "above 0 pixels", self.block, "16"))

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`."""
        drawn = keys_at(self.name, keys, sample, site, h)
        b = max(1, round(self.block / stride))
        channels, height, width = (h.shape[1], h.shape[2], h.shape[3])
        wider = (channels, height + b - 1, width + b - 1)
        first = first_feature(origins, stride)
        before = torch.full((1, 2), 1 - b) if first is None else first + (1 - b)
        u = uniform_at(drawn, wider, first=before)
        seeds = u < 1 - (1 - self.rate) ** (1 / b**2)
        kept = ~_dilate(_dilate(seeds, b, dim=2), b, dim=3)
        return h * (kept / (1 - self.rate)).to(h.dtype)


def _dilate(seeds: Tensor, length: int, *, dim: int) -> Tensor:
    """Mark what lies within `length` places after a seed; log₂(length) steps instead of length."""
    reached = 1
    while reached < length:
        step = min(reached, length - reached)
        size = seeds.shape[dim] - step
        seeds = seeds.narrow(dim, 0, size) | seeds.narrow(dim, step, size)
        reached += step
    return seeds


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise SettingsError(expected("`rate`", "in [0, 1)", rate, "0.2"))
