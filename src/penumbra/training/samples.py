"""The samples that belong to a run: which split of which source a verb works on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from penumbra.data.layouts import layout_named, open_source
from penumbra.data.manifest import is_manifest, read_assignment, read_manifest
from penumbra.data.source import Source, has_boxes_alone, require_masks
from penumbra.data.split import select
from penumbra.errors import RunError, SourceError, expected
from penumbra.training.run import Run

SplitChoice = Literal["train", "val", "test", "all"]


def open_for_run(
    run: Run,
    text: str | Path,
    *,
    split: SplitChoice,
    target: str | None = None,
    with_masks: bool = True,
) -> Source:
    """Open the samples of a split for a run.

    A manifest says the split itself. For any other source the run's own manifest does, so that
    what a network was trained on is never called its test.

    Args:
        run: the run.
        text: ``LAYOUT:PATH``, a path or a manifest.
        split: which samples.
        target: what the masks show; by default what the run was trained on, where the layout has
            it.
        with_masks: whether a source without any mask is refused.

    Raises:
        RunError: the run's `model.json` names no classes, or there is no manifest to say the split.
        SourceError: the source cannot be opened, has other classes, or has no such split.
    """
    names = _class_names(run)
    if is_manifest(text):
        source, assignment = read_manifest(text, target=target, class_names=names)
        chosen = source if split == "all" else select(source, assignment, split)
    else:
        source = _opened(run, text, target)
        if with_masks:
            require_masks(source)
        chosen = source if split == "all" else split_of_run(run, source, split)
    if source.n_classes != len(names):
        raise SourceError(
            expected(
                f"the source {text}",
                f"of the run's {len(names)} classes ({', '.join(names)})",
                f"{source.n_classes} ({', '.join(source.class_names)})",
                "the source that the run was trained on, or another --target",
            )
        )
    if not len(chosen):
        raise SourceError(
            expected(f"the {split} split", "at least one sample", "none", "--split all")
        )
    return chosen


def trained_on(run: Run, source: Source) -> frozenset[str]:
    """Give the ids of samples that the run's own manifest names as trained on.

    Raises:
        SourceError: these are all the samples that there are.
    """
    if not run.manifest.is_file():
        return frozenset()
    splits = read_assignment(run.manifest).splits
    found = frozenset(r.id for r in source.records if splits.get(r.id) == "train")
    if len(found) == len(source):
        raise SourceError(
            expected(f"the samples of {source.name}", "some that the network was not trained on",
                     "training samples only", "--split val with the run's own source")
        )  # fmt: skip
    return found


def _opened(run: Run, text: str | Path, target: str | None) -> Source:
    source = open_source(text, target=target)
    own = run.experiment().target if run.exists else None
    targets = layout_named(source.layout).targets
    # A run that learned from boxes may be checked against masks of a layout that has no targets,
    # and one that learned from masks against boxes, which show what they show.
    if target is not None or own is None or not targets:
        return source
    if own not in targets and has_boxes_alone(source):
        return source
    return open_source(text, target=own)


def _class_names(run: Run) -> tuple[str, ...]:
    names = run.model_json().get("class_names")
    if not isinstance(names, list):
        raise RunError(
            expected(f"{run.model_file}", "one with class_names", names, "the run folder itself")
        )
    return tuple(str(name) for name in names)


def split_of_run(run: Run, source: Source, split: str) -> Source:
    """Choose the samples of a source that the run's own manifest has in a split.

    Raises:
        RunError: the run has no manifest.
        SourceError: the manifest names none of the samples.
    """
    if not run.manifest.is_file():
        raise RunError(
            expected(f"{run.manifest}", "there to say the split", "no file",
                     "--split all, or a manifest.csv as SOURCE")
        )  # fmt: skip
    # The splits alone: the data may have moved since, and SOURCE says where it is now.
    assignment = read_assignment(run.manifest)
    ids = set(assignment.ids(split))
    known = set(assignment.splits)
    if not any(record.id in known for record in source.records):
        raise SourceError(
            expected(
                f"the samples of {source.name}",
                "among those that the run's manifest splits",
                "none of them",
                "--split all for data that the run never saw",
            )
        )
    return source.subset([i for i, record in enumerate(source.records) if record.id in ids])
