"""A frozen network before its held-out tiles: what passes share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from penumbra.calibration.held_out import HeldOut
from penumbra.errors import SettingsError, expected
from penumbra.inference.backend import Engine, choose_precision
from penumbra.inference.calibration import Temperature
from penumbra.models.weights import check_weights
from penumbra.noise.doubles import in_double
from penumbra.noise.find import find_sites, find_taps
from penumbra.noise.sites import AtSite, Encoded, Sites
from penumbra.progress import Progress, silent

LEAST_STD = 1e-6
"""A channel that never changes has no spread; so small a one is no noise, and can be divided by."""

_MOST_CACHED = 2**30


@dataclass(frozen=True)
class Plain:
    """The undisturbed pass over one tile.

    Attributes:
        logits: (1, K, h, w).
        taps: the decoder's features.
    """

    logits: Tensor
    taps: tuple[Tensor, ...]


class Frozen:
    """A network whose weights stay as they are, before held-out tiles.

    Keep one for many fits: features and undisturbed passes are computed once. Undisturbed passes
    are in float32. Those with noise, of which fits need hundreds, are in bfloat16 where the
    device computes it fast, as predictions are.

    Args:
        network: images in, logits out.
        held_out: the tiles.
        device: where the network runs.
        progress: wraps the steps of fits and the tiles of scores.

    Attributes:
        held_out: the tiles.
        progress: as given.
        module: the network in float32.
        noisy: what runs passes with noise.
        n_logits: K.
        taps: names of the decoder's features, coarsest first; empty where none are found.
        temperatures: those that were fitted, by tiles, kind and seed: local ones are dear.

    Raises:
        RunError: a weight is not finite; the text names the tensor.
    """

    def __init__(
        self,
        network: nn.Module,
        held_out: HeldOut,
        *,
        device: str = "auto",
        progress: Progress = silent,
    ) -> None:
        check_weights(network)
        self.held_out, self.progress = held_out, progress
        engine = Engine.of(network, device=device, precision="fp32")
        self._engine = engine
        self.module, self.device = engine.module, engine.device
        # fp16 is no choice: gradients of gates would vanish in it.
        fast = choose_precision("auto", self.device) == "bf16"
        self.noisy = Engine.of(network, device=device, precision="bf16") if fast else engine
        self.example = held_out.tiles[0].x.to(self.device)
        try:
            self.taps: tuple[str, ...] = find_taps(self.module, self.example)
        except SettingsError:
            self.taps = ()
        self.temperatures: dict[tuple[tuple[int, ...], str, int], Temperature] = {}
        self._plain: list[Plain] | None = None
        self._reached: dict[tuple[str, ...], Reached] = {}

    @property
    def plain(self) -> list[Plain]:
        """The undisturbed pass over every tile."""
        if self._plain is None:
            sites = Sites(self.module, (), taps=self.taps)
            with torch.no_grad():
                self._plain = [
                    Plain(*sites.run(sites.encode(self._engine.place(tile.x))))
                    for tile in self.held_out.tiles
                ]
            sites.remove()
        return self._plain

    @property
    def n_logits(self) -> int:
        """K."""
        return int(self.plain[0].logits.shape[1])

    def units(self, index: int) -> float:
        """Give the pixels of a tile, in those of 128 × 128: what a pass over it costs."""
        height, width = self.held_out.tiles[index].truth.shape[-2:]
        return float(height * width / 128**2)

    def alike(self, tiles: Sequence[int]) -> list[list[int]]:
        """Sort tiles by their shape."""
        by_shape: dict[torch.Size, list[int]] = {}
        for index in tiles:
            by_shape.setdefault(self.held_out.tiles[index].x.shape, []).append(index)
        return list(by_shape.values())

    def truth(self, index: int) -> Tensor:
        """Give the truth of a tile beside the logits, (1, h, w)."""
        return self.held_out.tiles[index].truth.to(self.device)

    def site_names(self, sites: str) -> tuple[str, ...]:
        """Find ``skips`` or ``encoder``, or part names that are joined by commas.

        Raises:
            SettingsError: none are found, or a name is empty or given twice.
        """
        if sites in ("skips", "encoder"):
            return find_sites(self.module, sites, self.example)  # type: ignore[arg-type]
        names = tuple(name.strip() for name in sites.split(","))
        if not all(names) or len(set(names)) != len(names):
            raise SettingsError(
                expected("the sites", "'skips', 'encoder' or different names joined by commas",
                         repr(sites), "--sites skips")
            )  # fmt: skip
        return names

    def at(self, names: Sequence[str]) -> Reached:
        """Reach the network's features at some sites.

        Raises:
            SettingsError: there is no such site.
        """
        wanted = tuple(names)
        if wanted not in self._reached:
            self._reached[wanted] = Reached(self, wanted)
        return self._reached[wanted]


@dataclass(frozen=True)
class SiteStatistics:
    """What the features at a site are like on the held-out tiles.

    Attributes:
        mean: (C,).
        std: (C,), at least `LEAST_STD`.
    """

    mean: Tensor
    std: Tensor


class Reached:
    """The features of a frozen network at some sites.

    Args:
        frozen: the network.
        names: the sites.

    Attributes:
        names: the sites.
        statistics: of each of them, measured here, so that no layer of the network has to know
            its own.
    """

    def __init__(self, frozen: Frozen, names: tuple[str, ...]) -> None:
        self.names = names
        self._frozen = frozen
        self._sites = Sites(frozen.noisy.module, names, taps=frozen.taps)
        self._cache: dict[int, Encoded] = {}
        self._cached = 0
        self.statistics = self._measure()

    def run(
        self, tiles: Sequence[int], at_site: AtSite | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run tiles of one shape side by side, the same one several times if so wished.

        Gradients flow to what `at_site` uses. Logits are float32, the taps as they come.
        """
        encoded = _joined([self._encoded(index) for index in tiles])
        logits, taps = self._sites.run(encoded, at_site)
        return logits.float(), taps

    def _encoded(self, index: int) -> Encoded:
        if index in self._cache:
            return self._cache[index]
        x = self._frozen.noisy.place(self._frozen.held_out.tiles[index].x)
        with torch.no_grad():
            encoded = self._sites.encode(x)
        size = sum(f.nbytes for f in (encoded.x, *(encoded.features or ())))
        if self._cached + size <= _MOST_CACHED:
            self._cache[index] = encoded
            self._cached += size
        return encoded

    @torch.no_grad()
    def _measure(self) -> dict[str, SiteStatistics]:
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}

        def watch(h: Tensor, name: str, stride: float) -> Tensor:
            del stride
            values = in_double(h)
            found = torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
            sums[name] = sums.get(name, 0) + found
            counts[name] = counts.get(name, 0) + h.shape[0] * h.shape[2] * h.shape[3]
            return h

        for index in range(len(self._frozen.held_out.tiles)):
            self.run([index], watch)
        missing = [name for name in self.names if name not in sums]
        if missing:
            raise SettingsError(
                expected(f"the site {missing[0]!r}", "reached in a forward pass", "never called",
                         "--sites skips")
            )  # fmt: skip
        where = self._frozen.device
        return {name: _statistics(sums[name] / counts[name], where) for name in self.names}


def _joined(encoded: Sequence[Encoded]) -> Encoded:
    """Put what the encoder gave for several tiles side by side.

    What is not a list of features of the house's own networks is made again by the pass.
    """
    if len(encoded) == 1:
        return encoded[0]
    x = torch.cat([one.x for one in encoded])
    lists = [one.features for one in encoded if one.features is not None]
    if not lists:
        return Encoded(x, None, encoded[0].size)
    return Encoded(
        x, tuple(torch.cat(level) for level in zip(*lists, strict=True)), encoded[0].size
    )


def _statistics(moments: Tensor, device: torch.device) -> SiteStatistics:
    mean, square = moments
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(LEAST_STD)
    return SiteStatistics(mean.float().to(device), std.float().to(device))
