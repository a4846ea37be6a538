"""A U-Net on VGG-16: five skips out of the encoder, a light decoder back to full size."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.unet.blocks import DoubleConv, Norm
from penumbra.models.vgg.encoder import VGGNetwork
from penumbra.models.vgg.layout import VGG_WIDTH


class LightUp(nn.Module):
    """Double the size by repeating pixels, join the skip connection, then a double convolution."""

    def __init__(
        self, deep: int, skip: int, out_channels: int, *, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.conv = DoubleConv(skip + deep, out_channels, norm=norm, dropout=dropout)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Join (N, D, H/2, W/2) with the skip (N, S, H, W) to (N, O, H, W)."""
        larger = F.interpolate(deep, scale_factor=2.0, mode="nearest")
        joined: Tensor = self.conv(torch.cat([skip, larger], dim=1))
        return joined


class VGG16UNet(VGGNetwork):
    """VGG-16 (arXiv 1409.1556) as the encoder of a U-Net (arXiv 1505.04597; TernausNet's idea).

    The skips are what goes into each of VGG's five poolings; the bottleneck is what the last one
    gives, at 1/32 of the size. The decoder repeats pixels instead of learning to enlarge, and has
    16 · `decoder_width`, … `decoder_width` channels: a quarter of the encoder's work.

    Args:
        n_channels: image channels; grey images are repeated for the three that VGG takes.
        n_classes: logits K; 1 = binary (sigmoid), ≥ 2 = softmax.
        width: channels of the first stage; 64 is VGG's own, fewer take no weights from elsewhere.
        batch_norm: whether the encoder is ``vgg16_bn``. Without, training from scratch is slow
            and may stall; ImageNet's weights exist for both.
        fold: whether the first convolution has one input channel; see `VGGNetwork`.
        decoder_width: channels of the decoder at full size; each level down doubles them.
        norm: of the decoder: ``"batch"``, ``"group"`` or ``"instance"``.
        dropout: probability of dropping a feature map at the end of each decoder level.

    Shape:
        (N, n_channels, H, W) to (N, n_classes, H, W), for any H, W ≥ 1: sizes that do not divide
        by 32 are padded by their border and cropped back.

    Raises:
        ModelError: an argument is out of its range.

    Examples:
        >>> VGG16UNet(1, 1, width=2, decoder_width=2)(torch.zeros(2, 1, 50, 33)).shape
        torch.Size([2, 1, 50, 33])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        width: int = VGG_WIDTH,
        batch_norm: bool = False,
        fold: bool = False,
        decoder_width: int = 16,
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(n_channels, n_classes, width=width, batch_norm=batch_norm, fold=fold)
        if decoder_width < 1:
            raise ModelError(expected("`decoder_width`", "at least 1", decoder_width, "16"))
        if not 0 <= dropout < 1:
            raise ModelError(expected("`dropout`", "in [0, 1)", dropout, "0.1"))
        self.channels = (*self.stages, self.stages[-1])
        made = [decoder_width * 2**level for level in range(len(self.stages))][::-1]
        self.up = nn.ModuleList(
            LightUp(deep, skip, out, norm=norm, dropout=dropout)
            for deep, skip, out in zip(
                (self.channels[-1], *made[:-1]), self.stages[::-1], made, strict=True
            )
        )
        self.outc = nn.Conv2d(decoder_width, n_classes, 1)

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of what `encode` gives: ``skip1`` (full size) to ``skip5``, then ``bottleneck``."""
        return (*(f"skip{i + 1}" for i in range(len(self.stages))), "bottleneck")

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are the decoder's features, coarsest first."""
        return tuple(f"up.{index}" for index in range(len(self.up)))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Give the features of the six levels, stride 1 first, stride 32 last."""
        features: list[Tensor] = self.encoder(self.shown(x))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits for the features that `encode` gave."""
        x = features[-1]
        for up, skip in zip(self.up, features[-2::-1], strict=True):
            x = up(x, skip)
        logits: Tensor = self.outc(x)
        return logits
