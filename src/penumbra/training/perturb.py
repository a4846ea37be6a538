"""Disturb features while training; the network that is saved is a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.draws import join_keys
from penumbra.noise.find import find_sites
from penumbra.noise.perturbations import Perturbation, RelativeNoise, make_perturbation
from penumbra.noise.sites import Sites
from penumbra.training.experiment import PerturbationSettings, TrainingSettings

ForwardPass = Callable[..., Any]
"""From images (N, C, H, W) and the step to logits, or to a distribution of them."""

_PERTURBATION = 0x7065727475


def perturbation_from(settings: PerturbationSettings) -> Perturbation:
    """Build the perturbation of an experiment, in training and in inference alike.

    Raises:
        SettingsError: its strength is out of its range.

    Examples:
        >>> perturbation_from(PerturbationSettings(kind="multiplicative", strength=0.5))
        Multiplicative(strength=0.5, name='multiplicative')
    """
    if settings.kind == "noise":
        if settings.strength is None:
            return RelativeNoise(pattern=settings.pattern)
        return RelativeNoise(settings.strength, pattern=settings.pattern)
    return make_perturbation(settings.kind, settings.strength)


def sites_from(settings: PerturbationSettings, network: nn.Module) -> tuple[str, ...]:
    """Name the sites of an experiment's perturbation in a network.

    Raises:
        SettingsError: a site does not exist, or none are found.
    """
    wish = settings.sites
    names = find_sites(network, wish) if isinstance(wish, str) else tuple(wish)
    Sites(network, names).remove()
    return names


def batch_keys(n: int, seed: int, step: int) -> Tensor:
    """Give one key per image of a batch, (n,) int64, from seed, step and place in the batch."""
    return join_keys(torch.arange(n), seed, step)


def make_forward(network: nn.Module, settings: TrainingSettings) -> ForwardPass:
    """Give what a training step calls: the network, its distribution, or it with perturbation.

    Raises:
        SettingsError: the network cannot be trained so.
    """
    if settings.loss == "ssn":
        return _distribution(network, settings)
    if settings.perturbation is None and hasattr(network, "noise_injector"):
        return lambda images, step: network(images, sample=step)
    if settings.perturbation is None:
        return lambda images, step: network(images)  # noqa: ARG005 - one signature for all
    return _Perturbed(network, settings.perturbation, seed=settings.seed)


def _distribution(network: nn.Module, settings: TrainingSettings) -> ForwardPass:
    distribution = getattr(network, "distribution", None)
    if distribution is None:
        raise SettingsError(
            expected("the network for the loss 'ssn'", "one with a distribution of logits",
                     type(network).__name__, "model.name=ssn-unet")
        )  # fmt: skip
    if settings.perturbation is not None:
        raise SettingsError(
            expected("`perturbation`", "absent with the loss 'ssn'", settings.perturbation.kind,
                     "one or the other")
        )  # fmt: skip
    return lambda images, step: distribution(images)  # noqa: ARG005 - one signature for all


class _Perturbed:
    """One forward pass with features disturbed; hooks are there for as long as it lasts."""

    def __init__(self, network: nn.Module, settings: PerturbationSettings, *, seed: int) -> None:
        if hasattr(network, "noise_injector"):
            raise SettingsError(
                expected("`perturbation`", "absent where the network brings its own noise",
                         settings.kind, "model.name=unet")
            )  # fmt: skip
        self.network, self.seed = network, seed
        self.perturbation = perturbation_from(settings)
        self.names = sites_from(settings, network)

    def __call__(self, images: Tensor, step: int) -> Tensor:
        keys = join_keys(batch_keys(len(images), self.seed, step), _PERTURBATION)

        def disturb(h: Tensor, site: str, stride: float) -> Tensor:
            return self.perturbation(h, site, keys=keys, sample=step, stride=stride, origins=None)

        sites = Sites(self.network, self.names)
        try:
            return sites.run(sites.encode(images), disturb)[0]
        finally:
            sites.remove()
