"""The classic U-Net."""

from __future__ import annotations

from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.storage import StoredModel
from penumbra.models.unet.blocks import DoubleConv, Down, Norm, Up, pad_to_multiple


class UNet(StoredModel):
    """The U-Net of Ronneberger et al. (2015, arXiv 1505.04597), with padding and normalisation.

    Args:
        n_channels: image channels, 1 or 3 (any ≥ 1 works).
        n_classes: logits K; 1 = binary (sigmoid), ≥ 2 = softmax.
        width: channels of the first level; each level doubles them (64 … 1024 by default).
        depth: number of halvings; the bottleneck sees 1 / 2^depth of the size.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
        dropout: probability of dropping a feature map at the end of each level, 0 ≤ p < 1.

    Shape:
        (N, n_channels, H, W) to (N, n_classes, H, W), for any H, W ≥ 1: sizes that do not divide
        by 2^depth are padded by their border and cropped back, never distorted.

    Raises:
        ModelError: an argument is out of its range.

    Examples:
        >>> import torch
        >>> UNet(1, 1, width=8)(torch.zeros(2, 1, 50, 33)).shape
        torch.Size([2, 1, 50, 33])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        width: int = 64,
        depth: int = 4,
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_unet_arguments(n_channels, n_classes, width, depth, dropout)
        self.n_channels = n_channels
        self.n_classes = n_classes
        self.channels = tuple(width * 2**level for level in range(depth + 1))
        self.multiple = 2**depth
        self.inc = DoubleConv(n_channels, width, norm=norm, dropout=dropout)
        self.down = nn.ModuleList(
            Down(shallow, deep, norm=norm, dropout=dropout)
            for shallow, deep in zip(self.channels, self.channels[1:], strict=False)
        )
        self.up = nn.ModuleList(
            Up(deep, shallow, norm=norm, dropout=dropout)
            for deep, shallow in zip(self.channels[:0:-1], self.channels[-2::-1], strict=True)
        )
        self.outc = nn.Conv2d(width, n_classes, 1)

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of what `encode` gives: ``skip1`` (full size) to ``skipN``, then ``bottleneck``."""
        return (*(f"skip{i + 1}" for i in range(len(self.channels) - 1)), "bottleneck")

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are the decoder's features, coarsest first."""
        return tuple(f"up.{index}" for index in range(len(self.up)))

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are the encoder's features, finest first."""
        return ("inc", *(f"down.{index}" for index in range(len(self.down))))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Give the features of every level, stride 1 first, the bottleneck last.

        `x` must be divisible by ``2^depth``; `forward` takes care of that.
        """
        features = [self.inc(x)]
        for down in self.down:
            features.append(down(features[-1]))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits for the features that `encode` gave."""
        x = features[-1]
        for up, skip in zip(self.up, features[-2::-1], strict=True):
            x = up(x, skip)
        logits: Tensor = self.outc(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, K, H, W) at the size of `x` (N, C, H, W)."""
        height, width = x.shape[-2:]
        logits = self.decode(self.encode(pad_to_multiple(x, self.multiple)))
        return logits[..., :height, :width]


def check_unet_arguments(
    n_channels: int, n_classes: int, width: int, depth: int, dropout: float
) -> None:
    """Refuse sizes that make no network.

    Raises:
        ModelError: an argument is out of its range.
    """
    lower_bounds = {
        "n_channels": n_channels, "n_classes": n_classes, "width": width, "depth": depth
    }  # fmt: skip
    for name, value in lower_bounds.items():
        if value < 1:
            raise ModelError(expected(f"`{name}`", "at least 1", value, "a positive number"))
    if depth > 8:
        raise ModelError(expected("`depth`", "at most 8", depth, "4, the classic U-Net"))
    if not 0 <= dropout < 1:
        raise ModelError(expected("`dropout`", "in [0, 1)", dropout, "0.1"))
