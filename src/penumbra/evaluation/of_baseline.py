"""What a classical method is scored on, and the training samples that say what is foreground."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.source import Source
from penumbra.data.split import select
from penumbra.errors import ImageFileError, SettingsError, SourceError, expected
from penumbra.inference.classical.catalogue import Baseline
from penumbra.inference.classical.predictor import ClassicalPredictor, choose_foreground
from penumbra.training.experiment import SplitSettings
from penumbra.training.plan import open_split_source
from penumbra.training.run import Run
from penumbra.training.samples import SplitChoice, open_for_run

MOST_LOOKED_AT = 32
"""Training samples that decide between bright and dark, evenly over the split."""


def open_baseline(
    text: Path | str,
    source: str | Path,
    *,
    split: SplitChoice,
    target: str | None = None,
    threshold: float = 0.5,
    like: Run | None = None,
) -> tuple[ClassicalPredictor, Source]:
    """Open the samples for a classical method, and settle which side is the foreground.

    A manifest says the split itself. Any other source is split as `like` was, or else as
    `penumbra train` splits it by default. Where nothing says whether the foreground is bright or
    dark, samples of the training split decide; those that are scored are never looked at.

    Args:
        text: ``classical:NAME[,key=value…]``.
        source: ``LAYOUT:PATH``, a path or a manifest.
        split: which samples are scored.
        target: what the masks show, where the layout has several.
        threshold: least foreground probability of the mask.
        like: a run beside which the method is scored, on the same samples.

    Raises:
        SettingsError: the method, its settings or its classes are not possible, or with split
            ``"all"`` or ``"train"`` nobody has said what is foreground.
        RunError, SourceError: the run or the source cannot be used.
    """
    baseline = Baseline.parse(text)
    chosen = _opened(source, split, target, like)
    _check_classes(chosen)
    if baseline.foreground == "train":
        _check_unseen(baseline, split)
        training = _opened(source, "train", target, like)
        baseline = choose_foreground(baseline, _looked_at(training))
    return (
        ClassicalPredictor(baseline, class_names=chosen.class_names, threshold=threshold),
        chosen,
    )


def _opened(text: str | Path, split: SplitChoice, target: str | None, like: Run | None) -> Source:
    if like is not None:
        return open_for_run(like, text, split=split, target=target)
    whole, assignment = open_split_source(text, split=SplitSettings(), target=target)
    chosen = whole if split == "all" else select(whole, assignment, split)
    if not len(chosen):
        raise SourceError(
            expected(f"the {split} split", "at least one sample", "none", "--split all")
        )
    return chosen


def _check_classes(source: Source) -> None:
    if source.n_classes != 2:
        raise SettingsError(
            expected("the source of a classical method", "of two classes",
                     f"{source.n_classes} ({', '.join(source.class_names)})",
                     "a --target of two classes, or a network")
        )  # fmt: skip


def _check_unseen(baseline: Baseline, split: SplitChoice) -> None:
    if split in ("all", "train"):
        raise SettingsError(
            expected(f"the foreground of {baseline.method.name}",
                     f"bright or dark with --split {split}, since learning it from training "
                     "samples would be to look at what is scored",
                     "neither", f"classical:{baseline.method.name},foreground=bright")
        )  # fmt: skip


def _looked_at(source: Source) -> Iterator[tuple[NDArray[np.generic], NDArray[np.uint8]]]:
    """Give samples evenly over the split; those that cannot be read say nothing."""
    places = np.unique(np.linspace(0, len(source) - 1, MOST_LOOKED_AT).round().astype(int))
    for place in places.tolist():
        try:
            sample = source[place]
        except (ImageFileError, SourceError):
            continue
        if sample.mask is not None and sample.mask.shape == sample.image.shape[:2]:
            yield sample.image, sample.mask
