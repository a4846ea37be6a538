"""The pass that gives masks, as one module: from normalised images to calibrated probabilities."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.inference.calibration import Temperature
from penumbra.inference.doubt import STRIDES, Level, levels_of, module_taps
from penumbra.inference.linear_map import enlarge, with_strides
from penumbra.inference.temperature import Scaling, local_factor
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.noise.places import Place, features_of

_EXAMPLE = 64


class MaskPass(nn.Module):
    """p = probabilities(μ(x) / T), or with a local temperature μ / T · exp(−1.5 · tanh h(x)).

    The same arithmetic as a `Predictor` without passes, on one tile, written so that it can be
    traced with free sizes: what depends on the size alone is decided when it is made.

    Args:
        network: μ, in evaluation mode; logits (N, K, H, W) for images (N, C, H, W).
        temperature: T, and h where it is local; by default T = 1.
        channels: C.

    Raises:
        RunError: the temperature is not one for this network.
        ModelError: a feature that a local temperature reads is not where it says.

    Examples:
        >>> network = nn.Conv2d(1, 1, 1)
        >>> MaskPass(network, channels=1)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 2, 8, 8])
    """

    values: Tensor

    def __init__(
        self, network: nn.Module, *, temperature: Temperature | None = None, channels: int
    ) -> None:
        super().__init__()
        self.network = network
        known = temperature or Temperature()
        scaling = Scaling.of(known, int(getattr(network, "n_classes", 1)))
        self.register_buffer("values", scaling.values[None, :, None, None])
        self.names = scaling.taps
        self._places = tuple(Place.parse(name) for name in module_taps(scaling.taps))
        self._strides: dict[str, int] = {}
        self.is_local = scaling.map is not None
        # With blocks of up to 16 pixels that divide the size, no shape needs to be rounded.
        base = int(getattr(network, "multiple", 1))
        self.multiple = math.lcm(base, max(STRIDES)) if self.is_local else base
        if scaling.map is not None:
            for number, weight in enumerate(scaling.map.weight):
                self.register_buffer(f"map{number}", weight[:, :, None, None])
            self.register_buffer("bias", scaling.map.bias[None, :, None, None])
            self._find_strides(channels)

    def forward(self, images: Tensor) -> Tensor:
        """Compute probabilities (N, C′, H, W), C′ = max(K, 2), float32, summing to 1 over C′."""
        logits, taps = self._run(images)
        scaled = logits / self.values
        if self.is_local:
            scaled = scaled * local_factor(self._map(logits, taps))
        return logits_to_probabilities(scaled)

    def _map(self, logits: Tensor, taps: dict[str, Tensor]) -> Tensor:
        """Compute h (N, 1, H, W) as `MapTensors` does, level by level."""
        size = (logits.shape[-2], logits.shape[-1])
        known = {name: Level(tap.float(), self._strides[name]) for name, tap in taps.items()}
        total = self.get_buffer("bias")
        for number, level in enumerate(levels_of(self.names, logits, known)):
            mapped = F.conv2d(level.features, self.get_buffer(f"map{number}"))
            total = total + enlarge(mapped, level.stride, size)
        return total

    def _run(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the network: logits in float32, and what the temperature reads on the way."""
        taps: dict[str, Tensor] = {}

        def keep(place: Place) -> Any:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                del module, arguments
                several = features_of(output) if place.item is not None else None
                taps[place.name] = several[place.item or 0] if several else output

            return hook

        handles = [
            self._submodule(place).register_forward_hook(keep(place)) for place in self._places
        ]
        try:
            logits: Tensor = self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        return logits.float(), taps

    def _submodule(self, place: Place) -> nn.Module:
        try:
            return self.network.get_submodule(place.module)
        except AttributeError as error:
            raise ModelError(
                expected("the features of a local temperature", "those of this network",
                         repr(place.name), "`penumbra calibrate` again, or --uncalibrated")
            ) from error  # fmt: skip

    @torch.no_grad()
    def _find_strides(self, channels: int) -> None:
        side = self.multiple * math.ceil(_EXAMPLE / self.multiple)
        logits, taps = self._run(torch.zeros(1, channels, side, side))
        levels = with_strides(tuple(taps.values()), (logits.shape[-2], logits.shape[-1]))
        self._strides = {name: level.stride for name, level in zip(taps, levels, strict=True)}
