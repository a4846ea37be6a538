"""The same noise in any torch network, without touching its code or its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.doubles import in_double
from penumbra.noise.draws import image_keys, join_keys
from penumbra.noise.find import SiteKind, find_sites
from penumbra.noise.injector import NeuralNoiseInjector, NoiseMode
from penumbra.noise.patterns import Pattern
from penumbra.noise.probe import evaluating, example_for
from penumbra.noise.sites import Sites


def noise_aware(
    module: nn.Module,
    sites: SiteKind | Sequence[str] = "skips",
    *,
    injector: NeuralNoiseInjector | None = None,
    example: Tensor | None = None,
    pattern: Pattern | None = None,
) -> NoiseAware:
    """Put noise into a network at named sites: h′ = h + g_l · scale · s_lc · n.

    Args:
        module: any network that takes images (N, C, H, W). Its code, its weights and the keys of
            its state dict stay as they are.
        sites: ``"skips"`` or ``"encoder"``, found by `find_sites`, or names of places: of a
            submodule (``"layer1"``), of a feature among several in its output
            (``"encoder[2]"``), of an argument that it is called with (``"up.0(1)"``).
        injector: fresh, or with just these sites already, such as one that was calibrated; one
            with scale 1 and gates of one half by default.
        example: images (N, C, H, W) that fit the network; see `find_sites`.
        pattern: of the noise; the injector's own where ``None``.

    Returns:
        The network with noise. Until `remove` it holds hooks of its own in `module`, which do
        nothing when `module` itself is called.

    Raises:
        SettingsError: a site does not exist, none are found, or the injector is in use.

    Examples:
        >>> vgg = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        ...                     nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
        >>> x = torch.rand(1, 1, 16, 16)
        >>> with noise_aware(vgg.eval()) as noisy:
        ...     differ = [bool((noisy(x, mode) == vgg(x)).all()) for mode in ("disabled", "single")]
        >>> noisy.sites, differ
        (('1', '4'), [True, False])
    """
    if sites in ("skips", "encoder"):
        names = find_sites(module, sites, example)
    else:
        names = (sites,) if isinstance(sites, str) else tuple(sites)
    if not names:
        raise SettingsError(expected("the sites", "at least one", "none", "sites='skips'"))
    if len(set(names)) < len(names):
        raise SettingsError(expected("the sites", "different", names, "each name once"))
    if injector is None:
        injector = NeuralNoiseInjector(noise_scale=1.0)
    if injector.sites and set(injector.sites) != set(names):
        raise SettingsError(
            expected("`injector`", f"fresh, or with the sites {', '.join(names)}",
                     f"one with {', '.join(injector.sites)}", "one per network")
        )  # fmt: skip
    if pattern is not None:
        injector.pattern = pattern
    return NoiseAware(module, names, injector, example=example)


class NoiseAware:
    """A network with an injector at its sites; made by `noise_aware`.

    Attributes:
        module: the network itself.
        injector: its gates are parameters, beside those of the network.
        sites: their names.
    """

    def __init__(
        self,
        module: nn.Module,
        sites: Sequence[str],
        injector: NeuralNoiseInjector,
        *,
        example: Tensor | None = None,
    ) -> None:
        self.module = module
        self.injector = injector
        self.sites = tuple(sites)
        self._sites = Sites(module, sites)
        try:
            self._fit_injector(example)
        except SettingsError:
            self.remove()
            raise
        weight = next(module.parameters(), torch.zeros(()))
        injector.to(weight.device)

    def _fit_injector(self, example: Tensor | None) -> None:
        """Add the sites to the injector, or check that they fit its own."""
        for site, channels in self._channels(example).items():
            if site not in self.injector.sites:
                self.injector.add_site(site, channels=channels)
            elif len(self.injector.std(site)) != channels:
                raise SettingsError(
                    expected(f"the injector's channels at {site}", str(channels),
                             len(self.injector.std(site)), "an injector of this network")
                )  # fmt: skip

    def _channels(self, example: Tensor | None) -> dict[str, int]:
        x = example_for(self.module) if example is None else example
        found: dict[str, int] = {}

        def look(h: Tensor, site: str, stride: float) -> Tensor:
            del stride
            found[site] = h.shape[1]
            return h

        with evaluating(self.module), torch.no_grad():
            self._sites.run(self._sites.encode(x), look)
        absent = [site for site in self.sites if site not in found]
        if absent:
            raise SettingsError(
                expected(f"the site {absent[0]!r}", "reached in a forward pass", "not reached",
                         "'encoder', or the name of another")
            )  # fmt: skip
        return {site: found[site] for site in self.sites}

    def __call__(
        self,
        x: Tensor,
        noise_mode: NoiseMode | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        keys: Tensor | None = None,
        origins: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: (N, C, H, W).
            noise_mode: see `NoiseMode`; ``"training"`` while the network trains and
                ``"disabled"`` in evaluation where not given.
            seed: what the draws are made from, besides the image's content.
            sample: which pass, for the ensemble modes.
            keys: (N,) int64, one per image, where `x` are windows: those of the whole images
                (`draws.image_keys`), so that windows of one image see one field.
            origins: (N, 2) where windows lie in their images, in pixels; ``None`` for whole ones.

        Returns:
            What the network gives for `x`: with ``"disabled"``, the same bits as without noise.
        """
        mode: NoiseMode = noise_mode or ("training" if self.module.training else "disabled")
        if mode == "disabled":
            logits: Tensor = self.module(x)
            return logits
        drawn = join_keys(image_keys(x) if keys is None else keys, seed)

        def noisy(h: Tensor, site: str, stride: float) -> Tensor:
            disturbed: Tensor = self.injector(
                h,
                site,
                keys=drawn,
                mode=mode,
                sample=sample,
                stride=stride,
                origins=origins,
            )
            return disturbed

        return self._sites.run(self._sites.encode(x), noisy)[0]

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> Self:
        """Measure the channels' means and standard deviations over all pixels of all images.

        Args:
            batches: of images (N, C, H, W).

        Raises:
            SettingsError: there are no images, or a feature is not finite, as with NaN weights.
        """
        sums: dict[str, Tensor] = {}

        def add(h: Tensor, site: str, stride: float) -> Tensor:
            del stride
            z = in_double(h).transpose(0, 1).flatten(1)
            now = torch.stack([torch.full_like(z[:, 0], z.shape[1]), z.sum(1), z.square().sum(1)])
            sums[site] = sums[site] + now if site in sums else now
            return h

        with evaluating(self.module):
            for batch in batches:
                self._sites.run(self._sites.encode(batch), add)
        if not sums:
            raise SettingsError(expected("`batches`", "at least one", "none", "some images"))
        for site, (count, total, squares) in sums.items():
            mean = total / count
            std = (squares / count - mean.square()).clamp_min(0).sqrt()
            self.injector.store(site, std=std.float(), mean=mean.float())
        return self

    def remove(self) -> None:
        """Take the hooks out; the network is as it was found."""
        self._sites.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()
