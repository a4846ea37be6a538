"""From a tuning experiment to what it needs: samples, and a model with some weights freed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from penumbra.data.source import Source
from penumbra.data.split import Assignment, select
from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.parts import select_parts
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.stored import Base
from penumbra.training.plan import open_split_source

_DECODERS = ("sam", "sam-hq", "small")
_PRECISIONS: dict[str, Any] = {"auto": "auto", "fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class TuningPlan:
    """A tuning, decided but not begun.

    Attributes:
        experiment: with target and classes resolved.
        source: all samples.
        assignment: which sample is in which split.
        train: the training samples.
        val: the validation samples, or ``None`` where there are none.
        segmenter: what is tuned, in place; weights that stay are frozen.
        around: what saves the tuned parts, see `select_parts`.
        base: what is tuned, before it was.
        decisions: what was decided for the user, in sentences.
    """

    experiment: TuningExperiment
    source: Source
    assignment: Assignment
    train: Source
    val: Source | None
    segmenter: PromptableSegmenter
    around: nn.Module
    base: Base
    decisions: tuple[str, ...]


def make_tuning_plan(experiment: TuningExperiment, *, progress: Progress = silent) -> TuningPlan:
    """Open the source, split it, load the model and free what is to be tuned.

    Raises:
        SettingsError: the experiment names no source, or the model cannot be tuned like that.
        SourceError: the source cannot be opened or split.
        ModelError: the model cannot be loaded.
        MissingExtraError: transformers or peft is not installed.
    """
    if experiment.source is None:
        raise SettingsError(
            expected("the experiment", "given a source", "none", "`penumbra train LAYOUT:PATH`")
        )
    source, assignment = open_split_source(
        experiment.source,
        split=experiment.split,
        target=experiment.target,
        class_names=experiment.classes,
        progress=progress,
    )
    segmenter = _segmenter(experiment)
    base = Base(experiment.model.name, segmenter.family.name, segmenter.weights_digest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.training.seed)
        around = select_parts(segmenter.model, experiment.tune)
    resolved = experiment.model_copy(
        update={"target": source.target, "classes": source.class_names}
    )
    val = select(source, assignment, "val")
    return TuningPlan(
        experiment=resolved,
        source=source,
        assignment=assignment,
        train=select(source, assignment, "train"),
        val=val if len(val) else None,
        segmenter=segmenter,
        around=around,
        base=base,
        decisions=_decisions(experiment, source, assignment, segmenter),
    )


def _segmenter(experiment: TuningExperiment) -> PromptableSegmenter:
    training = experiment.training
    if training.precision == "fp16":
        raise SettingsError(
            expected("training.precision", "auto, fp32 or bf16 for a tuning", "fp16", "auto")
        )
    # Weights that learn are kept in float32, whatever they are multiplied in.
    frozen_encoder = experiment.tune.mode == "decoder"
    segmenter = PromptableSegmenter.from_pretrained(
        experiment.model.name,
        precision=_PRECISIONS[training.precision] if frozen_encoder else "float32",
        device=training.device,
        family=experiment.model.family,
        # A tuned run that is tuned further keeps its filters unless others are asked for.
        filters=experiment.image.filters or None,
    )
    if segmenter.family.decoder not in _DECODERS:
        raise SettingsError(
            expected(f"the family of {experiment.model.name}", "sam, sam-hq, medsam or small",
                     segmenter.family.name, "a model of one of these")
        )  # fmt: skip
    return segmenter


def _decisions(
    experiment: TuningExperiment,
    source: Source,
    assignment: Assignment,
    segmenter: PromptableSegmenter,
) -> tuple[str, ...]:
    counts = {split: len(assignment.ids(split)) for split in ("train", "val", "test")}
    what = f"{source.name}, {source.target}" if source.target else source.name
    parts = f"{counts['train']} samples to train, {counts['val']} to validate"
    parameters = list(segmenter.model.parameters())
    tuned = sum(p.numel() for p in parameters if p.requires_grad)
    whole = sum(p.numel() for p in parameters)
    found = [
        f"{what}: {parts}, {counts['test']} to test",
        f"{experiment.model.name} ({segmenter.family.name}): {tuned / 1e6:.2f} of "
        f"{whole / 1e6:.2f} million weights are tuned ({experiment.tune.mode})",
    ]
    if segmenter.filters:
        found.append(f"images are filtered: {segmenter.filters.label}")
    if segmenter.filters.prompt is not None:
        found.append("edges become a prompt when the model is asked, not while it is tuned")
    return tuple(found)
