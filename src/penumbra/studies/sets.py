"""The sets of a study: opened, divided once, and read at the resolution the networks work at."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.assignment import Assignment, select
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.phantom import make_phantom
from penumbra.data.sample import Sample, Split
from penumbra.data.source import Source, Symmetry
from penumbra.errors import SourceError, expected
from penumbra.evaluation.readers import readers_of, true_probability_of
from penumbra.evaluation.shift import Shift, corrupt_sample
from penumbra.inference.preprocess import Preprocess, mask_to_working, resize_longest, with_channels
from penumbra.studies.experiment import SetSettings
from penumbra.studies.places import Network, Study
from penumbra.training.plan import open_split_source

PHANTOM = "phantom"
_PHANTOM_SIZE = 128


@dataclass(frozen=True)
class WorkingSample:
    """A sample at the resolution that the networks work at.

    Attributes:
        sample: image and mask; the image in its own type.
        readers: (R, h, w) masks of several readers, or ``None``.
        true_probability: (h, w) of the foreground, or ``None``.
    """

    sample: Sample
    readers: NDArray[np.uint8] | None = None
    true_probability: NDArray[np.float32] | None = None

    def shifted(self, shift: Shift | None, *, seed: int = 0) -> WorkingSample:
        """Corrupt the sample. Where pixels move, readers and true probability are left out."""
        if shift is None:
            return self
        changed = corrupt_sample(self.sample, shift, seed=seed)
        return WorkingSample(changed) if shift.moves_pixels else replace(self, sample=changed)


def divided(study: Study, settings: SetSettings) -> Path:
    """Give the manifest of a set, and write it first where the study has none yet.

    A set whose networks lie in the study's folder already is divided as they were.

    Raises:
        SourceError: the source cannot be opened or divided.
    """
    target = study.manifest(settings.name)
    if target.is_file():
        return target
    source, assignment = _opened(study, settings)
    write_manifest(target, source, _limited(assignment, settings.limits))
    return target


def _opened(study: Study, settings: SetSettings) -> tuple[Source, Assignment]:
    runs = study.run(Network(settings.name, "any", 0)).parent
    for manifest in sorted(runs.glob("*/manifest.csv")):
        kind = study.experiment.kinds.get(manifest.parent.name.rpartition("-")[0])
        if kind is None or kind.folds:
            continue  # a fold's networks validate on other samples than all the others
        if (manifest.parent / "model.safetensors").is_file():
            return read_manifest(manifest)
    return open_split_source(_place(study, settings), split=settings.split, target=settings.target)


def _place(study: Study, settings: SetSettings) -> str:
    """Give the source with its path below the data folder."""
    layout, colon, path = settings.source.partition(":")
    if colon and layout == PHANTOM:
        return f"folder:{_phantom(study, settings, path)}"
    if not colon:
        return str(study.data / layout)
    return f"{layout}:{study.data / path}"


def _phantom(study: Study, settings: SetSettings, count: str) -> Path:
    if not count.isdigit() or not 3 <= int(count) <= 100_000:
        raise SourceError(
            expected(f"the source of set {settings.name}", "phantom:COUNT, 3 images or more",
                     settings.source, "phantom:240")
        )  # fmt: skip
    folder = study.out / "phantoms" / settings.name
    if not (folder / "phantom.json").is_file():
        size = min(settings.image.size, _PHANTOM_SIZE)
        make_phantom(folder, count=int(count), size=size, seed=settings.split.seed)
    return folder


def _limited(assignment: Assignment, limits: Mapping[Any, int]) -> Assignment:
    """Keep at most so many samples of each split, evenly spread over their order."""
    kept: set[str] = set()
    splits: tuple[Split, ...] = ("train", "val", "test")
    for split in splits:
        names = assignment.ids(split)
        most = limits.get(split, len(names))
        places = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
        kept |= {names[place] for place in places}
    chosen = {name: split for name, split in assignment.splits.items() if name in kept}
    return Assignment(chosen, None, assignment.findings)


def fold_manifest(study: Study, settings: SetSettings, fold: int, folds: int) -> Path:
    """Write the manifest of one fold: training and validation samples divided again, by group.

    The test split stays; groups are dealt to folds in the order of their first sample.
    """
    target = study.manifest(f"{settings.name}-fold-{fold}-of-{folds}")
    if target.is_file():
        return target
    source, assignment = read_manifest(divided(study, settings))
    splits = dict(assignment.splits)
    pool = [record for record in source.records if splits[record.id] != "test"]
    groups = list(dict.fromkeys(record.group for record in pool))
    if len(groups) < folds:
        raise SourceError(
            expected(f"set {settings.name}", f"of at least {folds} groups outside its test split",
                     len(groups), "fewer folds")
        )  # fmt: skip
    number = {group: index % folds for index, group in enumerate(groups)}
    for record in pool:
        splits[record.id] = "val" if number[record.group] == fold else "train"
    write_manifest(target, source, Assignment(splits, None))
    return target


def symmetry_of(study: Study, settings: SetSettings) -> Symmetry:
    """Give the symmetries that a set's images have."""
    return _source(divided(study, settings))[0].symmetry


@functools.lru_cache(maxsize=16)
def _source(manifest: Path) -> tuple[Source, Assignment]:
    return read_manifest(manifest)


@functools.lru_cache(maxsize=16)
def working_samples(
    manifest: Path, split: Split, preprocess: Preprocess, *, window: int | None = None
) -> tuple[tuple[WorkingSample, ...], tuple[str, ...], bool]:
    """Read a split once per process, at the resolution that the networks work at.

    Args:
        manifest: of the set.
        split: which samples.
        preprocess: of the networks.
        window: where networks see crops, larger images are cut to their middle.

    Returns:
        The samples, the names of the classes, and whether the first is background.
    """
    source, assignment = _source(manifest)
    part = select(source, assignment, split)
    found = _read(part, preprocess)
    if window is not None and preprocess.fit == "crop":
        found = (_middle(each, window) for each in found)
    return tuple(found), source.class_names, source.has_background


def _middle(whole: WorkingSample, side: int) -> WorkingSample:
    height, width = whole.sample.image.shape[:2]
    rows = slice(max(0, (height - side) // 2), max(0, (height - side) // 2) + side)
    columns = slice(max(0, (width - side) // 2), max(0, (width - side) // 2) + side)
    mask, readers, truth = whole.sample.mask, whole.readers, whole.true_probability
    return WorkingSample(
        replace(
            whole.sample,
            image=whole.sample.image[rows, columns],
            mask=None if mask is None else mask[rows, columns],
        ),
        None if readers is None else readers[:, rows, columns],
        None if truth is None else truth[rows, columns],
    )


def _read(source: Source, preprocess: Preprocess) -> Iterator[WorkingSample]:
    readers, exact = readers_of(source), true_probability_of(source)
    for index, record in enumerate(source.records):
        sample = source[index]
        if sample.mask is None:
            continue
        several, truth = readers(record), exact(record)
        image, mask = with_channels(sample.image, preprocess.channels), sample.mask
        if preprocess.scales:
            image = resize_longest(image, preprocess.size)
            mask = mask_to_working(mask, preprocess)
            if several is not None:
                several = np.stack([mask_to_working(mask, preprocess) for mask in several])
            truth = _resized(truth, preprocess.size)
        yield WorkingSample(replace(sample, image=image, mask=mask, spacing=None), several, truth)


def _resized(truth: NDArray[np.float32] | None, size: int) -> NDArray[np.float32] | None:
    if truth is None:
        return None
    scale = size / max(truth.shape)
    shape = (max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(truth, shape, interpolation=how), dtype=np.float32)
