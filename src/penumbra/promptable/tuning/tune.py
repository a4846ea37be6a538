"""Tune a promptable model: from an experiment to a run folder."""

from __future__ import annotations

import shutil
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
from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.backend import choose_precision
from penumbra.models.storage import PROMPTABLE
from penumbra.progress import Progress, silent
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.tuning.examples import ExampleSet, collated, prepared
from penumbra.promptable.tuning.plan import TuningPlan, make_tuning_plan
from penumbra.promptable.tuning.settings import TuneSettings, TuneTrainingSettings, TuningExperiment
from penumbra.promptable.tuning.step import TuningModule
from penumbra.promptable.tuning.stored import save_tuned
from penumbra.promptable.tuning.validation import validate_prompts
from penumbra.storage import check_writable, write_text
from penumbra.training.batches import EpochSampler
from penumbra.training.budget import Budget, epoch_bound
from penumbra.training.keeper import Keeper
from penumbra.training.loop import Trained, tell
from penumbra.training.progress import TrainingBar
from penumbra.training.resume import raised, take_up
from penumbra.training.run import EXPERIMENT, Run, versions
from penumbra.training.surroundings import bounded_threads, passed_on_keyboard, quiet
from penumbra.training.validation import Validation

EMBEDDINGS = "embeddings"
"""Where a run keeps embeddings while it trains."""

_PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def tune(
    experiment: TuningExperiment,
    out: Path | str,
    *,
    resume: bool = False,
    console: Console | None = None,
    progress: Progress = silent,
) -> Trained:
    """Tune a promptable model and write a run folder.

    With ``tune.mode: decoder`` the encoder sees every image once, before the first epoch; what it
    gave is kept in `embeddings/` of the run (or where `tune.embeddings` says) until the training
    has ended. `PromptableSegmenter.from_pretrained(out)` reads the run.

    Args:
        experiment: which model, on what, how; ignored for `resume` except for its bounds.
        out: the run folder; must be new, empty, or a run to resume.
        resume: go on from the last checkpoint. A deterministic run ends with the same weights,
            bit for bit, as one that was never cut off.
        console: where the training's progress bar goes; none without it.
        progress: shows how many images have been read before it starts.

    Returns:
        What the training gave; its Dice is that of first answers to boxes and points.

    Raises:
        RunError: the folder already holds something, or there is nothing to resume.
        SettingsError, SourceError, ModelError: the experiment cannot be carried out.
        MissingExtraError: transformers or peft is not installed.
        StorageError: the folder cannot be written.
    """
    run = Run(Path(out))
    if resume:
        experiment = _resumed(run, experiment)
    elif run.folder.is_dir() and any(run.folder.iterdir()):
        raise RunError(
            expected(f"--out {run.folder}", "a new or empty folder", "one that holds files",
                     "--resume to go on with that run, or another --out")
        )  # fmt: skip
    # Whatever a library draws from the global state in here, the caller's stays as it was.
    forked = torch.random.fork_rng(devices=[])
    with quiet(), bounded_threads(experiment.training.threads), forked:
        plan = make_tuning_plan(experiment, progress=progress)
        check_writable(run.folder)
        return _Tuning(plan, run, resume=resume, console=console, progress=progress).go()


def _resumed(run: Run, wish: TuningExperiment) -> TuningExperiment:
    if not run.exists:
        raise RunError(
            expected(str(run.folder), f"a run folder with {EXPERIMENT}", "one without it",
                     "the folder that `penumbra train … --out` wrote")
        )  # fmt: skip
    experiment = raised(TuningExperiment.read(run.folder / EXPERIMENT), wish)
    if run.manifest.is_file():
        # The split is the run's own, whatever has been added to the folder since.
        experiment = experiment.model_copy(update={"source": str(run.manifest)})
    return experiment


