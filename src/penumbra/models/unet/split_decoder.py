"""Decode the same features many times with other noise on the skips, at a lower price.

A decoder level convolves the skip beside the upsampled deeper features. A convolution is linear:
conv(skip + a·n, up) = conv_s(skip) + conv_s(a·n) + conv_d(up). The first term is the same in
every pass and is computed once. In the second the noise is a product left @ middle with few inner
columns: channels and columns are convolved in the middle, the taps of the rows go into the left,
and what remains is one thin matrix product. Only the third is a convolution of the whole size, of
half the channels. The result is that of the plain decoder up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.models.unet.unet import UNet
from penumbra.noise.separable import Separable

_LAST = torch.channels_last


class SplitDecoder:
    """A U-Net's decoder with its first convolutions parted into skip and deeper features.

    Args:
        unet: in evaluation mode, on its device and in its precision; not changed.
    """

    def __init__(self, unet: UNet) -> None:
        self.unet = unet
        self._of_skips: list[Tensor] = []
        self._of_deep: list[Tensor] = []
        self._of_noise: list[Tensor] = []
        for up in unet.up:
            weight = _first(up).weight
            skips = weight.shape[1] // 2
            self._of_skips.append(weight[:, :skips].contiguous(memory_format=_LAST))
            self._of_deep.append(weight[:, skips:].contiguous(memory_format=_LAST))
            self._of_noise.append(along_columns(weight[:, :skips]))

    def bases(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute conv_s(skip) of every level, coarsest first, for `features` of `encode`."""
        return [
            F.conv2d(skip, weight, _first(up).bias, padding=1)
            for up, skip, weight in zip(self.unet.up, features[-2::-1], self._of_skips, strict=True)
        ]

    def decode(
        self, bottleneck: Tensor, bases: Sequence[Tensor], noise: Mapping[int, Separable]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run one pass.

        Args:
            bottleneck: (N, C, h, w), its own noise already added.
            bases: from `bases`.
            noise: by level (0 = coarsest skip), amplitudes included.

        Returns:
            The logits at the padded size, and the output of every level.
        """
        x, outputs = bottleneck, []
        for level, (up, base) in enumerate(zip(self.unet.up, bases, strict=True)):
            block: Any = up
            y = F.conv2d(block.up(x), self._of_deep[level], padding=1)
            y += base
            if level in noise:
                y = add_convolved(y, noise[level], self._of_noise[level])
            x = y
            for layer in list(block.conv)[1:]:
                x = layer(x)
            outputs.append(x)
        logits: Tensor = self.unet.outc(x)
        return logits, outputs


def _first(up: nn.Module) -> nn.Conv2d:
    block: Any = up
    first: nn.Conv2d = block.conv[0]
    return first


def along_columns(weight: Tensor) -> Tensor:
    """Lay a kernel (O, C, 3, 3) out as one matrix (3·C, 3·O), columns of taps by rows of taps."""
    return weight.permute(3, 1, 2, 0).reshape(3 * weight.shape[1], -1).contiguous()


def add_convolved(y: Tensor, field: Separable, weight: Tensor) -> Tensor:
    """Add the 3×3 convolution (padded with zeros) of a field to `y`, in place on a CPU.

    With W_ij the kernel, Σ_i shift_i(left) @ Σ_j shift_j(middle) W_ij.

    Args:
        y: (N, O, h, w), channels last in memory.
        field: left (N, h, K) and middle (N, K, w, C).
        weight: from `along_columns`.
    """
    n, out, h, w = y.shape
    inner, channels = field.middle.shape[1], field.middle.shape[3]
    padded = F.pad(field.middle.to(y.dtype), (0, 0, 1, 1))
    beside = torch.cat([padded[:, :, shift : shift + w] for shift in range(3)], dim=3)
    mixed = (beside.view(-1, 3 * channels) @ weight).view(n, inner, w, 3, out)
    right = mixed.permute(0, 3, 1, 2, 4).reshape(n, 3 * inner, w * out)
    left = _shifted(field.left.to(y.dtype))
    flat = y.permute(0, 2, 3, 1).reshape(n, h, w * out)
    # Image by image, so that a batch changes no bit.
    for one, a, b in zip(flat, left, right, strict=True):
        one.addmm_(a, b)
    return flat.view(n, h, w, out).permute(0, 3, 1, 2)


def _shifted(left: Tensor) -> Tensor:
    """Put (N, h, K) for the taps −1, 0 and 1 side by side, (N, h, 3K); outside is zero."""
    padded = F.pad(left, (0, 0, 1, 1))
    h = left.shape[1]
    return torch.cat([padded[:, shift : shift + h] for shift in range(3)], dim=2)
