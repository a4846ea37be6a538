"""How a field's variance is spread over spatial frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from penumbra.errors import SettingsError, expected


def radial_spectrum(field: Tensor, *, stride: float = 1.0) -> tuple[Tensor, Tensor]:
    """Estimate the power spectral density of fields as a function of radial frequency.

    The periodograms |FFT(w · n)|² · stride² / Σ w² under a Hann window w (Welch's method, with the
    fields as the segments; 10.1109/TAU.1967.1161901) are averaged over all fields and then over
    rings one frequency step wide. White noise of variance 1 at stride 1 has density 1 everywhere;
    for any field, Σ density · (ring's area) over the whole square is its variance.

    Args:
        field: (…, H, W), H and W at least 8. No mean is taken off.
        stride: image pixels from one value to the next.

    Returns:
        Frequencies in cycles per image pixel, from one step (1 / (stride · min(H, W))) up to the
        Nyquist frequency, and the density at them in variance · pixels², both (R,) float64.

    Raises:
        SettingsError: the field is smaller than 8 × 8.

    Examples:
        >>> wave = torch.sin(2 * torch.pi * torch.arange(64) / 8).expand(64, 64)
        >>> frequency, density = radial_spectrum(wave)
        >>> float(frequency[density.argmax()])
        0.125
    """
    height, width = field.shape[-2:]
    if min(height, width) < 8:
        raise SettingsError(
            expected("`field`", "at least 8 × 8", tuple(field.shape), "a larger window")
        )
    window = _hann(height, field)[:, None] * _hann(width, field)
    transformed = torch.fft.fft2(field.double().reshape(-1, height, width) * window)
    power = transformed.abs().square().mean(dim=0) * stride**2 / window.square().sum()
    y, x = (torch.fft.fftfreq(size, d=stride, dtype=torch.float64) for size in (height, width))
    radius = (y[:, None].square() + x.square()).sqrt().to(field.device)
    step = 1 / (stride * min(height, width))
    ring = (radius / step).round().long()
    rings = min(height, width) // 2 + 1
    inside = ring < rings
    total = torch.zeros(rings, dtype=torch.float64, device=field.device)
    count = torch.zeros_like(total)
    total.index_add_(0, ring[inside], power[inside])
    count.index_add_(0, ring[inside], torch.ones_like(power[inside]))
    frequency = torch.arange(rings, dtype=torch.float64, device=field.device) * step
    return frequency[1:], (total / count)[1:]


def spectral_centroid(frequency: Tensor, density: Tensor) -> float:
    """Compute the mean radial frequency, each ring weighted by its variance: density · radius.

    Args:
        frequency: (R,), from `radial_spectrum`.
        density: (R,).

    Returns:
        Cycles per image pixel.
    """
    share = density * frequency
    return float((share * frequency).sum() / share.sum())


def _hann(size: int, like: Tensor) -> Tensor:
    return torch.hann_window(size, periodic=True, dtype=torch.float64, device=like.device)
