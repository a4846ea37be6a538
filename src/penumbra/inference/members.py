"""One network of a predictor: ready to run, with its calibration and its disturbance."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.backend import Engine
from penumbra.inference.calibration import Calibration
from penumbra.inference.disturbances import ByName, disturbance_of, missing, not_calibrated
from penumbra.inference.heads import Head
from penumbra.inference.samplers import Sampler
from penumbra.inference.skip_noise import Bases, SkipNoise
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.noise.perturbations import InjectedNoise, Perturbation
from penumbra.noise.sites import Encoded, Sites


@dataclass(frozen=True)
class Tiles:
    """A group of tiles of one shape.

    Attributes:
        x: (N, C, h, w) float32.
        keys: (N,) int64, from the seed and the content of each tile's image.
        origins: (N, 2) where each tile begins in its image, in pixels.
    """

    x: Tensor
    keys: Tensor
    origins: Tensor


class Member:
    """A network with what its passes need.

    Args:
        engine: the network on its device.
        calibration: what was learned of it, if anything.
        sampler: which passes will be asked for.
        network: the network as it was loaded, for the noise that it was trained with.
        example: images (1, C, H, W) as the network gets them, to look for its sites.

    Raises:
        SettingsError: the sampler asks for what this network does not have.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        calibration: Calibration | None,
        sampler: Sampler,
        network: nn.Module,
        example: Tensor | None = None,
    ) -> None:
        self.engine = engine
        self.head = Head.of(calibration, int(getattr(network, "n_classes", 1)))
        if sampler.head == "logit-noise" and not self.head.has_logit_noise:
            raise not_calibrated("noise in logit space", "--logit-noise on", calibration)
        if sampler.head == "ssn" and not hasattr(engine.module, "sample_logits"):
            raise missing("a stochastic head", "a run of --model ssn-unet")
        self.perturbation, names = disturbance_of(
            sampler, calibration=calibration, network=network, engine=engine, example=example
        )
        # Dropouts that a network was trained with may lie among tokens.
        self.sites = Sites(
            engine.module, names, taps=self.head.taps, tokens=isinstance(self.perturbation, ByName)
        )
        # Several members may share one network: each takes its hooks away when it goes.
        weakref.finalize(self, self.sites.remove)
        self._calibrated_noise = (
            sampler.disturbance == "noise"
            and sampler.strength is None
            and calibration is not None
            and calibration.noise is not None
        )
        self.short: SkipNoise | None = None
        self._bases: tuple[Encoded, Bases] | None = None
        if isinstance(self.perturbation, InjectedNoise):
            self.short = SkipNoise.of(
                engine.module, self.perturbation.injector, taps=self.head.taps
            )
        if self.short is not None and self.perturbation is not None:
            unet = self.short.unet
            for site, channels in zip(unet.site_names, unet.channels, strict=True):
                _check_channels(self.perturbation, site, channels)

    @property
    def antithetic(self) -> bool:
        """Whether disturbed passes come in pairs of opposite noise."""
        noise = self.perturbation
        return isinstance(noise, InjectedNoise) and bool(noise.injector.antithetic)

    @property
    def encodes_once(self) -> bool:
        """Whether disturbed passes share one run of the encoder."""
        return self.sites.encodes_once

    @torch.inference_mode()
    def encode(self, tiles: Tiles) -> Encoded:
        """Run what all passes over these tiles share."""
        return self.sites.encode(self.engine.place(tiles.x))

    @torch.inference_mode()
    def logits(
        self, encoded: Encoded, tiles: Tiles, sample: int | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one pass: logits and taps, float32; `sample` ``None`` leaves features alone."""
        if sample is not None and self.short is not None:
            logits, taps = self.short.run(
                encoded,
                self._shared(encoded),
                keys=tiles.keys,
                sample=sample,
                origins=tiles.origins,
            )
            return logits.float(), tuple(tap.float() for tap in taps)
        at_site = None
        if sample is not None and self.perturbation is not None:
            at_site = _AtSite(self.perturbation, tiles, sample)
        logits, taps = self.sites.run(encoded, at_site)
        return logits.float(), tuple(tap.float() for tap in taps)

    def _shared(self, encoded: Encoded) -> Bases:
        """Compute what noisy passes over the same features share, once."""
        if self.short is None:
            return ()
        if self._bases is None or self._bases[0] is not encoded:
            self._bases = (encoded, self.short.bases(encoded))
        return self._bases[1]

    @torch.inference_mode()
    def probabilities(self, encoded: Encoded, tiles: Tiles, sample: int | None) -> Tensor:
        """Run one pass: calibrated probabilities (N, C, h, w) float32 on the CPU."""
        logits, taps = self.logits(encoded, tiles, sample)
        # The noise has a temperature of its own; no other disturbance was calibrated.
        noisy = sample is not None and self._calibrated_noise
        scaled = self.head.noisy_logits if noisy else self.head.logits
        return logits_to_probabilities(scaled(logits, taps)).cpu()


@dataclass(frozen=True)
class _AtSite:
    perturbation: Perturbation
    tiles: Tiles
    sample: int

    def __call__(self, h: Tensor, site: str, stride: float) -> Tensor:
        _check_channels(self.perturbation, site, h.shape[1])
        return self.perturbation(
            h,
            site,
            keys=self.tiles.keys,
            sample=self.sample,
            stride=stride,
            origins=self.tiles.origins,
        )


def _check_channels(perturbation: Perturbation, site: str, channels: int) -> None:
    """Refuse noise that was fitted to features of another network."""
    if not isinstance(perturbation, InjectedNoise) or site not in perturbation.injector.sites:
        return
    known = len(perturbation.injector.std(site))
    if known != channels:
        raise RunError(
            expected(f"the noise at {site}", f"that of a network of {known} channels there",
                     channels, "`penumbra calibrate` again, for this network")
        )  # fmt: skip


def check_members(members: Sequence[Any], n_classes: int) -> None:
    """Refuse networks that do not give the same classes.

    Raises:
        SettingsError: one has another number of logits.
    """
    for member in members:
        if getattr(member, "n_classes", n_classes) != n_classes:
            raise SettingsError(
                expected("the members", f"all of {n_classes} logits", member.n_classes,
                         "runs that were trained on the same classes")
            )  # fmt: skip
