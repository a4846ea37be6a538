"""From an experiment to what a training needs: samples, preprocessing, network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from penumbra.data.layouts import layout_named, open_source
from penumbra.data.manifest import is_manifest, read_manifest
from penumbra.data.source import Source, Symmetry, require_masks
from penumbra.data.split import Assignment, select, split_source
from penumbra.errors import ImageFileError, SettingsError, SourceError, expected
from penumbra.inference.frames import Edges, kept_window
from penumbra.inference.preprocess import Preprocess
from penumbra.models.catalogue import build_model, find_architecture
from penumbra.models.pretrained import load_pretrained
from penumbra.models.storage import StoredModel
from penumbra.progress import Progress, silent
from penumbra.training.experiment import (
    Experiment,
    ImageSettings,
    ModelSettings,
    SplitSettings,
)

_LOOK_AT = 16
_TOO_LARGE = 2.5
_LEAST, _MOST = 16, 4096


@dataclass(frozen=True)
class TrainingPlan:
    """A training, decided but not begun.

    Attributes:
        experiment: with every ``auto`` about images resolved.
        source: all samples.
        assignment: which sample is in which split.
        train: the training samples.
        val: the validation samples, or ``None`` where there are none.
        preprocess: how the network sees images.
        symmetry: flips and turns of the augmentation.
        decisions: what was decided for the user, in sentences.
    """

    experiment: Experiment
    source: Source
    assignment: Assignment
    train: Source
    val: Source | None
    preprocess: Preprocess
    symmetry: Symmetry
    decisions: tuple[str, ...]

    @property
    def n_logits(self) -> int:
        """K: one logit for two classes, else one per class."""
        return 1 if self.source.n_classes == 2 else self.source.n_classes

    def build_network(self, *, pretrained: bool = True) -> StoredModel:
        """Build the network with weights drawn from the seed, and those that it begins with.

        Args:
            pretrained: whether to look for `model.weights`; a resumed run has its own.

        Raises:
            ModelError, DownloadError: they cannot be had, or are of another network.
        """
        settings = self.experiment.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.experiment.training.seed)
            network = build_model(
                settings.name,
                **{
                    "n_channels": self.preprocess.channels,
                    "n_classes": self.n_logits,
                    **settings.arguments,
                },
            )
        if pretrained and settings.weights is not None:
            load_pretrained(network, settings.weights)
        return network


def open_split_source(
    text: str | Path,
    *,
    split: SplitSettings,
    target: str | None = None,
    class_names: Sequence[str] | None = None,
    progress: Progress = silent,
) -> tuple[Source, Assignment]:
    """Open a source with masks and its split: a manifest's own, or one made by the settings.

    The settings also split a manifest that pins samples and no split, as `audit apply` writes it.

    Raises:
        SourceError: the source cannot be opened, holds no masks, or is too small to be split.
    """
    if is_manifest(text):
        source, assignment = read_manifest(text, target=target, class_names=class_names)
        if assignment.splits:
            return source, assignment
    else:
        source = open_source(text, target=target, class_names=class_names)
    require_masks(source)
    strategy = split.strategy
    if strategy == "auto":
        strategy = layout_named(source.layout).strategy
    assignment = split_source(
        source,
        seed=split.seed,
        fractions=split.fractions,
        strategy=strategy,
        progress=progress,
    )
    return source, assignment


def make_plan(experiment: Experiment, *, progress: Progress = silent) -> TrainingPlan:
    """Open the source, split it and resolve what the experiment leaves to us.

    Raises:
        SettingsError: the experiment names no source.
        SourceError: the source cannot be opened or split, or nothing in it can be read.
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
    train, val = select(source, assignment, "train"), select(source, assignment, "val")
    preprocess, decisions = _resolve_images(experiment, train)
    wish = experiment.augmentation.symmetry
    symmetry: Symmetry = source.symmetry if wish == "auto" else wish
    resolved = experiment.model_copy(
        update={
            "target": source.target,
            "classes": source.class_names,
            "image": experiment.image.model_copy(update=dict(preprocess)),
            "model": _resolve_model(experiment),
        }
    )
    return TrainingPlan(
        experiment=resolved,
        source=source,
        assignment=assignment,
        train=train,
        val=val if len(val) else None,
        preprocess=preprocess,
        symmetry=symmetry,
        decisions=(_say_split(source, assignment), *decisions),
    )