class _Tuning:
    """One call of `tune`, its parts in the order in which they are made."""

    def __init__(
        self,
        plan: TuningPlan,
        run: Run,
        *,
        resume: bool,
        console: Console | None,
        progress: Progress,
    ) -> None:
        self.plan, self.run, self.resume, self.console = plan, run, resume, console
        self.settings: TuneSettings = plan.experiment.tune
        self.training: TuneTrainingSettings = plan.experiment.training
        if resume:
            self._check_base()
        else:
            self._begin()
        self.cache = self._make_cache()
        self.samples, self.findings = self._prepared(plan.train, progress)
        self.val: ExampleSet | None = None
        if plan.val is not None:
            self.val, more = self._prepared(plan.val, progress)
            self.findings += more
        self.findings += split_findings(plan.source, plan.assignment)
        self.sampler = EpochSampler(
            [True] * len(self.samples),
            seed=self.training.seed,
            n_samples=self.training.samples_per_epoch or len(self.samples),
            batch_size=self.training.batch_size,
            balanced=False,
        )
        self.budget = Budget(self.training, steps_per_epoch=len(self.sampler))
        self.module = TuningModule(plan.segmenter, settings=self.settings, training=self.training)
        by_the_clock = self.training.max_minutes is not None and not self.training.deterministic
        self.keeper = Keeper(
            run.folder,
            budget=self.budget,
            validate=self._validate if self.val is not None else None,
            save_best=self._save_best,
            patience=self.training.patience,
            validate_every=self.training.validate_every,
            by_the_clock=by_the_clock,
        )
        self.bar = TrainingBar(self.budget, self.keeper, console) if console else None

    def go(self) -> Trained:
        if self.resume:
            kept = TuningExperiment.read(self.run.folder / EXPERIMENT)
            text = self.plan.experiment.model_copy(update={"source": kept.source})
            write_text(self.run.folder / EXPERIMENT, text.to_yaml())
        if self.console is not None:
            tell(self.console, self.plan.decisions, self.findings)
        if not (self.resume and self._finished()):
            self._fit()
        self._forget_embeddings()
        seconds, history = self.budget.clock.elapsed, self.keeper.history
        self.run.write_info(
            {
                "status": "finished",
                "seconds": round(seconds, 1),
                "epochs": len(history),
                "best_epoch": self.keeper.best_epoch,
                "validation_dice": self.keeper.best,
                "encoded": None if self.cache is None else self.cache.counts.computed,
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

    def _begin(self) -> None:
        write_manifest(self.run.manifest, self.plan.source, self.plan.assignment)
        parameters = list(self.plan.segmenter.model.parameters())
        self.run.write_info(
            {
                "status": "training",
                "kind": PROMPTABLE,
                "versions": versions(),
                "device": str(self.plan.segmenter.device),
                "threads": torch.get_num_threads(),
                "parameters": sum(p.numel() for p in parameters),
                "tuned_parameters": sum(p.numel() for p in parameters if p.requires_grad),
                "source": self.plan.source.name,
                "base_sha256": self.plan.base.digest,
            }
        )
        # Last, since it is what says that a run is here.
        write_text(self.run.folder / EXPERIMENT, self.plan.experiment.to_yaml())

    def _check_base(self) -> None:
        known = self.run.info().get("base_sha256")
        if known is not None and known != self.plan.base.digest:
            raise RunError(
                expected(f"the model {self.plan.base.name}", "the one that the run began with",
                         "one with other weights", "the weights of that time, or a new --out")
            )  # fmt: skip

    def _make_cache(self) -> EmbeddingCache | None:
        if self.settings.mode != "decoder":
            return None
        named = self.settings.embeddings
        folder = self.run.folder / EMBEDDINGS if named is None else Path(named)
        return EmbeddingCache(folder, memory_bytes=self.settings.memory_mb * 2**20)

    def _prepared(self, source: Any, progress: Progress) -> tuple[ExampleSet, list[Finding]]:
        return prepared(
            source,
            self.plan.segmenter,
            cache=self.cache,
            settings=self.settings,
            progress=progress,
        )

    def _forget_embeddings(self) -> None:
        if self.cache is not None and self.settings.embeddings is None:
            shutil.rmtree(self.run.folder / EMBEDDINGS, ignore_errors=True)

    def _finished(self) -> bool:
        """Whether the checkpoint is already at the bound; takes its state over if so."""
        if not self.run.checkpoint.is_file():
            # Cut off while images were encoded, or in the first epoch: it begins anew.
            return False
        epochs = take_up(self.run, [self.budget, self.keeper])
        # Worker processes ask for their first crops before Lightning tells the epoch.
        self.sampler.set_epoch(epochs)
        return epochs >= epoch_bound(self.training) or self.budget.spent

    def _fit(self) -> None:
        training = self.training
        device = self.plan.segmenter.device
        precision = choose_precision(training.precision, device)
        loader = DataLoader(self.samples, batch_sampler=self.sampler, collate_fn=collated)
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=_PRECISIONS[precision],
            max_epochs=epoch_bound(training),
            callbacks=[self.budget, self.keeper, *([self.bar] if self.bar else [])],
            logger=TensorBoardLogger(self.run.folder, name="", version="tensorboard"),
            gradient_clip_val=training.gradient_clip or None,
            deterministic=training.deterministic or None,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        begun = self.resume and self.run.checkpoint.is_file()
        checkpoint = self.run.checkpoint if begun else None
        with passed_on_keyboard():
            trainer.fit(self.module, loader, ckpt_path=checkpoint, weights_only=True)

    def _validate(self, network: nn.Module) -> Validation:
        del network
        if self.val is None:
            raise SettingsError(expected("validation", "given samples", "none", "a larger split"))
        found = validate_prompts(self.module.answering, self.val, self.settings)
        self.module.set_modes()
        return found

    def _save_best(self, network: nn.Module) -> None:
        del network
        save_tuned(
            self.run.folder,
            self.plan.around,
            base=self.plan.base,
            settings=self.settings,
            filters=self.plan.segmenter.filters,
            scaling=self.plan.segmenter.scaling,
            details={"accepts": sorted(self.plan.segmenter.accepts)},
        )
