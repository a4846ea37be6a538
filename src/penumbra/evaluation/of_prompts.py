"""Evaluate a promptable model on a source: by masks where there are some, else by boxes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.data.layouts import layout_named, open_source
from penumbra.data.manifest import is_manifest, read_manifest
from penumbra.data.source import Source, has_boxes_alone, require_masks
from penumbra.data.split import select
from penumbra.errors import SourceError, expected
from penumbra.evaluation.prompted import check_kinds, evaluate_prompts
from penumbra.evaluation.prompted_objects import LEAST_AREA, Objects
from penumbra.evaluation.prompted_report.page import (
    write_report_by_boxes,
    write_report_by_masks,
)
from penumbra.evaluation.prompted_scores import PromptedScores
from penumbra.evaluation.weak import WeakScores, evaluate_weak
from penumbra.evaluation.weak_answers import answers_of_prompts
from penumbra.progress import Progress, silent
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.stored import is_tuned_run
from penumbra.storage import check_writable, write_json, write_text
from penumbra.training.run import Run, versions
from penumbra.training.samples import SplitChoice, split_of_run

PREFIX = "sam:"
"""Before a model's name where a run's folder could stand too."""

WEAK_KINDS = ("box", "point1")
"""The kinds of prompts that are measured by boxes, unless others are named."""


@dataclass(frozen=True)
class PromptableEvaluation:
    """What `evaluate_promptable` gave.

    Attributes:
        prompted: the scores by masks, or ``None`` where there are none.
        weak: kind of prompt → scores by boxes; empty where there are masks.
        source: the samples that were scored.
        document: what `metrics.json` holds.
    """

    prompted: PromptedScores | None
    weak: Mapping[str, WeakScores]
    source: Source
    document: dict[str, Any]


def is_promptable(run: Path | str) -> bool:
    """Tell whether what stands for a run is a promptable model: a tuned run, or ``sam:NAME``."""
    return str(run).startswith(PREFIX) or is_tuned_run(Path(run))


def open_for_prompts(
    run: Path | str, text: str | Path, *, split: SplitChoice, target: str | None = None
) -> Source:
    """Open the samples of a split for a promptable model.

    A manifest says the split itself, else the manifest of a tuned run does. A model that was not
    tuned here has no splits: for it, all samples of a source are asked for by name.

    Args:
        run: a tuned run, or ``sam:NAME``.
        text: ``LAYOUT:PATH``, a path or a manifest.
        split: which samples.
        target: what the masks show; by default what the run was tuned on, where the layout has it.

    Raises:
        SourceError: the source cannot be opened, or has neither masks nor boxes, or no such split.
        RunError: the run has no manifest to say the split.
    """
    tuned = None if str(run).startswith(PREFIX) else Run(Path(run))
    if is_manifest(text):
        source, assignment = read_manifest(text, target=target)
        chosen = source if split == "all" else select(source, assignment, split)
    else:
        source = _opened(tuned, text, target)
        if not has_boxes_alone(source):
            require_masks(source)
        if split != "all" and tuned is None:
            raise SourceError(
                expected(f"the {split} split of {source.name}", "said by somebody",
                         "a model that was not tuned here", "--split all, or a manifest.csv")
            )  # fmt: skip
        chosen = source if tuned is None or split == "all" else split_of_run(tuned, source, split)
    if not len(chosen):
        raise SourceError(
            expected(f"the {split} split", "at least one sample", "none", "--split all")
        )
    return chosen


def _opened(tuned: Run | None, text: str | Path, target: str | None) -> Source:
    source = open_source(text, target=target)
    if tuned is None or target is not None or not tuned.exists:
        return source
    own = TuningExperiment.read(tuned.folder / "experiment.yaml").target
    return open_source(text, target=own) if own in layout_named(source.layout).targets else source


def evaluate_promptable(
    run: Path | str,
    source: str | Path,
    out: Path | str,
    *,
    split: SplitChoice = "test",
    target: str | None = None,
    kinds: Sequence[str] | None = None,
    objects: Objects = "components",
    least_area: int = LEAST_AREA,
    most_objects: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Any = "auto",
    offline: bool = False,
    command: str = "",
    created: str = "",
    progress: Progress = silent,
) -> PromptableEvaluation:
    """Evaluate a promptable model; write `metrics.json`, tables and a page into `out`.

    Where there are masks, every object is prompted for and compared with its own mask
    (`evaluate_prompts`): `per_object.csv` and `per_image.csv`. Where boxes alone are known, every
    box is prompted for, by itself or by points in it (`evaluate_weak`): `per_image_KIND.csv`. Both
    write `report.html`.

    Args:
        run: a tuned run, or ``sam:NAME`` with any name that `from_pretrained` takes.
        source: ``LAYOUT:PATH``, a path or a manifest.
        out: the folder to write.
        split: which samples.
        target: what the masks show.
        kinds: of prompts; by default all that the model takes of those that are usual.
        objects: what one object is, where there are masks.
        least_area: of an object, in pixels.
        most_objects: of an image.
        seed: of every draw.
        device: where the model runs.
        precision: of its encoder.
        offline: never reach for the network.
        command: what was typed, for the record.
        created: when, for the record.
        progress: wraps the samples to show a progress bar.

    Raises:
        ModelError, RunError, SourceError: the model or the source cannot be used.
        SettingsError: a kind of prompt is not what the model takes.
        StorageError: `out` cannot be written.
    """
    where, name = Path(out), str(run).removeprefix(PREFIX)
    samples = open_for_prompts(run, source, split=split, target=target)
    segmenter = PromptableSegmenter.from_pretrained(
        name, device=device, precision=precision, offline=offline
    )
    check_writable(where)
    document: dict[str, Any] = {
        "model": name,
        "weights_sha256": segmenter.weights_digest,
        "source": samples.name,
        "target": samples.target,
        "split": split,
        "seed": seed,
        "precision": segmenter.precision,
        "command": command,
        "created": created,
        "versions": versions(),
    }
    if has_boxes_alone(samples):
        wanted = kinds or [kind for kind in WEAK_KINDS if _takes(segmenter, kind)]
        weak = _by_boxes(segmenter, samples, wanted, seed=seed, progress=progress)
        document |= {
            "measured_by": "boxes",
            "kinds": {kind: scores.to_json() for kind, scores in weak.items()},
        }
        frames = {f"per_image_{kind}": one.to_frame() for kind, one in weak.items()}
        write_report_by_boxes(weak, samples, document, where, segmenter=segmenter)
        _write(where, frames, document)
        return PromptableEvaluation(None, weak, samples, document)
    scores = evaluate_prompts(
        segmenter, samples, kinds=kinds, objects=objects, least_area=least_area,
        most_objects=most_objects, seed=seed, progress=progress,
    )  # fmt: skip
    document |= {"measured_by": "masks", **scores.to_json()}
    tables = {"per_object": scores.to_frame(), "per_image": scores.to_frame(of="images")}
    write_report_by_masks(scores, segmenter, samples, document, where)
    _write(where, tables, document)
    return PromptableEvaluation(scores, {}, samples, document)


def _takes(segmenter: PromptableSegmenter, kind: str) -> bool:
    return ("point" if kind.startswith("point") else "box") in segmenter.accepts


def _by_boxes(
    segmenter: PromptableSegmenter,
    samples: Source,
    kinds: Sequence[str],
    *,
    seed: int,
    progress: Progress,
) -> dict[str, WeakScores]:
    # Each kind goes over the images anew: most of their embeddings are still there.
    cache = EmbeddingCache()
    return {
        kind: evaluate_weak(
            answers_of_prompts(segmenter, kind=kind, seed=seed, cache=cache),
            samples,
            name=f"{segmenter.name} by {kind}",
            seed=seed,
            settings={"kind": kind},
            progress=progress,
        )
        for kind in check_kinds(kinds, segmenter.accepts, name=segmenter.name)
    }


def _write(out: Path, tables: Mapping[str, Any], document: dict[str, Any]) -> None:
    for name, frame in tables.items():
        buffer = io.StringIO()
        frame.to_csv(buffer, index=False, lineterminator="\n")
        write_text(out / f"{name}.csv", buffer.getvalue())
    # Last: a metrics.json says that the evaluation is whole.
    write_json(out / "metrics.json", document)