def _resolve_model(experiment: Experiment) -> ModelSettings:
    defaults = dict(find_architecture(experiment.model.name).defaults)
    return experiment.model.model_copy(update={"arguments": defaults | experiment.model.arguments})


def _say_split(source: Source, assignment: Assignment) -> str:
    counts = {split: len(assignment.ids(split)) for split in ("train", "val", "test")}
    what = f"{source.name}, {source.target}" if source.target else source.name
    parts = f"{counts['train']} samples to train, {counts['val']} to validate"
    return f"{what}: {parts}, {counts['test']} to test"


def _first_images(train: Source) -> list[NDArray[np.generic]]:
    places = np.unique(np.linspace(0, len(train) - 1, min(_LOOK_AT, len(train))).astype(int))
    images: list[NDArray[np.generic]] = []
    for place in places:
        try:
            images.append(train.read_image(train.records[place].image))
        except (ImageFileError, SourceError):
            # The samples themselves are checked, and reported, before training starts.
            continue
    return images


def _resolve_images(experiment: Experiment, train: Source) -> tuple[Preprocess, tuple[str, ...]]:
    settings = experiment.image
    fit, channels, size = settings.fit, settings.channels, settings.size
    decisions: list[str] = []
    needed = fit in ("auto", "whole") or channels == "auto"
    images = _first_images(train) if needed else []
    if fit == "whole":
        size, said = _whole_size(images, settings)
        decisions.append(said)
    if fit == "auto":
        longest = float(np.median([max(i.shape[:2]) for i in images])) if images else 0.0
        fit = "resize" if longest > _TOO_LARGE * settings.size else "crop"
        how = "scaled whole to" if fit == "resize" else "cropped to"
        if fit == "crop" and images:
            size = _no_larger_than(images, size)
        decisions.append(f"images are {how} {size} pixels (longest side {longest:.0f})")
    if channels == "auto" and settings.filters.stacks:
        channels = 3
    elif channels == "auto":
        channels = 3 if any(map(_has_colour, images)) else 1
        decisions.append("images are in colour" if channels == 3 else "images are grey")
    if settings.filters:
        decisions.append(f"images are filtered: {settings.filters.label}")
    resolved: Literal[1, 3] = 3 if channels == 3 else 1
    preprocess = Preprocess(
        size=size,
        fit=fit,
        channels=resolved,
        filters=settings.filters,
        multiple=settings.multiple,
        edges=settings.edges,
    )
    return preprocess, tuple(decisions)


def _no_larger_than(images: list[NDArray[np.generic]], size: int) -> int:
    """Bound the side of a crop by the largest image, up to a multiple of 16.

    What is beyond would be padding: it costs time, and batch norms would learn it.
    """
    largest = int(max(max(image.shape[:2]) for image in images))
    return min(size, 16 * -(-largest // 16))


def _whole_size(images: list[NDArray[np.generic]], settings: ImageSettings) -> tuple[int, str]:
    """Give the side that holds the largest image whole, and the sentence that says so."""
    multiple = settings.multiple
    size, said = multiple * -(-settings.size // multiple), "images are taken whole"
    if images:
        height, width = max((i.shape[:2] for i in images), key=max)
        seen = [_brought(side, multiple, settings.edges) for side in (height, width)]
        size = min(max(*seen, _brought(_LEAST, multiple, "pad")), _MOST // multiple * multiple)
        how = "padded" if settings.edges == "pad" else "cropped"
        said += f", {how} to multiples of {multiple} (the largest: {width}×{height} to "
        said += f"{seen[1]}×{seen[0]})"
    return size, said


def _brought(side: int, multiple: int, edges: Edges) -> int:
    window = kept_window((side, side), multiple=multiple, edges=edges)[0]
    kept = int(window.stop) - int(window.start)
    return multiple * -(-kept // multiple)


def _has_colour(image: NDArray[np.generic]) -> bool:
    if image.shape[2] == 1:
        return False
    spread = image.max(axis=2).astype(np.float32) - image.min(axis=2).astype(np.float32)
    # JPEG leaves a trace of colour in grey photographs.
    return bool(spread.mean() > 0.01 * max(1.0, float(image.max())))
