"""How long a training lasts, and the learning rate along the way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl

from penumbra.training.experiment import OptimisationSettings
from penumbra.training.module import learning_rate_factor

DEFAULT_EPOCHS = 60
_NO_BOUND = 1_000_000


def epoch_bound(settings: OptimisationSettings) -> int:
    """Give the number of epochs: the setting, or no bound where the clock bounds the run."""
    if settings.epochs is not None:
        return settings.epochs
    return DEFAULT_EPOCHS if settings.max_minutes is None else _NO_BOUND


@dataclass
class Clock:
    """Seconds of training, those before a resume included."""

    before: float = 0.0
    started: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        running = 0.0 if self.started is None else time.monotonic() - self.started
        return self.before + running


class Budget(pl.Callback):
    """Stop by the clock, and set the learning rate by the share of the budget that is used.

    The share is that of the steps, or of the time where `max_minutes` would come first. A
    deterministic run counts steps alone, since no two runs have the same clock.

    Args:
        settings: the optimisation.
        steps_per_epoch: optimiser steps in an epoch.
    """

    def __init__(self, settings: OptimisationSettings, *, steps_per_epoch: int) -> None:
        self.settings = settings
        self.total_steps = epoch_bound(settings) * steps_per_epoch
        self.max_seconds = None if settings.max_minutes is None else settings.max_minutes * 60
        self.clock = Clock()
        self.reserve = 0.0
        self._step_started = 0.0
        self._step_seconds = 0.0

    def progress(self, step: int) -> float:
        """Give the share of the budget that is used, 0 to 1."""
        share = step / self.total_steps
        if self.max_seconds is not None and not self.settings.deterministic:
            share = max(share, self.clock.elapsed / max(1e-9, self.max_seconds - self.reserve))
        return min(1.0, share)

    @property
    def spent(self) -> bool:
        """Whether one more step, and the validation after it, would overrun the clock."""
        if self.max_seconds is None:
            return False
        return self.clock.elapsed + self.reserve + self._step_seconds >= self.max_seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.clock.started = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Set the learning rate of the step to come."""
        del pl_module, batch, batch_idx
        self._step_started = time.monotonic()
        factor = learning_rate_factor(self.settings.schedule, self.progress(trainer.global_step))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.learning_rate * factor * group.get("rate", 1.0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Stop when the time is up."""
        del pl_module, outputs, batch, batch_idx
        self._step_seconds = time.monotonic() - self._step_started
        if self.spent:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Keep the time, so that a resumed run does not get it twice."""
        return {"elapsed": self.clock.elapsed, "reserve": self.reserve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the time up again."""
        self.clock.before = float(state_dict["elapsed"])
        self.reserve = float(state_dict["reserve"])
