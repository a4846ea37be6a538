"""Train a network: from an experiment to a run folder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from penumbra.data.manifest import write_manifest
from penumbra.data.sample import Finding
from penumbra.data.split_findings import split_findings
from penumbra.errors import ModelError, RunError, SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.inference.backend import choose_device, choose_precision
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence_run import choose_presence
from penumbra.models.presence import head_of
from penumbra.models.storage import StoredModel, save_model
from penumbra.pages.words import count
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable, write_text
from penumbra.training.augmentation import Augmentation
from penumbra.training.batches import CropSet, EpochSampler, WorkingSet, batched, usable
from penumbra.training.budget import Budget, epoch_bound
from penumbra.training.experiment import Experiment, TrainingSettings
from penumbra.training.keeper import Keeper
from penumbra.training.losses import make_loss
from penumbra.training.module import SegmentationModule
from penumbra.training.perturb import make_forward
from penumbra.training.plan import TrainingPlan, make_plan
from penumbra.training.presence import add_presence_head
from penumbra.training.progress import TrainingBar
from penumbra.training.resume import resumed, take_up
from penumbra.training.run import EXPERIMENT, Run, versions
from penumbra.training.soft_masks import soften
from penumbra.training.surroundings import bounded_threads, passed_on_keyboard, quiet
from penumbra.training.validation import Validation, validate

_LEAST_SAMPLES = 256
_TOLD = 5
_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        run: the run folder.
        epochs: epochs run, those before a resume included.
        seconds: training time, likewise.
        validation_dice: the best validation Dice, or ``None`` without a validation split.
        decisions: what was decided for the user.
        findings: samples that could not be used, and why.
    """

    run: Path
    epochs: int
    seconds: float
    validation_dice: float | None
    decisions: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "validation_dice": self.validation_dice,
            "decisions": list(self.decisions),
            "findings": [finding.to_json() for finding in self.findings],
        }


