"""A U-Net whose skips and bottleneck can carry noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from penumbra.errors import ModelError, expected
from penumbra.models.unet.blocks import Norm, pad_to_multiple
from penumbra.models.unet.unet import UNet
from penumbra.noise.draws import image_keys, join_keys
from penumbra.noise.injector import NeuralNoiseInjector, NoiseMode


class NoiseAwareUNet(UNet):
    """The U-Net with gated noise on the features that its decoder receives (experimental).

    With `noise_mode` ``"disabled"`` at every site, its logits are those of the plain U-Net with
    the same weights, bit for bit. Draws are a function of (seed, image, pass, site) alone.

    Args:
        n_channels: image channels.
        n_classes: logits K; 1 = binary.
        noise_injector: the injector, or its constructor's arguments; a default one where ``None``.
        width: channels of the first level.
        depth: number of halvings.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
        dropout: probability of dropping a feature map.

    Raises:
        ModelError: an argument is out of its range.

    Examples:
        >>> import torch
        >>> model = NoiseAwareUNet(1, 1, width=4, depth=2).eval()
        >>> x = torch.rand(1, 1, 16, 16)
        >>> a, b = (model(x, noise_mode="monte_carlo", sample=k) for k in (0, 1))
        >>> a.shape, bool((a == b).all())
        (torch.Size([1, 1, 16, 16]), False)
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        noise_injector: NeuralNoiseInjector | Mapping[str, Any] | None = None,
        *,
        width: int = 64,
        depth: int = 4,
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            n_channels, n_classes, width=width, depth=depth, norm=norm, dropout=dropout
        )
        if not isinstance(noise_injector, NeuralNoiseInjector):
            noise_injector = NeuralNoiseInjector(**dict(noise_injector or {}))
        if noise_injector.sites:
            raise ModelError(
                expected("`noise_injector`", "fresh, with no sites", noise_injector.sites,
                         "one injector per network")
            )  # fmt: skip
        self.noise_injector = noise_injector
        for site, channels in zip(self.site_names, self.channels, strict=True):
            noise_injector.add_site(site, channels=channels)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as plain values; the injector as its settings."""
        return super().arguments | {"noise_injector": self.noise_injector.settings}

    def forward(
        self,
        x: Tensor,
        noise_mode: NoiseMode | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
    ) -> Tensor:
        """Compute logits (N, K, H, W) at the size of `x`.

        Args:
            x: (N, C, H, W).
            noise_mode: see `NoiseMode`; ``"training"`` while training and ``"disabled"`` in
                evaluation where not given.
            seed: what the draws are made from, besides the image's content.
            sample: which pass, for all modes but ``"single"``; a training that shows the same
                image again with another `sample` draws other noise.
        """
        mode: NoiseMode = noise_mode or ("training" if self.training else "disabled")
        height, width = x.shape[-2:]
        features = self.encode(pad_to_multiple(x, self.multiple))
        if mode != "disabled":
            keys = join_keys(image_keys(x), seed)
            features = [
                self.noise_injector(h, site, keys=keys, mode=mode, sample=sample, stride=2.0**level)
                for level, (site, h) in enumerate(zip(self.site_names, features, strict=True))
            ]
        return self.decode(features)[..., :height, :width]
