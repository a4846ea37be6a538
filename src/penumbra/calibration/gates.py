"""Gates: how strong the noise is at each site, as tensors that a fit can move.

h′ = h + g · s_c · n with g = softplus(b), or g(x) = softplus(w · f̂(x) + b) with the standardised
features f̂ at the site. Passes 2j and 2j + 1 are an antithetic pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.calibration.frozen import SiteStatistics
from penumbra.calibration.held_out import HeldOutTile
from penumbra.inference.calibration import NoiseSite
from penumbra.noise.draws import join_keys
from penumbra.noise.fields import add_field, draw
from penumbra.noise.patterns import Pattern

START = 0.15
"""Gate that a fit begins with."""


@dataclass(frozen=True)
class SiteGate:
    """The gate of one site.

    Attributes:
        bias: () b.
        weight: (C,) w, or ``None`` for a gate that is one number.
        statistics: of the features there.
        pattern: of the noise.
    """

    bias: Tensor
    weight: Tensor | None
    statistics: SiteStatistics
    pattern: Pattern

    def amplitude(self, h: Tensor) -> Tensor:
        """Compute g · s_c: (C,), or (N, C, H, W) for an input-dependent gate."""
        std = self.statistics.std
        if self.weight is None:
            return F.softplus(self.bias) * std
        weight = self.weight / std
        offset = self.bias - (weight * self.statistics.mean).sum()
        gate = F.softplus(F.conv2d(h.float(), weight[None, :, None, None]) + offset)
        return gate * std[None, :, None, None]

    def disturb(
        self, h: Tensor, keys: Tensor, *, signs: Tensor, stride: float, origins: Tensor
    ) -> Tensor:
        """Compute h + sign · g · s_c · n; `signs` are (N,)."""
        amplitude = self.amplitude(h)
        if amplitude.ndim == 1:
            signed = signs[:, None] * amplitude
            return add_field(h, self.pattern, keys, signed, stride=stride, origins=origins)
        field = draw(
            self.pattern, keys, h.shape[1], (h.shape[2], h.shape[3]), stride=stride, origins=origins
        )
        return h + (signs[:, None, None, None] * amplitude * field).to(h.dtype)

    def strengthened(self, factor: float) -> SiteGate:
        """Multiply the gate by a factor, where the features are at their mean."""
        gate = float(F.softplus(self.bias)) * factor
        # The inverse of softplus, in the form that does not overflow.
        bias = gate + math.log(-math.expm1(-gate)) if gate > 0 else float(self.bias)
        return replace(self, bias=torch.full_like(self.bias, bias))

    def to_site(self) -> NoiseSite:
        """Write the gate down as plain numbers."""
        numbers = {
            "gate": float(F.softplus(self.bias)),
            "std": tuple(self.statistics.std.tolist()),
            "pattern": self.pattern,
        }
        if self.weight is not None:
            numbers |= {
                "gate_weight": tuple(self.weight.tolist()),
                "gate_bias": float(self.bias),
                "mean": tuple(self.statistics.mean.tolist()),
            }
        return NoiseSite.model_validate(numbers)


Gates = Mapping[str, SiteGate]


def start_gates(
    statistics: Mapping[str, SiteStatistics],
    patterns: Mapping[str, Pattern],
    *,
    by_input: bool = False,
    start: Gates | None = None,
) -> dict[str, SiteGate]:
    """Make gates to fit, at `START` or where an earlier fit left them."""
    bias = math.log(math.expm1(START))
    gates = {}
    for name, found in statistics.items():
        before = None if start is None else start[name]
        b = torch.tensor(bias) if before is None else before.bias.detach().clone()
        weight = None
        if by_input:
            given = None if before is None else before.weight
            weight = torch.zeros_like(found.std) if given is None else given.detach().clone()
        gates[name] = SiteGate(b.to(found.std.device), weight, found, patterns[name])
    return gates


@dataclass(frozen=True)
class NoisyPass:
    """Passes of noise over tiles side by side; an `AtSite`.

    Attributes:
        gates: by site.
        tiles: of each item of the batch, whose key and place decide the draws.
        numbers: of the pass, per item.
        draw: keeps the draws of one purpose apart from those of another.
    """

    gates: Gates
    tiles: Sequence[HeldOutTile]
    numbers: Sequence[int]
    draw: int = 0

    def __call__(self, h: Tensor, name: str, stride: float) -> Tensor:
        """Disturb the features of a site."""
        numbers = torch.tensor(self.numbers)
        keys = torch.stack([tile.key for tile in self.tiles])
        keys = join_keys(keys, self.draw, numbers // 2, list(self.gates).index(name))
        return self.gates[name].disturb(
            h,
            keys.to(h.device),
            signs=(1.0 - 2.0 * (numbers % 2)).to(h.device),
            stride=stride,
            origins=torch.stack([tile.origin for tile in self.tiles]).to(h.device),
        )
