"""Score cells: load or make what answers, ask for every object, keep the scores of the images."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from penumbra.data.assignment import select
from penumbra.data.sample import Sample
from penumbra.data.source import Source
from penumbra.errors import StorageError, expected
from penumbra.evaluation.prompted import evaluate_prompts
from penumbra.evaluation.prompted_scores import PromptedScores
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.storage import write_json
from penumbra.studies.places import digest, fingerprint
from penumbra.studies.prompts.asking import EdgePrompted, KeptEmbeddings, Watched
from penumbra.studies.prompts.pictures import draw_cell, example_of, write_picture
from penumbra.studies.prompts.places import PromptCell, PromptStudy, rule_of
from penumbra.studies.prompts.tunings import is_tuned, run_files
from penumbra.studies.prompts.working_set import read_set

CELL_VERSION = 1
_MEMORY = 256 * 2**20


@dataclass(frozen=True)
class CellScores:
    """What a cell holds.

    Attributes:
        cell: which one.
        images: one row per image: id, group, number of objects, and the metrics.
        findings: images that could not be scored, and why.
        seconds: that the cell took.
    """

    cell: PromptCell
    images: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    seconds: float


def cell_fingerprint(study: PromptStudy, cell: PromptCell) -> str:
    """Hash everything that a cell's numbers follow from."""
    experiment = study.experiment
    document = {
        "version": CELL_VERSION,
        "kind": cell.kind,
        "manifest": digest(study.manifest),
        "objects": experiment.objects,
        "least_area": experiment.least_area,
        "most_objects": experiment.most_objects,
        "seed": experiment.seed,
    }
    if rule_of(cell.method) is None:
        document |= {"weights": study.weights, "filter": str(study.chain(cell.filter))}
        if experiment.tunings[cell.method].mode != "none":
            run = study.run(cell.method, cell.filter, cell.seed)
            document["run"] = [digest(path) for path in run_files(run)]
    return fingerprint(document)


def is_scored(study: PromptStudy, cell: PromptCell) -> bool:
    """Say whether a cell's file is there and belongs to what it would be made of now."""
    if not study.cell(cell).is_file() or not study.manifest.is_file():
        return False
    tuned = rule_of(cell.method) is None and study.experiment.tunings[cell.method].mode != "none"
    if tuned and not is_tuned(study, cell.method, cell.filter, cell.seed):
        return False
    try:
        document = json.loads(study.cell(cell).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(
        isinstance(document, dict) and document.get("fingerprint") == cell_fingerprint(study, cell)
    )


def answering(study: PromptStudy, method: str, filter_name: str, seed: int) -> AnswersPrompts:
    """Load what answers: a rule, the model as it came, or a tuned one; with the filter's edges.

    Raises:
        ModelError, RunError: it cannot be loaded.
    """
    rule = rule_of(method)
    if rule is not None:
        return rule
    chain = study.chain(filter_name)
    choice = study.experiment.tunings[method]
    name = study.experiment.model if choice.mode == "none" else study.run(method, filter_name, seed)
    segmenter = PromptableSegmenter.from_pretrained(name, filters=chain)
    # A tuned encoder's embeddings serve this seed alone: they are not worth the room on disk.
    shared = choice.mode in ("none", "decoder")
    cache = EmbeddingCache(study.embeddings if shared else None, memory_bytes=_MEMORY)
    if chain.prompt is not None:
        return EdgePrompted(segmenter, chain, cache)
    return KeptEmbeddings(segmenter, cache)


def score(study: PromptStudy, cells: tuple[PromptCell, ...]) -> float:
    """Score cells of one method, filter and seed, and write a file and a picture for each.

    Args:
        study: the study, prepared.
        cells: that differ in the kind of prompt alone; those that are there are left.

    Returns:
        The seconds it took.

    Raises:
        PenumbraError: they cannot be scored.
    """
    started = time.perf_counter()
    missing = [cell for cell in cells if not is_scored(study, cell)]
    if not missing:
        return 0.0
    first = missing[0]
    source = test_samples(study)
    example = example_of(source, least_area=study.experiment.least_area)
    inner = answering(study, first.method, first.filter, first.seed)
    for cell in missing:
        _score_cell(study, cell, inner, source, example)
    return time.perf_counter() - started


def test_samples(study: PromptStudy) -> Source:
    """Give the samples that are scored."""
    source, assignment = read_set(study.manifest)
    return select(source, assignment, "test")


def _score_cell(
    study: PromptStudy,
    cell: PromptCell,
    inner: AnswersPrompts,
    source: Source,
    example: Sample | None,
) -> None:
    started = time.perf_counter()
    experiment = study.experiment
    clicks = int(cell.kind.removeprefix("point")) if cell.kind.startswith("point") else 0
    watched = None if example is None else Watched(inner, example.image, clicks=clicks)
    scores = evaluate_prompts(
        watched or inner,
        source,
        kinds=[cell.kind],
        objects=experiment.objects,
        seed=experiment.seed,
        least_area=experiment.least_area,
        most_objects=experiment.most_objects,
        resamples=1,
    )
    if watched is not None and example is not None:
        drawn = draw_cell(example, study.chain(cell.filter), watched.seen)
        write_picture(study.picture(cell), drawn)
    # Last: a cell's file says that all of it is there.
    _write(study, cell, scores, time.perf_counter() - started)


def _write(study: PromptStudy, cell: PromptCell, scores: PromptedScores, seconds: float) -> None:
    write_json(
        study.cell(cell),
        {
            "version": CELL_VERSION,
            "fingerprint": cell_fingerprint(study, cell),
            "cell": asdict(cell),
            "seconds": seconds,
            "images": [asdict(image) for image in scores.images],
            "findings": [finding.to_json() for finding in scores.findings],
        },
    )


def read_scores(study: PromptStudy, cell: PromptCell) -> CellScores:
    """Read a cell's file.

    Raises:
        StorageError: it is not there, or damaged.
    """
    path = study.cell(cell)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return CellScores(
            cell,
            tuple(document["images"]),
            tuple(document["findings"]),
            float(document["seconds"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(repr(error).split())[:120]
        raise StorageError(
            expected(str(path), "a whole cell of a study", reason, "starting the study again")
        ) from error
