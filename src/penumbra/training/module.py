"""One training step, as Lightning wants it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from penumbra.inference.backend import in_channels_last
from penumbra.models.presence import watched
from penumbra.models.ssn_unet import LowRankNormal
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.training.augmentation import Augmentation
from penumbra.training.encoder import frozen_parts, slower_parts
from penumbra.training.experiment import (
    OptimisationSettings,
    Optimizer,
    Schedule,
    TrainingSettings,
)
from penumbra.training.losses import SSN_SAMPLES, LossFunction
from penumbra.training.perturb import batch_keys, make_forward
from penumbra.training.presence import presence_loss

_WARM_UP = 0.1
_FIRST_RATE = 0.05
_LAST_RATE = 0.005


def learning_rate_factor(schedule: Schedule, progress: float) -> float:
    """Compute the factor of the learning rate at a share `progress` of the budget.

    ``one_cycle`` rises linearly over the first tenth, then falls as a cosine; ``cosine`` only
    falls; ``poly`` is (1 − progress)^0.9, as nnU-Net has it (10.1038/s41592-020-01008-z).

    Examples:
        >>> [round(learning_rate_factor("one_cycle", p), 3) for p in (0, 0.1, 1)]
        [0.05, 1.0, 0.005]
    """
    progress = min(max(progress, 0.0), 1.0)
    if schedule == "constant":
        return 1.0
    if schedule == "poly":
        return max(_LAST_RATE, math.pow(1 - progress, 0.9))
    if schedule == "one_cycle":
        if progress < _WARM_UP:
            return _FIRST_RATE + (1 - _FIRST_RATE) * progress / _WARM_UP
        progress = (progress - _WARM_UP) / (1 - _WARM_UP)
    return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(
    name: Optimizer,
    parameters: Sequence[nn.Parameter],
    settings: OptimisationSettings,
    *,
    gates: Sequence[nn.Parameter] = (),
    gate_rate: float = 1.0,
    slower: Sequence[tuple[Sequence[nn.Parameter], float]] = (),
) -> torch.optim.Optimizer:
    """Build an optimiser; biases and norms (one-dimensional parameters) are not decayed.

    Args:
        name: which.
        parameters: of the network.
        settings: learning rate and decay.
        gates: of noise injectors, not among `parameters`. They are a group of their own, without
            decay: it would pull their logits to 0, the gates to one half, and pass for learning.
        gate_rate: their learning rate, relative to that of the weights.
        slower: those of `parameters` that learn at another rate, and its factor.
    """
    apart = {id(p) for some, _ in slower for p in some}
    rest = [p for p in parameters if id(p) not in apart]
    groups = _decayed(rest, settings)
    for some, rate in slower:
        groups += [group | {"rate": rate} for group in _decayed(some, settings)]
    if gates:
        groups.append({"params": list(gates), "weight_decay": 0.0, "rate": gate_rate})
    if name == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.99, nesterov=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _decayed(
    parameters: Sequence[nn.Parameter], settings: OptimisationSettings
) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class SegmentationModule(pl.LightningModule):
    """A network, its loss and its augmentation.

    Args:
        network: logits (N, K, H, W) from images (N, C, H, W).
        loss: logits and masks to a scalar.
        augmentation: how batches are varied.
        settings: the optimisation.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: LossFunction,
        augmentation: Augmentation,
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.network = in_channels_last(network)
        self.loss = loss
        self.augmentation = augmentation
        self.settings = settings
        self.forward_pass = make_forward(self.network, settings)
        self._frozen = frozen_parts(self.network, settings)
        self.train()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of one augmented batch; all its draws come from (seed, step)."""
        del batch_idx
        images, masks = batch
        key = _step_seed(self.settings.seed, self.global_step)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(key)
            images, masks = self.augmentation(images, masks, generator)
        # Dropout layers draw from torch's global state; the fork leaves the caller's as it was.
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(key)
            images = images.contiguous(memory_format=torch.channels_last)
            with watched(self.network) as watch:
                output = self.forward_pass(images, step=self.global_step)
                presence = None if watch is None else watch.take()
        # The sums of a region loss need more digits than half precision has.
        with torch.autocast(device_type=self.device.type, enabled=False):
            if isinstance(output, LowRankNormal):
                keys = batch_keys(len(images), self.settings.seed, self.global_step)
                logits = output.float().sample(keys.to(images.device), first=0, count=SSN_SAMPLES)
            else:
                logits = output.float()
            loss = self.loss(logits, masks.long())
            if presence is None:
                return loss
            return loss + self.settings.presence_weight * presence_loss(presence.float(), masks)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - the base's signature
        """Switch the mode of all but what is frozen, which stays in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Tell a noise injector which epoch it is, since its decay is a schedule over epochs."""
        injector = getattr(self.network, "noise_injector", None)
        if isinstance(injector, NeuralNoiseInjector):
            injector.set_epoch(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimiser; the rate is set before each step by the budget's callback."""
        injectors = [m for m in self.network.modules() if isinstance(m, NeuralNoiseInjector)]
        gates = [p for injector in injectors for p in injector.parameters() if p.requires_grad]
        known = {id(gate) for gate in gates}
        parameters = [
            p for p in self.network.parameters() if p.requires_grad and id(p) not in known
        ]
        return make_optimizer(
            self.settings.optimizer,
            parameters,
            self.settings,
            gates=gates,
            gate_rate=self.settings.gate_rate,
            slower=slower_parts(self.network, self.settings),
        )


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step * 7_919 + 17) % 2**62
