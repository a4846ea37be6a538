"""Where features have edges, as a factor on the amplitude of noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


@torch.no_grad()
def edge_factor(h: Tensor, std: Tensor, weight: float) -> Tensor:
    """Compute √(1 − e + e · m² / mean(m²)), whose mean square over each image is exactly 1.

    m² is the squared gradient of the features, in the standard deviations of their channels, by
    central differences with repeated borders, averaged over channels. Where an image's features
    are constant, the factor is 1.

    The mean is that of the features at hand: windows of one image are normalised one by one, so
    this factor, unlike the noise itself, differs a little between overlapping tiles.

    Args:
        h: (N, C, H, W).
        std: (C,), standard deviations; a channel with 0 is left out.
        weight: e in [0, 1]; 0 gives 1 everywhere.

    Returns:
        (N, 1, H, W) float32.

    Examples:
        >>> factor = edge_factor(torch.eye(6).view(1, 1, 6, 6), torch.ones(1), 0.5)
        >>> round(float(factor.square().mean()), 6)
        1.0
    """
    scaled = h.float() / std.where(std > 0, torch.inf).view(1, -1, 1, 1)
    padded = F.pad(scaled, (1, 1, 1, 1), mode="replicate")
    along_y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    along_x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    square = (along_y.square() + along_x.square()).mean(dim=1, keepdim=True)
    mean = square.mean(dim=(2, 3), keepdim=True)
    relative = torch.where(mean > 0, square / mean.where(mean > 0, 1.0), 1.0)
    return (1 - weight + weight * relative).sqrt()
