"""Random numbers at the nodes of a grid that covers the plane of an image.

A node's number is a function of (key, channel, row, column), rows and columns being counted in
the whole image, so that a window sees the numbers that the whole image has there. Each 64-bit
hash serves four channels with 16 bits each. The bits select from a table made once in float64:
no logarithm or cosine is taken per number, so that neither the number of threads nor the device
changes a bit, and mean and variance of the numbers are exact by construction.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from penumbra.noise.draws import mix

_ROW = -7046029254386353131  # odd constants with no pattern in their bits
_COLUMN = -4417276706812531889
_CHANNEL = -3335678366873096957
_LEVELS = 1 << 16
_PER_HASH = 4
_AT_ONCE = 1 << 15


def normal_at(keys: Tensor, channels: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Draw a standard normal number for every channel and node.

    The numbers are the 65,536 mid-quantiles of the normal distribution, scaled so that their
    variance is exactly 1; none lies beyond 4.4.

    Args:
        keys: (N,) int64, one per image.
        channels: C.
        rows: (N, Y) int64, rows of the nodes in the grid of the whole image.
        columns: (N, X) int64.

    Returns:
        (N, Y, X, C) float32 on the device of `keys`.
    """
    table = _normal_table(keys.device)
    out = table.new_empty(len(keys), rows.shape[1], columns.shape[1], channels)
    # A few rows at a time, so that what is computed on the way stays in the cache.
    some = max(1, _AT_ONCE // max(1, len(keys) * columns.shape[1] * -(-channels // _PER_HASH)))
    for start in range(0, rows.shape[1], some):
        part = slice(start, start + some)
        index = _index_at(keys, channels, rows[:, part], columns)
        out[:, part] = table.index_select(0, index.flatten()).view(index.shape)
    return out


def direction_at(
    keys: Tensor, channels: int, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw a unit vector for every channel and node, at one of 65,536 even angles.

    Args:
        keys: (N,) int64, one per image.
        channels: C.
        rows: (N, Y) int64.
        columns: (N, X) int64.

    Returns:
        The components along rows (y) and along columns (x), each (N, Y, X, C) float32.
    """
    index = _index_at(keys, channels, rows, columns)
    sine, cosine = _direction_table(keys.device)
    flat = index.flatten()
    return (
        sine.index_select(0, flat).view(index.shape),
        cosine.index_select(0, flat).view(index.shape),
    )


def _index_at(keys: Tensor, channels: int, rows: Tensor, columns: Tensor) -> Tensor:
    place = mix(mix(rows * _ROW)[:, :, None] + columns[:, None, :] * _COLUMN)
    fours = torch.arange(-(-channels // _PER_HASH), device=keys.device)
    lanes = mix(keys[:, None] + (fours + 1) * _CHANNEL)
    bits = mix(lanes[:, None, None, :] ^ place[..., None])
    quarters = bits.view(torch.int16)[..., :channels]
    return quarters.to(torch.int32).bitwise_and_(_LEVELS - 1)


@functools.lru_cache(maxsize=8)
def _normal_table(device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):
        quantile = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
        values: Tensor = torch.special.ndtri(quantile)
        return (values / values.square().mean().sqrt()).to(device, torch.float32)


@functools.lru_cache(maxsize=8)
def _direction_table(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(mode=False):
        angle = torch.arange(_LEVELS, dtype=torch.float64) * (2 * math.pi / _LEVELS)
        sine, cosine = angle.sin(), angle.cos()
        return sine.to(device, torch.float32), cosine.to(device, torch.float32)
