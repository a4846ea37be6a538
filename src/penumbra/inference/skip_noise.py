"""Noisy passes of a U-Net through the nodes of its noise, where that is possible."""

from __future__ import annotations

from torch import Tensor, nn

from penumbra.models.unet.split_decoder import SplitDecoder
from penumbra.models.unet.unet import UNet
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.noise.sites import Encoded

Bases = tuple[Tensor, ...]


class SkipNoise:
    """Decode with noise on skips and bottleneck, at about two thirds of a decoder's price.

    Args:
        unet: the network of an engine.
        injector: noise of fixed amplitude at sites between encoder and decoder.
        taps: names of submodules whose outputs are wanted; those of the decoder's levels.
    """

    def __init__(self, unet: UNet, injector: NeuralNoiseInjector, *, taps: tuple[str, ...]) -> None:
        self.unet = unet
        self.injector = injector
        self.taps = taps
        self.decoder = SplitDecoder(unet)

    @classmethod
    def of(
        cls, module: nn.Module, injector: NeuralNoiseInjector, *, taps: tuple[str, ...]
    ) -> SkipNoise | None:
        """Give the shorter way, or ``None`` where the noise must be laid out.

        It must where a site lies elsewhere, where the amplitude depends on the features, and
        for white and simplex noise, which are no products.
        """
        if not isinstance(module, UNet) or type(module).decode is not UNet.decode:
            return None
        network = module
        if set(injector.sites) - set(network.site_names) or set(taps) - set(network.tap_names):
            return None
        if not all(injector.has_factors(site) for site in injector.sites):
            return None
        return cls(network, injector, taps=taps)

    def bases(self, encoded: Encoded) -> Bases:
        """Compute what all passes over these features share."""
        return tuple(self.decoder.bases(encoded.features or ()))

    def run(
        self, encoded: Encoded, bases: Bases, *, keys: Tensor, sample: int, origins: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one pass; see `Sites.run`."""
        names, features = self.unet.site_names, list(encoded.features or ())
        keys = keys.to(encoded.x.device)
        noise = {}
        for level, name in enumerate(names[-2::-1]):
            if name in self.injector.sites:
                h = features[-2 - level]
                noise[level] = self.injector.factors(
                    name,
                    (h.shape[-2], h.shape[-1]),
                    keys=keys,
                    sample=sample,
                    stride=encoded.size[1] / h.shape[-1],
                    origins=origins,
                )
        deepest = features[-1]
        if names[-1] in self.injector.sites:
            stride = encoded.size[1] / deepest.shape[-1]
            deepest = self.injector(
                deepest, names[-1], keys=keys, mode="monte_carlo", sample=sample,
                stride=stride, origins=origins,
            )  # fmt: skip
        logits, outputs = self.decoder.decode(deepest, bases, noise)
        by_name = dict(zip(self.unet.tap_names, outputs, strict=True))
        height, width = encoded.x.shape[-2:]
        return logits[..., :height, :width], tuple(by_name[name] for name in self.taps)
