"""Random numbers as a function of where they are used, and of nothing else.

A counter-based generator (a SplitMix64-style hash of key and position; Steele, Lea and Flood,
10.1145/2660193.2660195) gives every element its own number. There is no state to share, to lock
or to forget: the same (seed, image, pass, site) gives the same bits alone and in any batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_TO_UNIT = 2.0**-24


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift without the sign, which torch's own shift would copy in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values; every input bit changes about half of the output bits."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def join_keys(*keys: Tensor | int) -> Tensor:
    """Hash several integer keys into one; order matters.

    The result lies on the device of the first tensor among them; the others are brought there.

    Examples:
        >>> bool(join_keys(torch.tensor(1), 2) == join_keys(torch.tensor(2), 1))
        False
    """
    device = next((key.device for key in keys if isinstance(key, Tensor)), None)
    joined = torch.zeros((), dtype=torch.int64, device=device)
    for key in keys:
        key_tensor = torch.as_tensor(key, dtype=torch.int64, device=device)
        joined = mix((joined + _GOLDEN) ^ mix(key_tensor + _GOLDEN))
    return joined


def image_keys(x: Tensor) -> Tensor:
    """Hash the content of each image of a float batch (N, …) to (N,) int64.

    The sum of mixed integers wraps around and does not depend on the order of addition, so that
    it is the same for any number of threads.
    """
    bits = x.detach().float().contiguous().flatten(1).view(torch.int32).to(torch.int64)
    position = torch.arange(bits.shape[1], device=x.device, dtype=torch.int64)
    return mix(mix(bits + _GOLDEN) ^ (position * _GOLDEN)).sum(dim=1)


def uniform(keys: Tensor, count: int) -> Tensor:
    """Draw uniform numbers in (0, 1).

    Args:
        keys: (N,) int64, one per image.
        count: numbers per key.

    Returns:
        (N, count) float32, multiples of 2⁻²⁴ plus a half step, so that neither 0 nor 1 occurs.
    """
    position = torch.arange(count, device=keys.device, dtype=torch.int64)
    bits = mix(keys.unsqueeze(1) + position * _GOLDEN)
    return (_shift_right(bits, 41).to(torch.float32) * 2 + 1) * _TO_UNIT


def normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal numbers by the Box–Muller transform.

    Args:
        keys: (N,) int64, one per image.
        shape: of one image's numbers, such as (C, H, W).

    Returns:
        (N, *shape) float32 with mean 0 and variance 1.

    Examples:
        >>> keys = torch.tensor([1, 2])
        >>> bool((normal(keys, (3, 4, 5))[1] == normal(keys[1:], (3, 4, 5))[0]).all())
        True
    """
    count = math.prod(shape)
    half = -(-count // 2)
    u = uniform(keys, 2 * half)
    radius = torch.sqrt(-2 * torch.log(u[:, :half]))
    angle = 2 * math.pi * u[:, half:]
    both = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
    return both[:, :count].view(len(keys), *shape)
