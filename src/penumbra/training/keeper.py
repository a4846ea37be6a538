"""What happens at the end of an epoch: validate, keep the best, write history and checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from penumbra.storage import atomic_path, write_text
from penumbra.training.budget import Budget
from penumbra.training.validation import Validation

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
HISTORY = "history.jsonl"
_VALIDATION_SHARE = 8


class Keeper(pl.Callback):
    """Keep what an epoch gave, in an order that a kill at any moment cannot spoil.

    First the best weights, then the history, last the checkpoint. A run killed in between goes
    on from the checkpoint before, and writes the same again.

    Args:
        run: the run folder.
        budget: knows the time.
        validate: scores the network; ``None`` where there is no validation split.
        save_best: writes the network as the run's model.
        patience: epochs without a better Dice before training stops; 0 = never.
        validate_every: epochs from one validation to the next, at least.
        by_the_clock: validate no oftener than costs a ninth of the time.
    """

    def __init__(
        self,
        run: Path,
        *,
        budget: Budget,
        validate: Callable[[nn.Module], Validation] | None,
        save_best: Callable[[nn.Module], None],
        patience: int,
        validate_every: int,
        by_the_clock: bool,
    ) -> None:
        self.run = run
        self.budget = budget
        self.validate = validate
        self.save_best = save_best
        self.patience = patience
        self.validate_every = validate_every
        self.by_the_clock = by_the_clock
        self.best: float | None = None
        self.best_epoch = -1
        self.history: list[dict[str, Any]] = []
        self.latest: Validation | None = None
        self._losses: list[Tensor] = []
        self._validated_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Collect the loss; it is read at the end of the epoch, so that no step waits for it."""
        del trainer, pl_module, batch, batch_idx
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate where it is due, then write best weights, history and checkpoint."""
        network = pl_module.get_submodule("network")
        epoch = trainer.current_epoch
        last = trainer.should_stop or epoch + 1 >= (trainer.max_epochs or 0)
        validation = self._validate(epoch, network, last=last)
        score = None if validation is None else validation.dice
        if self.validate is None or (
            score is not None and (self.best is None or score > self.best)
        ):
            self.best, self.best_epoch = score, epoch
            self.save_best(network)
        if self.patience and epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True
        loss = sum(float(loss) for loss in self._losses) / max(1, len(self._losses))
        self._losses = []
        self._record(trainer, epoch, loss, validation)
        with atomic_path(self.run / LAST_CHECKPOINT) as temporary:
            trainer.save_checkpoint(temporary)

    def _validate(self, epoch: int, network: nn.Module, *, last: bool) -> Validation | None:
        due = (epoch + 1) % self.validate_every == 0
        if self.by_the_clock:
            since = time.monotonic() - self._validated_at
            due = due and since >= _VALIDATION_SHARE * self.budget.reserve
        if self.validate is None or not (due or last):
            return None
        started = time.monotonic()
        self.latest = self.validate(network)
        self._validated_at = time.monotonic()
        self.budget.reserve = self._validated_at - started
        return self.latest

    def _record(
        self, trainer: pl.Trainer, epoch: int, loss: float, validation: Validation | None
    ) -> None:
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": trainer.global_step,
            "seconds": round(self.budget.clock.elapsed, 2),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": loss,
        }
        if validation is not None:
            row |= {"validation_dice": validation.dice, "validation_nll": validation.nll}
        self.history.append(row)
        write_text(self.run / HISTORY, "".join(json.dumps(line) + "\n" for line in self.history))
        if trainer.logger is not None:
            numbers = {k: v for k, v in row.items() if k not in ("epoch", "step")}
            trainer.logger.log_metrics(numbers, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Keep what the next epoch compares with."""
        return {"best": self.best, "best_epoch": self.best_epoch, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again; history lines of an unfinished epoch fall away."""
        self.best = state_dict["best"]
        self.best_epoch = state_dict["best_epoch"]
        self.history = list(state_dict["history"])
