"""Decode the same features many times with other noise on the skips, at a lower price.

A decoder level convolves the skip beside the upsampled deeper features. A convolution is linear:
conv(skip + a·n, up) = conv_s(skip) + conv_s(a·n) + conv_d(up). The first term is the same in
every pass and is computed once. In the second the noise n is a separable field, Σ_t Y_t Z_t X_tᵀ
with few nodes Z: the channels are mixed at the nodes, the shifts of the kernel's taps go into Y
and X, and what remains is one thin matrix product. Only the third is a convolution, of half the
channels. The result is that of the plain decoder up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.models.unet.unet import UNet


@dataclass(frozen=True)
class Separable:
    """One separable term Y Z Xᵀ of a field for one image.

    Attributes:
        rows: (h, g) Y.
        nodes: (C, g, g′) Z, amplitudes included.
        columns: (w, g′) X.
    """

    rows: Tensor
    nodes: Tensor
    columns: Tensor


Field = Sequence[Separable]


class SplitDecoder:
    """A U-Net's decoder with its first convolutions parted into skip and deeper features.

    Args:
        unet: in evaluation mode, on its device and in its precision; not changed.
    """

    def __init__(self, unet: UNet) -> None:
        self.unet = unet
        self._skip_weights: list[Tensor] = []
        self._deep_weights: list[Tensor] = []
        self._taps: list[Tensor] = []
        for up in unet.up:
            weight = _first(up).weight
            skips = weight.shape[1] // 2
            self._skip_weights.append(weight[:, :skips].contiguous(memory_format=_LAST))
            self._taps.append(mixing_taps(weight[:, :skips]))
            self._deep_weights.append(weight[:, skips:].contiguous(memory_format=_LAST))

    def bases(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute conv_s(skip) of every level, coarsest first, for `features` of `encode`."""
        return [
            F.conv2d(skip, weight, _first(up).bias, padding=1)
            for up, skip, weight in zip(
                self.unet.up, features[-2::-1], self._skip_weights, strict=True
            )
        ]

    def decode(
        self,
        bottleneck: Tensor,
        bases: Sequence[Tensor],
        noise: Mapping[int, Sequence[Field]],
    ) -> tuple[Tensor, list[Tensor]]:
        """Run one pass.

        Args:
            bottleneck: (N, C, h, w), its own noise already added.
            bases: from `bases`.
            noise: by level (0 = coarsest skip) the field of each image, (N) of them.

        Returns:
            The logits at the padded size, and the output of every level.
        """
        x, outputs = bottleneck, []
        for level, (up, base) in enumerate(zip(self.unet.up, bases, strict=True)):
            block: Any = up
            y = F.conv2d(block.up(x), self._deep_weights[level], padding=1)
            y += base
            for index, field in enumerate(noise.get(level, ())):
                add_convolved(y[index], field, self._taps[level])
            x = y
            for layer in list(block.conv)[1:]:
                x = layer(x)
            outputs.append(x)
        logits: Tensor = self.unet.outc(x)
        return logits, outputs


_LAST = torch.channels_last


def _first(up: nn.Module) -> nn.Conv2d:
    block: Any = up
    first: nn.Conv2d = block.conv[0]
    return first


def mixing_taps(weight: Tensor) -> Tensor:
    """Lay a 3×3 kernel (O, C, 3, 3) out as one matrix (9 · O, C), tap by tap."""
    return weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1]).contiguous()


def add_convolved(y: Tensor, field: Field, taps: Tensor) -> None:
    """Add the 3×3 convolution (padded with zeros) of a separable field to `y`, in place.

    With the taps' shifts moved into the factors, Σ_ij W_ij · (Y_i Z X_jᵀ), this is
    (Y_-1 | Y_0 | Y_1) · T with T_i = Σ_j (W_ij Z) X_jᵀ.

    Args:
        y: (O, h, w), channels last in memory.
        field: of C channels.
        taps: (9 · O, C) from `mixing_taps`.
    """
    out, h, w = y.shape
    channels = taps.shape[1]
    rows, middles = [], []
    for term in field:
        g, g2 = term.nodes.shape[1:]
        mixed = (taps @ term.nodes.reshape(channels, g * g2)).view(3, 3, out, g, g2)
        # (j, g′) are summed over; (i, g, O) stay.
        right = mixed.permute(1, 4, 0, 3, 2).reshape(3 * g2, 3 * g * out)
        middle = _shifted(term.columns) @ right
        middles.append(middle.view(w, 3 * g, out).transpose(0, 1).reshape(3 * g, w * out))
        rows.append(_shifted(term.rows))
    flat = y.permute(1, 2, 0).view(h, w * out)
    flat.addmm_(torch.cat(rows, 1).to(y.dtype), torch.cat(middles, 0).to(y.dtype))


def _shifted(factor: Tensor) -> Tensor:
    """Put (n, g) for the taps −1, 0 and 1 side by side, (n, 3g); outside is zero."""
    padded = F.pad(factor, (0, 0, 1, 1))
    n = factor.shape[0]
    return torch.cat([padded[shift : shift + n] for shift in range(3)], dim=1)
