"""The places of a network where its features can be reached, without touching its code.

A site is the name of a submodule, whose output is meant, or ``skip1`` … ``skipN`` and
``bottleneck`` of a network that splits into `encode` and `decode`: the features on their way to
the decoder, which the encoder itself never sees. Where all sites are of the second kind, the
encoder runs once for any number of passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected

AtSite = Callable[[Tensor, str, float], Tensor]
"""From features (N, C, h, w), the site's name and its stride in input pixels, to features."""


@runtime_checkable
class Splits(Protocol):
    """A network that comes apart between its encoder and its decoder."""

    multiple: int

    @property
    def site_names(self) -> tuple[str, ...]:
        """One name per feature that `encode` gives."""

    def encode(self, x: Any) -> list[Tensor]:
        """Give the features for an input whose sides divide by `multiple`."""

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits for the features."""


@dataclass(frozen=True)
class Encoded:
    """What the encoder gave, kept for several passes.

    Attributes:
        x: the input as given.
        features: those of `encode`, or ``None`` where every pass runs the whole network.
        size: (h, w) of the padded input.
    """

    x: Tensor
    features: tuple[Tensor, ...] | None
    size: tuple[int, int]


class Sites:
    """Access to a network's features, for as long as it is wanted.

    Args:
        module: any network; its weights and code stay as they are.
        names: the sites that `at_site` is called for, in this order where they are parallel.
        taps: names of submodules whose outputs each pass also gives.

    Raises:
        SettingsError: a name is neither a submodule nor a feature of `encode`.

    Examples:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()).eval()
        >>> sites, x = Sites(net, ("0",)), torch.rand(1, 1, 4, 4)
        >>> twice, _ = sites.run(sites.encode(x), lambda h, name, stride: 2 * h)
        >>> sites.remove(); bool((net(x) == twice).all())
        False
    """

    def __init__(
        self, module: nn.Module, names: Sequence[str], *, taps: Sequence[str] = ()
    ) -> None:
        self.module = module
        self.names = tuple(names)
        self.taps = tuple(taps)
        between = tuple(module.site_names) if isinstance(module, Splits) else ()
        inner = dict(module.named_modules())
        self._between = tuple(name for name in self.names if name in between)
        hooked = [name for name in self.names if name not in between]
        for name in (*hooked, *self.taps):
            if not name or name not in inner:
                known = ", ".join((*between, *(n for n in inner if n)))
                shown = known if len(known) < 400 else known[:400] + ", …"
                raise SettingsError(
                    expected("the site", f"one of {shown}", repr(name), "penumbra models RUN")
                )
        self._at_site: AtSite | None = None
        self._width = 1
        self._tapped: dict[str, Tensor] = {}
        self._handles = [inner[name].register_forward_hook(self._visit(name)) for name in hooked]
        self._handles += [inner[name].register_forward_hook(self._keep(name)) for name in self.taps]

    @property
    def encodes_once(self) -> bool:
        """Whether passes share one run of the encoder."""
        return isinstance(self.module, Splits) and len(self._between) == len(self.names)

    def _visit(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
            del module, arguments
            if self._at_site is None or not isinstance(output, Tensor):
                return None
            return self._at_site(output, name, _stride(self._width, output.shape[-1]))

        return hook

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
            del module, arguments
            self._tapped[name] = output

        return hook

    def encode(self, x: Tensor) -> Encoded:
        """Run what all passes share for images (N, C, H, W)."""
        if not self.encodes_once:
            return Encoded(x, None, (x.shape[-2], x.shape[-1]))
        module: Any = self.module
        padded = _pad(x, module.multiple)
        size = (padded.shape[-2], padded.shape[-1])
        return Encoded(x, tuple(module.encode(padded)), size)

    def run(
        self, encoded: Encoded, at_site: AtSite | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one pass.

        Args:
            encoded: from `encode`.
            at_site: what to do with the features of each site; ``None`` leaves them.

        Returns:
            Logits (N, K, H, W) at the input's size, and the outputs of the taps, each at its own.
        """
        self._at_site, self._width = at_site, encoded.x.shape[-1]
        try:
            if encoded.features is None:
                logits = self._whole(encoded.x, at_site)
            else:
                logits = self._decode(encoded, at_site)
            return logits, tuple(self._tapped[name] for name in self.taps)
        finally:
            self._at_site = None
            self._tapped.clear()

    def _whole(self, x: Tensor, at_site: AtSite | None) -> Tensor:
        if not self._between or at_site is None:
            logits: Tensor = self.module(x)
            return logits
        module: Any = self.module
        padded = _pad(x, module.multiple)
        self._width = padded.shape[-1]
        encoded = Encoded(x, tuple(module.encode(padded)), (padded.shape[-2], padded.shape[-1]))
        return self._decode(encoded, at_site)

    def _decode(self, encoded: Encoded, at_site: AtSite | None) -> Tensor:
        module: Any = self.module
        features = list(encoded.features or ())
        if at_site is not None:
            for index, name in enumerate(module.site_names):
                if name in self._between:
                    h = features[index]
                    features[index] = at_site(h, name, encoded.size[1] / h.shape[-1])
        height, width = encoded.x.shape[-2:]
        logits: Tensor = module.decode(features)
        return logits[..., :height, :width]

    def remove(self) -> None:
        """Leave the network as it was found."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _stride(width: int, of_features: int) -> float:
    """Snap to a power of two: a network that pads within itself shows a slightly smaller ratio."""
    return 2.0 ** max(0, round(math.log2(width / of_features)))


def _pad(x: Tensor, multiple: int) -> Tensor:
    bottom, right = (-size % multiple for size in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
