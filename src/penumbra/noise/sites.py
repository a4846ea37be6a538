"""The places of a network where its features can be reached, without touching its code.

A site is a place in the network (see `places`): the output of a submodule, one feature of an
output that holds several, or an argument; or ``skip1`` … ``skipN`` and ``bottleneck`` of a
network that splits into `encode` and `decode`: the features on their way to the decoder, which
the encoder itself never sees. Where all sites are of the last kind, or all are features of one
submodule's output, what comes before them runs once for any number of passes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.places import Place, features_of, is_feature, with_features

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
        output: of the submodule whose features are the sites, where that need not run again.
    """

    x: Tensor
    features: tuple[Tensor, ...] | None
    size: tuple[int, int]
    output: Any = None


class _EncodedError(Exception):
    """Ends a forward pass as soon as the encoder is done; never leaves this module."""


class Sites:
    """Access to a network's features, for as long as it is wanted.

    Args:
        module: any network; its weights and code stay as they are.
        names: the sites that `at_site` is called for, in this order where they are parallel.
        taps: names of submodules whose outputs each pass also gives.
        tokens: whether sites may give tokens (N, L, C) or vectors (N, C) too. `at_site` sees them
            as (N, C, L, 1) or (N, C, 1, 1), with an infinite stride: they have no place in the
            image, and so every window begins at the first of them.

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
        self,
        module: nn.Module,
        names: Sequence[str],
        *,
        taps: Sequence[str] = (),
        tokens: bool = False,
    ) -> None:
        self.module = module
        self.names = tuple(names)
        self.taps = tuple(taps)
        self._tokens = tokens
        between = tuple(module.site_names) if isinstance(module, Splits) else ()
        self._between = tuple(name for name in self.names if name in between)
        self._places = [Place.parse(name) for name in self.names if name not in between]
        self._tap_places = [Place.parse(name) for name in self.taps]
        inner = dict(module.named_modules())
        for place in (*self._places, *self._tap_places):
            if not place.module or place.module not in inner:
                known = ", ".join((*between, *(n for n in inner if n)))
                shown = known if len(known) < 400 else known[:400] + ", …"
                raise SettingsError(
                    expected("the site", f"one of {shown}", repr(place.name), "penumbra models RUN")
                )
        self._at_site: AtSite | None = None
        self._width = 1
        self._tapped: dict[str, Tensor] = {}
        self._source = self._common_source(inner)
        self._handles = [
            *(inner[name].register_forward_hook(self._visit(name)) for name in self._hooked()),
            *(
                inner[name].register_forward_pre_hook(self._visit_arguments(name))
                for name in dict.fromkeys(p.module for p in self._places if p.argument is not None)
            ),
            *(
                inner[place.module].register_forward_hook(self._keep(place))
                for place in self._tap_places
            ),
        ]

    def _hooked(self) -> list[str]:
        return list(dict.fromkeys(p.module for p in self._places if p.argument is None))

    def _common_source(self, inner: dict[str, nn.Module]) -> nn.Module | None:
        """The one submodule whose features all sites are, if it can be left out of a pass."""
        names = {place.module if place.item is not None else None for place in self._places}
        name = next(iter(names)) if len(names) == 1 else None
        if name is None or self._between:
            return None
        tapped = (tap.module for tap in self._tap_places)
        return None if any(f"{tap}.".startswith(f"{name}.") for tap in tapped) else inner[name]

    @property
    def encodes_once(self) -> bool:
        """Whether passes share one run of the encoder."""
        splits = isinstance(self.module, Splits) and len(self._between) == len(self.names)
        return splits or self._source is not None

    def _visit(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        places = [p for p in self._places if p.module == name and p.argument is None]

        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
            del module, arguments
            if self._at_site is None:
                return None
            for place in places:
                if place.item is None:
                    output = self._disturb(output, place)
                    continue
                features = features_of(output)
                features = _checked(features, place.item, place)
                features[place.item] = self._disturb(features[place.item], place)
                output = with_features(output, features)
            return output

        return hook

    def _visit_arguments(self, name: str) -> Callable[[nn.Module, Any], Any]:
        places = [p for p in self._places if p.module == name and p.argument is not None]

        def hook(module: nn.Module, arguments: Any) -> Any:
            del module
            if self._at_site is None:
                return None
            given = list(arguments)
            for place in places:
                index = place.argument or 0
                given = _checked(given, index, place)
                given[index] = self._disturb(given[index], place)
            return tuple(given)

        return hook

    def _disturb(self, h: Any, place: Place) -> Tensor:
        if self._tokens and self._at_site is not None and isinstance(h, Tensor):
            if h.ndim == 2:
                return self._at_site(h[:, :, None, None], place.name, math.inf)[:, :, 0, 0]
            if h.ndim == 3:
                turned = self._at_site(h.transpose(1, 2).unsqueeze(3), place.name, math.inf)
                return turned.squeeze(3).transpose(1, 2)
        if not is_feature(h) or self._at_site is None:
            raise _no_feature(place, h)
        return self._at_site(h, place.name, _stride(self._width, h.shape[-1]))

    def _keep(self, place: Place) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            del module, arguments
            if place.item is not None:
                output = _checked(features_of(output), place.item, place)[place.item]
            if not is_feature(output):
                raise _no_feature(place, output)
            self._tapped[place.name] = output

        return hook

    def encode(self, x: Tensor) -> Encoded:
        """Run what all passes share for images (N, C, H, W)."""
        if self._source is not None:
            return Encoded(x, None, (x.shape[-2], x.shape[-1]), output=self._run_source(x))
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
        width, multiple = encoded.x.shape[-1], getattr(self.module, "multiple", 1)
        self._at_site, self._width = at_site, width + -width % multiple
        try:
            if encoded.output is not None:
                with self._source_replaced(encoded.output):
                    logits = self.module(encoded.x)
            elif encoded.features is None:
                logits = self._whole(encoded.x, at_site)
            else:
                logits = self._decode(encoded, at_site)
            return logits, tuple(self._tapped[name] for name in self.taps)
        finally:
            self._at_site = None
            self._tapped.clear()

    def _run_source(self, x: Tensor) -> Any:
        found: list[Any] = []

        def stop(module: nn.Module, arguments: Any, output: Any) -> None:
            del module, arguments
            found.append(output)
            raise _EncodedError

        source: Any = self._source
        handle = source.register_forward_hook(stop)
        try:
            self.module(x)
        except _EncodedError:
            for place in self._places:
                _checked(features_of(found[0]), place.item or 0, place)
            return found[0]
        finally:
            handle.remove()
        raise SettingsError(
            expected(f"the source of {self.names[0]}", "run in a forward pass", "not called",
                     "the outputs of other submodules as sites")
        )  # fmt: skip

    @contextlib.contextmanager
    def _source_replaced(self, output: Any) -> Iterator[None]:
        """Let the source give a kept output; copies, since a decoder may write into its input."""
        source: Any = self._source
        features = [f.clone() if isinstance(f, Tensor) else f for f in features_of(output) or ()]
        own = source.__dict__.get("forward")
        source.forward = lambda *_, **__: with_features(output, features)
        try:
            yield
        finally:
            if own is None:
                del source.forward
            else:
                source.forward = own

    def _whole(self, x: Tensor, at_site: AtSite | None) -> Tensor:
        if not self._between or at_site is None:
            logits: Tensor = self.module(x)
            return logits
        module: Any = self.module
        padded = _pad(x, module.multiple)
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


def _checked(features: list[Any] | None, index: int, place: Place) -> list[Any]:
    if features is None or index >= len(features):
        count = "one value" if features is None else f"{len(features)} of them"
        raise SettingsError(
            expected(f"the site {place.name!r}", "one of several features", count,
                     f"an index below {len(features or ()) or 1}, or {place.module!r} alone")
        )  # fmt: skip
    return features


def _no_feature(place: Place, value: Any) -> SettingsError:
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    return SettingsError(
        expected(f"the feature at {place.name!r}", "of shape (N, C, H, W)", shape,
                 f"'{place.module}[0]' for the first of several features, or another site")
    )  # fmt: skip


def _stride(width: int, of_features: int) -> float:
    """Find the image pixels from one feature to the next.

    A network that pads within itself shows a slightly smaller ratio: what is no whole number
    snaps to a power of two.
    """
    if of_features <= width and width % of_features == 0:
        return float(width // of_features)
    return 2.0 ** max(0, round(math.log2(width / of_features)))


def _pad(x: Tensor, multiple: int) -> Tensor:
    bottom, right = (-size % multiple for size in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
