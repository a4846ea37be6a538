"""Independent numbers on the feature grid of an image: one per channel and position."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from penumbra.noise.draws import join_keys, mix

_ROW = -7046029254386353131  # odd constants with no pattern in their bits
_COLUMN = -4417276706812531889
_CHANNEL = -3335678366873096957
_BITS = 23
_LOW = (1 << _BITS) - 1


def uniform_at(keys: Tensor, shape: tuple[int, int, int], *, first: Tensor | None = None) -> Tensor:
    """Draw a uniform number in (0, 1) for every channel and position of each image.

    Args:
        keys: (N,) int64, one per image.
        shape: (C, H, W) of one image's window.
        first: (N, 2) or (1, 2) int64, row and column of the window's first feature on the image's
            grid; zeros where ``None``. The number at a place does not depend on the window.

    Returns:
        (N, C, H, W) float32, odd multiples of 2⁻²⁴, on the device of `keys`.

    Examples:
        >>> keys = torch.tensor([3])
        >>> whole = uniform_at(keys, (2, 8, 8))
        >>> part = uniform_at(keys, (2, 4, 4), first=torch.tensor([[4, 2]]))
        >>> bool((whole[:, :, 4:, 2:6] == part).all())
        True
    """
    channels, height, width = shape
    device = keys.device
    corner = torch.zeros(1, 2, dtype=torch.int64) if first is None else first
    corner = corner.to(device)
    rows = corner[:, :1] + torch.arange(height, device=device)
    columns = corner[:, 1:] + torch.arange(width, device=device)
    place = mix(mix(rows * _ROW)[:, :, None] + columns[:, None, :] * _COLUMN)
    # Each hash has bits for two channels, which halves the work; windows never split channels.
    pairs = torch.arange(-(-channels // 2), device=device)
    lanes = mix(keys[:, None] + (pairs + 1) * _CHANNEL)
    bits = mix(lanes[:, :, None, None] ^ place[:, None])
    both = torch.stack([bits & _LOW, (bits >> (64 - _BITS)) & _LOW], dim=2)
    whole = both.flatten(1, 2)[:, :channels].to(torch.float32)
    return (whole * 2 + 1) * 2.0 ** -(_BITS + 1)


def name_number(text: str) -> int:
    """Give a name as a number that is the same on every machine, unlike Python's own hash."""
    return zlib.crc32(text.encode())


def keys_at(name: str, keys: Tensor, sample: int, site: str, h: Tensor) -> Tensor:
    """Join the images' keys (N,) with pass, site and kind of draw, on the device of `h`."""
    return join_keys(keys.to(h.device), sample, name_number(site), name_number(name))


def first_feature(origins: Tensor | None, stride: float) -> Tensor | None:
    """Find the first feature of each window on its image's feature grid, (N, 2) int64.

    It is floor(origin / stride): windows whose origins are no multiples of the stride agree with
    each other up to a shift of less than one feature.

    Args:
        origins: (N, 2) row and column of the windows in image pixels, or ``None``.
        stride: image pixels from one feature to the next.
    """
    return None if origins is None else torch.floor(origins / stride).to(torch.int64)
