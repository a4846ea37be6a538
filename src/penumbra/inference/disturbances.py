"""What the passes of a sampler do to a network's features, and at which sites."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.inference.backend import Engine
from penumbra.inference.calibration import Calibration
from penumbra.inference.samplers import MASKS, Sampler
from penumbra.noise.draws import join_keys
from penumbra.noise.find import find_sites
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.noise.patterns import Pattern
from penumbra.noise.perturbations import (
    DropBlock,
    Dropout,
    InjectedNoise,
    Masksembles,
    Multiplicative,
    Perturbation,
    RelativeNoise,
)

_DROPOUTS = (nn.Dropout, nn.Dropout2d)


def disturbance_of(
    sampler: Sampler,
    *,
    calibration: Calibration | None,
    network: nn.Module,
    engine: Engine,
    example: Tensor | None = None,
) -> tuple[Perturbation | None, tuple[str, ...]]:
    """Make the disturbance that a sampler asks for, on the engine's device, and name its sites.

    Noise is the calibration's, else that which the network was trained with; noise of a strength
    that is asked for is relative to what the features do. Dropout is at the dropouts that the
    network was trained with, where it has any and no strength is asked for.
    Everything else goes to the sites that `find_sites` finds.

    Args:
        sampler: which passes.
        calibration: what was learned of the network, if anything.
        network: as it was loaded, in float32.
        engine: the same, ready to run.
        example: images (N, C, H, W) for networks whose sites must be looked for.

    Raises:
        SettingsError: the network has no such noise, its noise was never measured, or no sites
            are found.
    """
    if sampler.disturbance is None:
        return None, ()
    if sampler.disturbance == "noise" and sampler.strength is None:
        return _noise(calibration, network, engine.device)
    if sampler.disturbance == "dropout":
        trained = _trained_dropouts(network)
        if trained and sampler.strength is None:
            return ByName(trained), tuple(trained)
    names = tuple(getattr(network, "site_names", ()))
    if not names:
        shown = None if example is None else engine.place(example)
        names = find_sites(engine.module, "skips", shown)
    made: dict[str, Any] = {
        "noise": lambda: RelativeNoise(sampler.strength or 0.0, sampler.pattern or Pattern()),
        "dropout": lambda: Dropout(sampler.strength or 0.2, whole_maps=False),
        "dropblock": lambda: DropBlock(sampler.strength or 0.1),
        "multiplicative": lambda: Multiplicative(sampler.strength or 0.3),
        "masksembles": lambda: Masksembles(n_masks=MASKS, scale=sampler.strength or 2.0),
    }
    return made[sampler.disturbance](), names


def has_own_noise(network: nn.Module, calibration: Calibration | None) -> bool:
    """Whether a run has noise of its own: calibrated, or trained with and measured."""
    if calibration is not None and calibration.noise is not None:
        return True
    return isinstance(getattr(network, "noise_injector", None), NeuralNoiseInjector)


def missing(what: str, try_: str) -> SettingsError:
    """Say that a run lacks what a sampler needs."""
    return SettingsError(expected("the run", f"one with {what}", "none of it", try_))


def not_calibrated(what: str, option: str, calibration: Calibration | None) -> SettingsError:
    """Say that a calibration, or the lack of one, leaves a sampler without its noise."""
    if calibration is None:
        return SettingsError(
            expected("the run", f"calibrated, with {what}", "one without a calibration",
                     "`penumbra calibrate RUN SOURCE` first")
        )  # fmt: skip
    return SettingsError(
        expected("the calibration", f"one with {what}", "one that was better without it",
                 f"`penumbra calibrate RUN SOURCE {option}` to have it all the same")
    )  # fmt: skip


def _noise(
    calibration: Calibration | None, network: nn.Module, device: torch.device
) -> tuple[Perturbation, tuple[str, ...]]:
    if calibration is not None and calibration.noise is not None:
        noise = calibration.noise
        injector = NeuralNoiseInjector.from_sites(
            {name: site.model_dump() for name, site in noise.sites.items()},
            antithetic=noise.antithetic,
        )
        return InjectedNoise(injector.to(device)), tuple(noise.sites)
    trained = getattr(network, "noise_injector", None)
    if not isinstance(trained, NeuralNoiseInjector):
        raise not_calibrated("noise", "--noise on", calibration)
    trained.require_measured()
    # The engine's own copy has been rounded to the engine's precision; amplitudes need not be.
    return InjectedNoise(copy.deepcopy(trained).to(device)), trained.sites


def _trained_dropouts(network: nn.Module) -> dict[str, Perturbation]:
    return {
        name: Dropout(module.p, whole_maps=isinstance(module, nn.Dropout2d))
        for name, module in network.named_modules()
        if isinstance(module, _DROPOUTS) and module.p > 0
    }


class ByName:
    """A disturbance of its own at each site, such as the dropouts a network was trained with.

    Networks that look at windows put several rows of features per image side by side; each row
    then has draws of its own.

    Args:
        parts: the disturbance of each site.
    """

    name = "dropout"

    def __init__(self, parts: Mapping[str, Perturbation]) -> None:
        self.parts = dict(parts)

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """Disturb the features of a site."""
        part = self.parts[site]
        rows = h.shape[0] // max(1, len(keys))
        if rows > 1:
            numbers = torch.arange(rows, device=keys.device).repeat(len(keys))
            keys = join_keys(keys.repeat_interleave(rows), numbers)
            origins = None if origins is None else origins.repeat_interleave(rows, dim=0)
        return part(h, site, keys=keys, sample=sample, stride=stride, origins=origins)
