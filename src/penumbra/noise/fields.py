"""Noise fields of unit variance, as functions of image coordinates.

`draw` gives a field, `add_field` adds one to features without laying it out first. A field is a
function of (key, channel, place in the image): two overlapping windows of one image see the same
field, alone, in any batch and on any number of threads. White noise lives on the feature grid, and
a window's place there is floor(origin / stride): where its origin is no multiple of the stride, it
sees the image's white noise shifted by less than one feature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.noise.doubles import in_double, place_for_doubles
from penumbra.noise.draws import join_keys, uniform
from penumbra.noise.nodes import normal_at
from penumbra.noise.patterns import Pattern
from penumbra.noise.separable import Axis, Separable, lattice, perlin
from penumbra.noise.simplex import simplex

_SEPARABLE = ("lattice", "perlin")


def cell_side(pattern: Pattern, stride: float, octave: int = 0) -> float:
    """Give the side of a cell in image pixels: length / 2^octave, but at least two features.

    A field with less than two pixels to a cell could not be told from white noise.

    Examples:
        >>> pattern = Pattern(length=32)
        >>> [cell_side(pattern, stride) for stride in (1, 8, 16, 32)]
        [32.0, 32.0, 32.0, 64.0]
    """
    return max(pattern.length * 0.5**octave, 2.0 * stride)


def draw(
    pattern: Pattern,
    keys: Tensor,
    channels: int,
    size: tuple[int, int],
    *,
    stride: float = 1.0,
    origins: Tensor | None = None,
) -> Tensor:
    """Draw fields whose variance over keys is exactly 1 at every pixel.

    Pixel (i, j) of image n lies at ``origins[n] + (i + ½, j + ½) · stride`` in image pixels.

    Args:
        pattern: which noise. Octaves have halved cells and amplitudes persistence^o, and are
            divided by the root of the sum of squares.
        keys: (N,) int64, one per image; the field is drawn on their device.
        channels: C, independent of each other.
        size: (H, W) in features.
        stride: image pixels from one feature to the next.
        origins: (N, 2) row and column of the window's upper left corner in its image, in image
            pixels; zeros where ``None``.

    Returns:
        (N, C, H, W) float32.

    Raises:
        SettingsError: the stride is not positive, or the origins do not fit the keys.

    Examples:
        >>> keys, pattern = torch.tensor([1, 2]), Pattern(name="perlin", length=8)
        >>> whole = draw(pattern, keys, 3, (32, 32))
        >>> part = draw(pattern, keys, 3, (8, 8), origins=torch.tensor([[4.0, 16.0]] * 2))
        >>> bool((whole[..., 4:12, 16:24] - part).abs().max() < 1e-5)
        True
    """
    corners = _corners(keys, stride, origins)
    with torch.no_grad(), torch.autocast(keys.device.type, enabled=False):
        if pattern.name in _SEPARABLE:
            return _lay_out(separable(pattern, keys, channels, size, stride, corners))
        laid = _laid_out(pattern, keys, channels, size, stride, corners)
        # A transpose of two dimensions has a fast path, a permutation of four has none.
        turned = [image.flatten(0, 1).t().contiguous() for image in laid]
        return torch.stack(turned).view(len(keys), channels, *size)


def add_field(
    h: Tensor,
    pattern: Pattern,
    keys: Tensor,
    amplitude: Tensor,
    *,
    stride: float = 1.0,
    origins: Tensor | None = None,
) -> Tensor:
    """Compute h + amplitude · n with n as `draw` gives it, to the rounding of the type of `h`.

    For lattice and Perlin noise the field is never laid out: one matrix product per image, with
    the amplitude folded into its smaller factor, adds it to the features.

    Args:
        h: (N, C, H, W), of any floating type; fastest in channels-last memory.
        pattern: which noise.
        keys: (N,) int64, on any device.
        amplitude: (C,) or (N, C), a standard deviation per channel; may require gradients.
        stride: image pixels from one feature to the next.
        origins: (N, 2), see `draw`.

    Returns:
        (N, C, H, W) in the type of `h`.

    Raises:
        SettingsError: see `draw`.
    """
    keys = keys.to(h.device)
    n, channels, height, width = h.shape
    factors = amplitude.expand(n, channels)
    corners = _corners(keys, stride, origins)
    with torch.autocast(h.device.type, enabled=False):
        if pattern.name in _SEPARABLE:
            with torch.no_grad():
                field = separable(pattern, keys, channels, (height, width), stride, corners)
            return _add(h, field, factors)
        with torch.no_grad():
            laid = _laid_out(pattern, keys, channels, (height, width), stride, corners)
        return h + (factors[:, None, None] * laid).to(h.dtype).permute(0, 3, 1, 2)


def separable(
    pattern: Pattern,
    keys: Tensor,
    channels: int,
    size: tuple[int, int],
    stride: float,
    corners: Tensor,
) -> Separable:
    """Draw the factors of a lattice or Perlin field, all octaves together."""
    make = lattice if pattern.name == "lattice" else perlin
    home, keys = keys.device, keys.to(corners.device)
    fields = []
    for octave, amplitude in enumerate(_amplitudes(pattern)):
        drawn = _octave_keys(keys, octave)
        phase = uniform(drawn, 2).double()
        y, x = (
            Axis.of(
                size=size[axis],
                stride=stride,
                cell=cell_side(pattern, stride, octave),
                origin=corners[:, axis],
                phase=phase[:, axis],
            )
            for axis in (0, 1)
        )
        fields.append(make(drawn, channels, y, x, amplitude))
    return Separable.sum(fields).to(home)


def _laid_out(
    pattern: Pattern,
    keys: Tensor,
    channels: int,
    size: tuple[int, int],
    stride: float,
    corners: Tensor,
) -> Tensor:
    """Draw a field that is no product of matrices, (N, H, W, C)."""
    own = keys.to(corners.device)
    if pattern.name == "simplex":
        return _simplex(pattern, own, channels, size, stride, corners).to(keys.device)
    return _white(own, channels, size, stride, corners).to(keys.device)


def factors(
    pattern: Pattern,
    keys: Tensor,
    amplitude: Tensor,
    size: tuple[int, int],
    *,
    stride: float = 1.0,
    origins: Tensor | None = None,
) -> Separable:
    """Draw amplitude · n of `draw` as its two factors, for a lattice or Perlin noise.

    Args:
        pattern: which noise.
        keys: (N,) int64, one per image.
        amplitude: (C,), a standard deviation per channel.
        size: (H, W) in features.
        stride: image pixels from one feature to the next.
        origins: (N, 2), see `draw`.

    Raises:
        SettingsError: see `draw`; or the pattern is white or simplex noise, which has none.
    """
    if pattern.name in ("gaussian", "simplex"):
        raise SettingsError(
            expected("the pattern", "'lattice' or 'perlin'", repr(pattern.name), "`draw`")
        )
    corners = _corners(keys, stride, origins)
    field = separable(pattern, keys, amplitude.shape[0], size, stride, corners)
    return Separable(field.left, field.middle * amplitude)


def _white(
    keys: Tensor, channels: int, size: tuple[int, int], stride: float, corners: Tensor
) -> Tensor:
    first = torch.floor(corners / stride).to(torch.int64)
    rows, columns = (
        first[:, axis, None] + torch.arange(size[axis], device=keys.device) for axis in (0, 1)
    )
    return normal_at(keys, channels, rows, columns)


def _simplex(
    pattern: Pattern,
    keys: Tensor,
    channels: int,
    size: tuple[int, int],
    stride: float,
    corners: Tensor,
) -> Tensor:
    fields = []
    for octave, amplitude in enumerate(_amplitudes(pattern)):
        drawn, side = _octave_keys(keys, octave), cell_side(pattern, stride, octave)
        y, x = (
            (corners[:, axis, None] + _centres(size[axis], keys.device) * stride) / side
            for axis in (0, 1)
        )
        fields.append(simplex(drawn, channels, y, x, uniform(drawn, 2).double(), amplitude))
    return fields[0] if len(fields) == 1 else torch.stack(fields).sum(dim=0)


def _lay_out(field: Separable) -> Tensor:
    """Multiply out to (N, C, H, W); image by image on a CPU, so that a batch changes no bit."""
    middle = field.middle.permute(0, 3, 1, 2)
    if middle.device.type != "cpu":
        return field.left[:, None] @ middle
    n, channels, inner, width = middle.shape
    out = middle.new_empty(n, channels, field.left.shape[1], width)
    for image in range(n):
        left = field.left[image].expand(channels, -1, inner)
        torch.bmm(left, middle[image].contiguous(), out=out[image])
    return out


def _add(h: Tensor, field: Separable, factors: Tensor) -> Tensor:
    """Add left @ (middle · factors) to features, in their own memory layout."""
    left = field.left.to(h.dtype)
    middle = (field.middle * factors[:, None, None, :]).to(h.dtype)
    if h.is_contiguous(memory_format=torch.channels_last):
        laid = h.permute(0, 2, 3, 1)
        added = _products(laid.flatten(2), left, middle.flatten(2))
        return added.view(laid.shape).permute(0, 3, 1, 2)
    images = [
        torch.baddbmm(one, a.expand(len(one), -1, -1), b.permute(2, 0, 1))
        for one, a, b in zip(h, left, middle, strict=True)
    ]
    return torch.stack(images)


def _products(h: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Compute h + left @ right, (N, H, S) + (N, H, K) @ (N, K, S)."""
    if len(h) == 1:
        return torch.addmm(h[0], left[0], right[0]).unsqueeze(0)
    if h.device.type != "cpu":
        return torch.baddbmm(h, left, right)
    return torch.stack([torch.addmm(*each) for each in zip(h, left, right, strict=True)])


def _amplitudes(pattern: Pattern) -> list[float]:
    raw = [pattern.persistence**octave for octave in range(pattern.octaves)]
    total = math.sqrt(sum(value * value for value in raw))
    return [value / total for value in raw]


def _octave_keys(keys: Tensor, octave: int) -> Tensor:
    return join_keys(keys, octave) if octave else keys


def _centres(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, dtype=torch.float64, device=device) + 0.5


def _corners(keys: Tensor, stride: float, origins: Tensor | None) -> Tensor:
    if not stride > 0:
        raise SettingsError(expected("`stride`", "positive", stride, "1"))
    if origins is None:
        where = place_for_doubles(keys.device)
        return torch.zeros(len(keys), 2, dtype=torch.float64, device=where)
    if origins.shape != (len(keys), 2):
        raise SettingsError(
            expected("`origins`", f"of shape ({len(keys)}, 2)", tuple(origins.shape),
                     "one row and column per key")
        )  # fmt: skip
    return in_double(origins.to(keys.device))