def train(
    experiment: Experiment,
    out: Path | str,
    *,
    resume: bool = False,
    console: Console | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train a network and write a run folder.

    Args:
        experiment: what to train, on what, how; ignored for `resume` except for its bounds
            (`epochs`, `max_minutes`), which may be raised.
        out: the run folder; must be new, empty, or a run to resume.
        resume: go on from the last checkpoint, or begin anew where the run was cut off before it
            had one. A deterministic run ends with the same weights, bit for bit, as one that was
            never cut off.
        console: where the training's progress bar goes; none without it.
        progress: shows how many samples have been read before it starts.

    Raises:
        RunError: the folder already holds something, or there is nothing to resume.
        SettingsError, SourceError, ModelError: the experiment cannot be carried out.
        StorageError: the folder cannot be written.
    """
    run = Run(Path(out))
    if resume:
        experiment = resumed(run, experiment)
        if run.manifest.is_file():
            # The split is the run's own, whatever has been added to the folder since.
            experiment = experiment.model_copy(update={"source": str(run.manifest)})
    elif run.folder.is_dir() and any(run.folder.iterdir()):
        raise RunError(
            expected(f"--out {run.folder}", "a new or empty folder", "one that holds files",
                     "--resume to go on with that run, or another --out")
        )  # fmt: skip
    plan = make_plan(experiment, progress=progress)
    check_writable(run.folder)
    # Whatever a library draws from the global state in here, the caller's stays as it was.
    forked = torch.random.fork_rng(devices=[])
    with quiet(), bounded_threads(experiment.training.threads), forked:
        return _Training(plan, run, resume=resume, console=console, progress=progress).go()


def tell(console: Console, decisions: Sequence[str], findings: Sequence[Finding]) -> None:
    """Say what was decided and found before the hours that it may cost."""
    for decision in decisions:
        console.print(f"note: {decision}", highlight=False, markup=False, soft_wrap=True)
    for finding in findings[:_TOLD]:
        text = f"{finding.severity}: {finding.message}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    if len(findings) > _TOLD:
        console.print(f"… and {len(findings) - _TOLD} more findings (see --json)")


class _Training:
    """One call of `train`, its parts in the order in which they are made."""

    def __init__(
        self,
        plan: TrainingPlan,
        run: Run,
        *,
        resume: bool,
        console: Console | None,
        progress: Progress,
    ) -> None:
        self.plan, self.run, self.resume = plan, run, resume
        self.begun = resume and not run.cut_off_early
        self.progress = progress
        self.settings: TrainingSettings = plan.experiment.training
        self.device = choose_device(self.settings.device)
        self.precision = choose_precision(self.settings.precision, self.device)
        self.network = plan.build_network(pretrained=not self.begun)
        add_presence_head(self.network, plan.experiment)
        self.samples, foreground, self.findings = usable(
            plan.train, plan.preprocess, progress=progress
        )
        if self.settings.soft_duplicates:
            self._soften()
        n_samples = self.settings.samples_per_epoch or max(_LEAST_SAMPLES, len(self.samples))
        self.sampler = EpochSampler(
            foreground,
            seed=self.settings.seed,
            n_samples=n_samples,
            batch_size=self.settings.batch_size,
            balanced=self.settings.balanced,
        )
        if not any(foreground):
            message = "No training mask holds any foreground: the network can only learn nothing."
            self.findings.append(Finding("no-foreground", "warning", (), message))
        self.val: WorkingSet | None = None
        if plan.val is not None:
            self.val, _, more = usable(plan.val, plan.preprocess, progress=progress)
            self.findings += more
        self.findings += split_findings(plan.source, plan.assignment)
        self.budget = Budget(self.settings, steps_per_epoch=len(self.sampler))
        self.keeper = Keeper(
            run.folder,
            budget=self.budget,
            validate=self._validate if self.val is not None else None,
            save_best=self._save_best,
            patience=self.settings.patience,
            validate_every=self.settings.validate_every,
            by_the_clock=self.settings.max_minutes is not None and not self.settings.deterministic,
        )
        self.console = console
        self.bar = TrainingBar(self.budget, self.keeper, console) if console else None

    def go(self) -> Trained:
        if self.resume:
            text = self.plan.experiment.model_copy(update={"source": self.run.experiment().source})
            write_text(self.run.folder / EXPERIMENT, text.to_yaml())
        else:
            self._check_network()
            self._begin()
        if self.console is not None:
            tell(self.console, self.plan.decisions, self.findings)
        if not (self.begun and self._finished()):
            self._fit()
        self._choose_presence()
        seconds, history = self.budget.clock.elapsed, self.keeper.history
        self.run.write_info(
            {
                "status": "finished",
                "seconds": round(seconds, 1),
                "epochs": len(history),
                "best_epoch": self.keeper.best_epoch,
                "validation_dice": self.keeper.best,
            }
        )
        return Trained(
            run=self.run.folder,
            epochs=len(history),
            seconds=seconds,
            validation_dice=self.keeper.best,
            decisions=self.plan.decisions,
            findings=tuple(self.findings),
        )

    def _check_network(self) -> None:
        """Run a copy on an empty batch, so that one that does not fit leaves no run behind."""
        plan = self.plan.preprocess
        batch = torch.zeros(2, plan.channels, plan.size, plan.size)
        try:
            with torch.no_grad():
                make_forward(copy.deepcopy(self.network).train(), self.settings)(batch, step=0)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise ModelError(
                expected("the network", f"one that takes images {tuple(batch.shape)}", reason,
                         f"model.arguments for {count(plan.channels, 'channel')}, or another "
                         "image.size")
            ) from error  # fmt: skip

    def _begin(self) -> None:
        write_manifest(self.run.manifest, self.plan.source, self.plan.assignment)
        self.run.write_info(
            {
                "status": "training",
                "versions": versions(),
                "device": str(self.device),
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "parameters": sum(p.numel() for p in self.network.parameters()),
                "source": self.plan.source.name,
            }
        )
        # Last, since it is what says that a run is here.
        write_text(self.run.folder / EXPERIMENT, self.plan.experiment.to_yaml())

    def _finished(self) -> bool:
        """Whether the checkpoint is already at the bound; takes its state over if so."""
        epochs = take_up(self.run, [self.budget, self.keeper])
        # Worker processes ask for their first crops before Lightning tells the epoch.
        self.sampler.set_epoch(epochs)
        return epochs >= epoch_bound(self.settings) or self.budget.spent

    def _fit(self) -> None:
        plan, settings = self.plan, self.settings
        module = SegmentationModule(
            self.network,
            loss=make_loss(
                settings.loss, has_background=plan.source.has_background, n_logits=plan.n_logits
            ),
            augmentation=Augmentation(plan.experiment.augmentation, plan.symmetry),
            settings=settings,
        )
        crops = CropSet(self.samples, foreground_crops=settings.foreground_crops)
        loader = DataLoader(
            crops, batch_sampler=self.sampler, num_workers=settings.workers, collate_fn=batched
        )
        callbacks = [self.budget, self.keeper, *([self.bar] if self.bar else [])]
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(self.device.type, self.device.type),
            devices=[self.device.index or 0] if self.device.type == "cuda" else 1,
            precision=_PRECISIONS[self.precision],
            max_epochs=epoch_bound(settings),
            callbacks=callbacks,
            logger=TensorBoardLogger(self.run.folder, name="", version="tensorboard"),
            gradient_clip_val=settings.gradient_clip or None,
            deterministic=settings.deterministic or None,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        checkpoint = self.run.checkpoint if self.begun else None
        with passed_on_keyboard():
            trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)

    def _validate(self, network: nn.Module) -> Validation:
        if self.val is None:
            raise SettingsError(expected("validation", "given samples", "none", "a larger split"))
        predictor = Predictor(
            network,
            # Working images are filtered already.
            preprocess=self.plan.preprocess.model_copy(update={"filters": FilterChain()}),
            class_names=self.plan.source.class_names,
            overlap=0.0,
            device=str(self.device),
            precision=self.precision,
        )
        return validate(predictor, self.val, has_background=self.plan.source.has_background)

    def _soften(self) -> None:
        groups = soften(self.samples, n_classes=self.plan.source.n_classes)
        message = f"Conflicting masks of equal images were averaged: {count(groups, 'group')}."
        self.findings.append(Finding("soft-masks", "note", (), message))

    def _choose_presence(self) -> None:
        """Choose what empties masks on the validation split, for the weights that were kept."""
        if head_of(self.network) is None or self.plan.val is None:
            return
        # A calibration that lies here is of the weights that a resumed run had before.
        rule = choose_presence(
            self.run.folder, self.plan.val, calibrated=False, seed=self.settings.seed,
            device=str(self.device), progress=self.progress,
        )  # fmt: skip
        rule.write(self.run.folder)

    def _save_best(self, network: nn.Module) -> None:
        if not isinstance(network, StoredModel):
            raise RunError(expected("the network", "a StoredModel", type(network), "`wrap`"))
        source = self.plan.source
        details = {
            "preprocess": self.plan.preprocess.model_dump(mode="json"),
            "class_names": list(source.class_names),
            "has_background": source.has_background,
            "symmetry": self.plan.symmetry,
        }
        save_model(self.run.folder, network, details=details)
