"""The pieces a U-Net is made of."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected

Norm = Literal["batch", "group", "instance"]


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Build the normalisation of `channels` feature maps.

    Group norm takes the largest number of groups up to 8 that divides the channels.

    Raises:
        ModelError: `norm` is not one of ``"batch"``, ``"group"``, ``"instance"``.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        # One group per channel is the same sum, and does not refuse a bottleneck of one pixel.
        return nn.GroupNorm(channels, channels)
    if norm == "group":
        groups = next(g for g in range(min(8, channels), 0, -1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    raise ModelError(expected("`norm`", "one of 'batch', 'group', 'instance'", norm, "'batch'"))


class DoubleConv(nn.Sequential):
    """Twice (3×3 convolution, normalisation, ReLU), size kept."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, dropout: float) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            # The normalisation has its own offset, so the convolution needs none.
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                make_norm(norm, out_channels),
                nn.ReLU(inplace=True),
            ]
        if dropout > 0:
            layers.append(nn.Dropout2d(dropout))
        super().__init__(*layers)


class Down(nn.Sequential):
    """Halve the size by max pooling, then a double convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, dropout: float) -> None:
        super().__init__(
            nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, norm=norm, dropout=dropout)
        )


class Up(nn.Module):
    """Double the size, join the skip connection, then a double convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.conv = DoubleConv(2 * out_channels, out_channels, norm=norm, dropout=dropout)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Join (N, 2C, H/2, W/2) with the skip (N, C, H, W) to (N, C, H, W)."""
        joined: Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return joined


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) right and below to multiples of `multiple` by repeating the border.

    Repeating, not reflecting, since it works for any size down to one pixel.

    Examples:
        >>> pad_to_multiple(torch.zeros(1, 1, 5, 16), 16).shape
        torch.Size([1, 1, 16, 16])
    """
    bottom, right = (-size % multiple for size in x.shape[-2:])
    if bottom == 0 and right == 0:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")
