"""Where double precision can be computed: Apple's MPS has none."""

from __future__ import annotations

import torch
from torch import Tensor


def place_for_doubles(device: torch.device) -> torch.device:
    """Give the device itself, or the CPU where the device has no float64.

    Examples:
        >>> place_for_doubles(torch.device("mps")), place_for_doubles(torch.device("cuda"))
        (device(type='cpu'), device(type='cuda'))
    """
    return torch.device("cpu") if device.type == "mps" else device


def in_double(x: Tensor) -> Tensor:
    """Convert to float64, on the CPU where the device of `x` has none."""
    return x.to(place_for_doubles(x.device)).double()
