"""Temperatures: logits scaled before they become probabilities, by one number or place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penumbra.errors import RunError, expected
from penumbra.inference.calibration import Temperature
from penumbra.inference.doubt import Level
from penumbra.inference.linear_map import MapTensors

RANGE = 1.5
"""A local temperature lies between e^−1.5 and e^1.5 times the global one."""


@dataclass(frozen=True)
class Scaling:
    """A `Temperature` as tensors.

    Attributes:
        values: (1,) or, for one per class, (K,).
        map: h of a local temperature.
        taps: names of the features that `map` reads.
    """

    values: Tensor
    map: MapTensors | None = None
    taps: tuple[str, ...] = ()

    @classmethod
    def of(cls, temperature: Temperature, n_logits: int) -> Scaling:
        """Check a temperature against the network's K logits.

        Raises:
            RunError: it has another number of values, one that is not positive, or no map.
        """
        wanted = n_logits if temperature.kind == "class" else 1
        positive = all(value > 0 for value in temperature.values)
        if len(temperature.values) != wanted or not positive:
            raise RunError(
                expected(f"a {temperature.kind} temperature", f"{wanted} positive values",
                         temperature.values, "`penumbra calibrate` again")
            )  # fmt: skip
        values = torch.tensor(temperature.values, dtype=torch.float32)
        if temperature.kind != "local":
            return cls(values)
        if temperature.map is None or len(temperature.map.bias) != 1:
            raise RunError(
                expected("a local temperature", "one with a map of one row", "none",
                         "`penumbra calibrate` again")
            )  # fmt: skip
        return cls(values, MapTensors.of(temperature.map), temperature.map.taps)

    def __call__(self, logits: Tensor, levels: Sequence[Level]) -> Tensor:
        """Scale logits (N, K, H, W); `levels` are those of `taps`. Float32."""
        scaled = logits.float() / self.values.to(logits.device)[None, :, None, None]
        if self.map is None:
            return scaled
        size = (logits.shape[-2], logits.shape[-1])
        return scaled * local_factor(self.map(levels, size))


def local_factor(h: Tensor) -> Tensor:
    """Compute exp(−1.5 · tanh h): positive, so that a mask at ½ or by argmax stays the same.

    Examples:
        >>> local_factor(torch.tensor([-9.0, 0.0, 9.0])).log().round(decimals=3).tolist()
        [1.5, 0.0, -1.5]
    """
    return torch.exp(-RANGE * torch.tanh(h))
