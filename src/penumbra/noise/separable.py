"""Fields on a square grid as products of small matrices: lattice and Perlin noise.

With w_y (H, Y) and w_x (W, X) the weights that a pixel gives to the nodes of its row and column,
and d_y, d_x the distances to them in cells:

    lattice  n = ŵ_y Z ŵ_xᵀ                                     rows of ŵ have Σ ŵ² = 1
    Perlin   n = [w_y | w_y∘d_y] · [G_x (w_x∘d_x)ᵀ ; G_y w_xᵀ] / σ

so that a field of any pattern and any octaves is one product `left @ middle` with as many inner
columns as a column of the image has nodes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from penumbra.noise.nodes import direction_at, normal_at

FADE = Polynomial([0, 0, 0, 10, -15, 6])
"""Perlin's fade 6t⁵ − 15t⁴ + 10t³ (2002, 10.1145/566654.566636)."""


@dataclass(frozen=True)
class Axis:
    """Where the pixels of one axis lie between the nodes.

    Attributes:
        nodes: (N, K) int64, which nodes.
        distance: (N, S, K) float64, of each pixel from each node, in cells.
    """

    nodes: Tensor
    distance: Tensor

    @classmethod
    def of(cls, *, size: int, stride: float, cell: float, origin: Tensor, phase: Tensor) -> Axis:
        """Lay S = `size` pixels over the nodes.

        Pixel i lies at ``origin + (i + ½)·stride`` in image pixels; nodes stand every `cell`
        image pixels, shifted by `phase` (in cells). `origin` and `phase` are (N,) float64.
        """
        steps = torch.arange(size, dtype=torch.float64, device=origin.device) + 0.5
        at = (origin[:, None] + steps * stride) / cell + phase[:, None]
        # One node more than the span needs, so that the count is the same for every phase.
        count = int((size - 1) * stride / cell + 1e-9) + 3
        first = at[:, :1].floor()
        nodes = first + torch.arange(count, dtype=torch.float64, device=origin.device)
        return cls(nodes.to(torch.int64), at[:, :, None] - nodes[:, None, :])

    def linear(self) -> Tensor:
        """Give the weights of linear interpolation, divided so that Σ w² = 1 at each pixel."""
        weights = (1 - self.distance.abs()).clamp(min=0)
        return weights / weights.square().sum(dim=-1, keepdim=True).sqrt()

    def faded(self) -> Tensor:
        """Give Perlin's weights fade(1 − |d|), which sum to 1 at each pixel."""
        t = (1 - self.distance.abs()).clamp(min=0)
        return t * t * t * (t * (t * 6 - 15) + 10)


@dataclass(frozen=True)
class Separable:
    """A field left @ middle, per image and channel.

    Attributes:
        left: (N, H, K) float32.
        middle: (N, K, W, C) float32.
    """

    left: Tensor
    middle: Tensor

    def to(self, device: torch.device) -> Separable:
        """Bring the factors to a device."""
        return Separable(self.left.to(device), self.middle.to(device))

    @classmethod
    def sum(cls, fields: Sequence[Separable]) -> Separable:
        """Add fields up without computing any."""
        if len(fields) == 1:
            return fields[0]
        return cls(
            torch.cat([field.left for field in fields], dim=2),
            torch.cat([field.middle for field in fields], dim=1),
        )


def lattice(keys: Tensor, channels: int, y: Axis, x: Axis, amplitude: float = 1.0) -> Separable:
    """Draw a lattice field: normal numbers at the nodes, linear between, unit variance."""
    values = normal_at(keys, channels, y.nodes, x.nodes)
    return lattice_from(values, y, x, amplitude)


def lattice_from(values: Tensor, y: Axis, x: Axis, amplitude: float = 1.0) -> Separable:
    """Make the lattice field of given node values (N, Y, X, C)."""
    left, right = (amplitude * y.linear()).float(), x.linear().float()
    return Separable(left, _across(right, values))


def perlin(keys: Tensor, channels: int, y: Axis, x: Axis, amplitude: float = 1.0) -> Separable:
    """Draw Perlin noise with unit gradients at even angles, unit variance over the phases."""
    towards_y, towards_x = direction_at(keys, channels, y.nodes, x.nodes)
    return perlin_from(towards_y, towards_x, y, x, amplitude / perlin_deviation())


def perlin_from(
    towards_y: Tensor, towards_x: Tensor, y: Axis, x: Axis, amplitude: float = 1.0
) -> Separable:
    """Make classic Perlin noise of given gradients, each (N, Y, X, C), undivided."""
    weight_y, weight_x = amplitude * y.faded(), x.faded()
    left = torch.cat([weight_y, weight_y * y.distance], dim=2).float()
    along_x = _across((weight_x * x.distance).float(), towards_x)
    along_y = _across(weight_x.float(), towards_y)
    return Separable(left, torch.cat([along_x, along_y], dim=1))


def _across(weights: Tensor, values: Tensor) -> Tensor:
    """Interpolate (N, Y, X, C) along columns by (N, W, X), to (N, Y, W, C)."""
    return weights[:, None] @ values


@functools.lru_cache(maxsize=1)
def perlin_deviation() -> float:
    """Give σ of classic 2-D Perlin noise with unit gradients, over all places in a cell.

    With s the fade and t the place in a cell, σ² = A·B, where A = ∫ (1−s)² + s² dt and
    B = ∫ (1−s)² t² + s² (1−t)² dt over 0 … 1. The polynomials are integrated exactly.

    Examples:
        >>> round(perlin_deviation(), 4)
        0.2157
    """
    t, rest = Polynomial([0, 1]), 1 - FADE
    a = (rest**2 + FADE**2).integ()(1.0)
    b = (rest**2 * t**2 + FADE**2 * (1 - t) ** 2).integ()(1.0)
    return math.sqrt(a * b)
