"""The samples of a study of prompts: divided by group, shrunk, and written once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from penumbra.data.assignment import Assignment
from penumbra.data.export.names import stems_of
from penumbra.data.export.run import export_source
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.phantom import make_phantom
from penumbra.data.sample import Sample, Split
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.inference.preprocess import resize_longest
from penumbra.pages.panels import fitted, resized_mask
from penumbra.progress import Progress, silent
from penumbra.storage import write_json
from penumbra.studies.places import fingerprint
from penumbra.studies.prompts.places import PromptStudy
from penumbra.studies.sets import PHANTOM
from penumbra.training.plan import open_split_source

_PHANTOM_SIZE = 128


@dataclass(frozen=True)
class ShrunkSource(Source):
    """A source whose large images are shrunk as they are read.

    Attributes:
        longest: no side is longer.
    """

    longest: int = 1024

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # as in `Source`
        whole = super().__getitem__(index)
        height, width = whole.image.shape[:2]
        if max(height, width) <= self.longest:
            return replace(whole, boxes=None)
        size = fitted(height, width, self.longest)
        return replace(
            whole,
            image=resize_longest(whole.image, self.longest),
            mask=None if whole.mask is None else resized_mask(whole.mask, size),
            boxes=None,
            spacing=None,
        )


def prepare(study: PromptStudy, *, progress: Progress = silent) -> Path:
    """Divide the source and write what the study needs of it; give the manifest.

    Samples without a mask are left out, as are those that cannot be read; the latter are findings
    in `set.json`.

    Raises:
        SourceError: the source cannot be opened or divided, or was another one before.
        StorageError: the folder cannot be written.
    """
    wanted = _wanted(study)
    if study.manifest.is_file():
        _check_same(study, wanted)
        return study.manifest
    experiment = study.experiment
    source, assignment = open_split_source(
        _place(study), split=experiment.split, target=experiment.target, progress=progress
    )
    kept = _limited(source, assignment, experiment.groups)
    chosen = _chosen(source, kept)
    if study.working_set.exists():
        # Cut off before the manifest was there: whose it was is not known.
        shutil.rmtree(study.working_set)
    exported = export_source(
        ShrunkSource(**vars(chosen), longest=experiment.longest),
        study.working_set,
        progress=progress,
    )
    copied = open_source(f"folder:{study.working_set}")
    there = {record.id for record in copied.records}
    stems = stems_of(chosen.records)
    splits = {stems[r.id]: kept.splits[r.id] for r in chosen.records if stems[r.id] in there}
    findings = [*assignment.findings, *exported.findings]
    write_json(
        study.made_of,
        {
            "made_of": wanted,
            "source": source.name,
            "target": source.target,
            "findings": [finding.to_json() for finding in findings],
        },
    )
    write_manifest(study.manifest, copied, Assignment(splits))
    return study.manifest


def _wanted(study: PromptStudy) -> str:
    experiment = study.experiment
    return fingerprint(
        {
            "source": experiment.source,
            "target": experiment.target,
            "split": experiment.split.model_dump(mode="json"),
            "groups": dict(experiment.groups),
            "longest": experiment.longest,
        }
    )


def _check_same(study: PromptStudy, wanted: str) -> None:
    import json  # noqa: PLC0415 - of this check alone

    try:
        found = json.loads(study.made_of.read_text(encoding="utf-8"))["made_of"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != wanted:
        raise SourceError(
            expected(f"the samples in {study.out}", "made of the same source in the same way",
                     "samples of another source, split or size", "another --out")
        )  # fmt: skip


def _place(study: PromptStudy) -> str:
    """Give the source with its path below the data folder; a phantom set is made first."""
    text = study.experiment.source
    layout, colon, path = text.partition(":")
    if colon and layout == PHANTOM:
        return f"folder:{_phantom(study, path)}"
    # On Windows the first colon may be a drive's.
    if not colon or len(layout) == 1:
        return str(study.data / text)
    return f"{layout}:{study.data / path}"


def _phantom(study: PromptStudy, count: str) -> Path:
    if not count.isdigit() or not 3 <= int(count) <= 100_000:
        raise SourceError(
            expected("the source", "phantom:COUNT, 3 images or more", study.experiment.source,
                     "phantom:60")
        )  # fmt: skip
    folder = study.out / "phantoms"
    if not (folder / "phantom.json").is_file():
        size = min(study.experiment.longest, _PHANTOM_SIZE)
        make_phantom(
            folder, count=int(count), size=size, seed=study.experiment.split.seed, kinds=("xray",)
        )
    return folder


def _limited(source: Source, assignment: Assignment, limits: Mapping[Any, int]) -> Assignment:
    """Keep at most so many groups of each split, evenly spread over their names."""
    groups = {record.id: record.group for record in source.records}
    kept: dict[str, Split] = {}
    for split in ("train", "val", "test"):
        ids = assignment.ids(split)
        names = sorted({groups[name] for name in ids})
        most = min(limits.get(split, len(names)), len(names))
        places = np.linspace(0, len(names) - 1, most).round().astype(int)
        chosen = {names[place] for place in places}
        kept |= {name: assignment.splits[name] for name in ids if groups[name] in chosen}
    return Assignment(kept)


def _chosen(source: Source, assignment: Assignment) -> Source:
    found = source.subset(
        [
            index
            for index, record in enumerate(source.records)
            if record.id in assignment.splits and record.masks
        ]
    )
    splits = {assignment.splits[record.id] for record in found.records}
    if not {"train", "test"} <= splits:
        raise SourceError(
            expected(f"the split of {source.name}", "with samples to train and to test",
                     f"only {', '.join(sorted(splits)) or 'nothing'}", "other split.fractions")
        )  # fmt: skip
    return found


def read_set(manifest: Path) -> tuple[Source, Assignment]:
    """Read the working set with its split."""
    return read_manifest(manifest)
