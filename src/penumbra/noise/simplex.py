"""Simplex noise in two dimensions: gradients at the corners of equilateral triangles.

The definition is Perlin's (2001) as Gustavson wrote it down ("Simplex noise demystified", 2005):
n = Σ over the three corners of (½ − |d|²)⁴₊ · g·d, in coordinates where the triangle's side is
√⅔. Its support ends inside the triangles that share a corner, so three corners are all there are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.noise.nodes import direction_at

SKEW = (math.sqrt(3) - 1) / 2
UNSKEW = (3 - math.sqrt(3)) / 6
SIDE = math.sqrt(2 / 3)
"""Side of a triangle in the coordinates of the definition."""

# Campbell's theorem: nodes per unit area (√3) times ½ ∫ (½ − r²)⁸ r² · 2πr dr, r² from 0 to ½.
DEVIATION = math.sqrt(math.sqrt(3) * math.pi * 0.5**10 / 180)


def simplex(
    keys: Tensor, channels: int, y: Tensor, x: Tensor, phase: Tensor, amplitude: float = 1.0
) -> Tensor:
    """Draw simplex noise with unit gradients at even angles, unit variance over the phases.

    Args:
        keys: (N,) int64.
        channels: C.
        y: (N, H) float64, rows of the pixels in triangle sides.
        x: (N, W) float64, columns of the pixels in triangle sides.
        phase: (N, 2) float64 in [0, 1), shift of the triangles within their lattice.
        amplitude: standard deviation.

    Returns:
        (N, H, W, C) float32.
    """
    shift = phase - phase.sum(dim=1, keepdim=True) * UNSKEW
    y, x = y * SIDE + shift[:, :1], x * SIDE + shift[:, 1:]
    first, count = _span(y, x)
    nodes = first[:, :, None] + torch.arange(max(count), device=y.device)
    rows, columns = nodes[:, 0, : count[0]], nodes[:, 1, : count[1]]
    towards_y, towards_x = direction_at(keys, channels, rows, columns)
    return simplex_from(towards_y, towards_x, y, x, first, amplitude=amplitude / DEVIATION)


def simplex_from(
    towards_y: Tensor,
    towards_x: Tensor,
    y: Tensor,
    x: Tensor,
    first: Tensor,
    *,
    amplitude: float = 1.0,
) -> Tensor:
    """Make simplex noise of given gradients, undivided.

    Args:
        towards_y: (N, Y, X, C), gradients along y at the nodes, in skewed rows and columns.
        towards_x: (N, Y, X, C).
        y: (N, H) float64 in the coordinates of the definition.
        x: (N, W) float64.
        first: (N, 2) int64, skewed row and column of the first node given.
        amplitude: factor.

    Returns:
        (N, H, W, C) float32.
    """
    table = torch.stack([towards_y, towards_x], dim=3)
    n, channels, width = len(table), table.shape[-1], table.shape[2]
    out = table.new_empty(n, y.shape[1], x.shape[1], channels)
    for image in range(n):
        index, weight = _corners(y[image], x[image], first[image], width)
        out[image] = F.embedding_bag(
            index,
            table[image].reshape(-1, channels),
            per_sample_weights=(amplitude * weight).float(),
            mode="sum",
        ).view(out.shape[1:])
    return out


def _span(y: Tensor, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Find the first skewed node of each image and how many rows and columns of nodes there are.

    The count depends on the window's size alone, so that batches need no padding.
    """
    height, width = (float(axis[0, -1] - axis[0, 0]) for axis in (y, x))
    corner = torch.stack([y[:, 0], x[:, 0]], dim=1)
    first = (corner + corner.sum(dim=1, keepdim=True) * SKEW).floor().to(torch.int64)
    both = (height + width) * SKEW
    return first, (math.ceil(height + both) + 3, math.ceil(width + both) + 3)


def _corners(y: Tensor, x: Tensor, first: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Give for every pixel six rows of the gradients' table and their weights, (H·W, 6) each."""
    y, x = y[:, None].expand(len(y), len(x)), x[None].expand(len(y), len(x))
    skewed = (y + x) * SKEW
    row, column = (y + skewed).floor(), (x + skewed).floor()
    back = (row + column) * UNSKEW
    down, right = y - (row - back), x - (column - back)
    lower = (down >= right).to(y.dtype)
    index, weight = [], []
    zero = torch.zeros_like(lower)
    for step_y, step_x in ((zero, zero), (lower, 1 - lower), (zero + 1, zero + 1)):
        closer = (step_y + step_x) * UNSKEW
        at_y, at_x = down - step_y + closer, right - step_x + closer
        fall = (0.5 - at_y * at_y - at_x * at_x).clamp(min=0) ** 4
        node = ((row + step_y).long() - first[0]) * width + (column + step_x).long() - first[1]
        index += [2 * node, 2 * node + 1]
        weight += [fall * at_y, fall * at_x]
    return torch.stack(index, dim=-1).flatten(0, 1), torch.stack(weight, dim=-1).flatten(0, 1)
