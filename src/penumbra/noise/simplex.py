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
    first, count = span(y, x)
    rows, columns = (
        first[:, axis, None] + torch.arange(count[axis], device=y.device) for axis in (0, 1)
    )
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
        first: (N, 2) int64, skewed row and column of the first node given; see `span`.
        amplitude: factor.

    Returns:
        (N, H, W, C) float32.
    """
    # Rows of the table: image, node, component; so that one call serves the whole batch.
    table = torch.stack([towards_y, towards_x], dim=3).flatten(0, 3)
    index, weight = _corners(y, x, first, (towards_y.shape[1], towards_y.shape[2]))
    laid = F.embedding_bag(index, table, per_sample_weights=weight * amplitude, mode="sum")
    return laid.view(len(y), y.shape[1], x.shape[1], -1)


def span(y: Tensor, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Find the nodes that a window needs.

    Args:
        y: (N, H) float64 in the coordinates of the definition, rising.
        x: (N, W) float64.

    Returns:
        Skewed row and column of the first node of each image (N, 2) int64, and how many rows and
        columns there are, the same for every image of the batch.
    """
    height, width = (float(axis[0, -1] - axis[0, 0]) for axis in (y, x))
    corner = torch.stack([y[:, 0], x[:, 0]], dim=1)
    first = (corner + corner.sum(dim=1, keepdim=True) * SKEW).floor().to(torch.int64)
    both = (height + width) * SKEW
    return first, (math.ceil(height + both) + 3, math.ceil(width + both) + 3)


def _corners(y: Tensor, x: Tensor, first: Tensor, count: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Give for every pixel six rows of the gradients' table and their weights, (N·H·W, 6) each."""
    y, x = y[:, :, None], x[:, None, :]
    skewed = (y + x) * SKEW
    row, column = (y + skewed).floor(), (x + skewed).floor()
    back = (row + column) * UNSKEW
    # Which triangle is decided in float64; within it single precision is enough.
    down, right = (y - row + back).float(), (x - column + back).float()
    rows, width = count
    image = torch.arange(len(y), device=y.device) * rows
    top, left = (first[:, 0] - image)[:, None, None], first[:, 1, None, None]
    node = ((row - top) * width + (column - left)).to(torch.int32)
    lower = down >= right
    below = lower.float()
    near: list[Tensor | int] = [0, torch.where(lower, width, 1), width + 1]
    steps_y: list[Tensor | float] = [0.0, below, 1.0]
    steps_x: list[Tensor | float] = [0.0, 1 - below, 1.0]
    index = torch.empty(*node.shape, 6, dtype=torch.int32, device=node.device)
    weight = torch.empty(*node.shape, 6, device=node.device)
    for corner in range(3):
        closer = UNSKEW * corner
        at_y, at_x = down - steps_y[corner] + closer, right - steps_x[corner] + closer
        fall = (0.5 - at_y * at_y - at_x * at_x).clamp_(min=0).square_().square_()
        index[..., 2 * corner] = 2 * (node + near[corner])
        index[..., 2 * corner + 1] = index[..., 2 * corner] + 1
        weight[..., 2 * corner] = fall * at_y
        weight[..., 2 * corner + 1] = fall * at_x
    return index.view(-1, 6), weight.view(-1, 6)
