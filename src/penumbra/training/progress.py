"""How a training says how far it is: a bar for a person, plain lines for a log."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from penumbra.training.budget import Budget
from penumbra.training.keeper import Keeper

_QUIET_SECONDS = 10.0


class TrainingBar(pl.Callback):
    """One line: how much of the budget is used, the epoch, the loss, the best validation Dice."""

    def __init__(self, budget: Budget, keeper: Keeper, console: Console) -> None:
        self.budget = budget
        self.keeper = keeper
        self.console = console
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        self._task: TaskID | None = None
        self._loss = float("nan")
        self._told_at = -_QUIET_SECONDS

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        del trainer, pl_module
        if self.console.is_terminal:
            self._task = self.progress.add_task("training", total=1.0, text="")
            self.progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        del pl_module, batch
        if self._task is None or batch_idx % 4:
            return
        loss = float(outputs["loss"].detach())
        # A running mean over about the last 40 batches; the first value starts it.
        self._loss = loss if math.isnan(self._loss) else 0.9 * self._loss + 0.1 * loss
        best = "" if self.keeper.best is None else f" · best validation Dice {self.keeper.best:.3f}"
        text = f"epoch {trainer.current_epoch + 1} · loss {self._loss:.3f}{best}"
        done = self.budget.progress(trainer.global_step)
        if self.budget.max_seconds is not None:
            done = max(done, min(1.0, self.budget.clock.elapsed / self.budget.max_seconds))
        self.progress.update(self._task, completed=done, text=text)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a plain line where no person watches (a log file), every ten seconds at most."""
        del trainer, pl_module
        elapsed = self.budget.clock.elapsed
        if self.console.is_terminal or elapsed - self._told_at < _QUIET_SECONDS:
            return
        self._told_at = elapsed
        row = self.keeper.history[-1]
        best = "" if self.keeper.best is None else f" · best validation Dice {self.keeper.best:.3f}"
        text = f"epoch {row['epoch'] + 1} · loss {row['loss']:.3f}{best} · {elapsed:.0f} s"
        self.console.print(text, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar standing; a run that stops early is done all the same."""
        del trainer, pl_module
        if self._task is not None:
            self.progress.update(self._task, completed=1.0)
        self.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        del trainer, pl_module, exception
        self.stop()

    def stop(self) -> None:
        """Take the bar down."""
        self.progress.stop()
