"""Evaluate a run where boxes alone are known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from penumbra.data.source import has_boxes_alone
from penumbra.evaluation.prompted_report.page import write_report_by_boxes
from penumbra.evaluation.weak import WeakScores, evaluate_weak
from penumbra.evaluation.weak_answers import answers_of_run
from penumbra.inference.predictor import Predictor
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable, write_json, write_text
from penumbra.training.run import Run, versions
from penumbra.training.samples import SplitChoice, open_for_run


def meets_boxes_alone(
    run: Path | str, source: str | Path, *, split: SplitChoice = "test", target: str | None = None
) -> bool:
    """Tell whether a run would be scored on samples that have boxes and no masks.

    Raises:
        RunError, SourceError: the run or the source cannot be used.
    """
    opened = open_for_run(Run(Path(run)), source, split=split, target=target, with_masks=False)
    return has_boxes_alone(opened)


def evaluate_run_on_boxes(
    run: Path | str,
    source: str | Path,
    out: Path | str,
    *,
    split: SplitChoice = "test",
    target: str | None = None,
    seed: int = 0,
    command: str = "",
    created: str = "",
    progress: Progress = silent,
    **predictor_options: Any,
) -> tuple[WeakScores, dict[str, Any]]:
    """Evaluate a run by boxes and write `metrics.json`, `per_image.csv` and `report.html`.

    Args:
        run: a run folder of a network that needs no prompt.
        source: ``LAYOUT:PATH``, a path or a manifest, with boxes.
        out: the folder to write.
        split: which samples; ``"all"`` for data that the run never saw.
        target: what the masks show.
        seed: of the passes and of the bootstrap.
        command: what was typed, for the record.
        created: when, for the record.
        progress: wraps the samples to show a progress bar.
        predictor_options: those of `Predictor.load`.

    Returns:
        The scores, and what `metrics.json` holds.

    Raises:
        RunError, SourceError: the run or the source cannot be used.
        StorageError: `out` cannot be written.
    """
    folder, where = Run(Path(run)), Path(out)
    predictor = Predictor.load(folder.folder, **predictor_options)
    samples = open_for_run(folder, source, split=split, target=target, with_masks=False)
    check_writable(where)
    answer = answers_of_run(lambda images: predictor(images, seed=seed))
    scores = evaluate_weak(
        answer,
        samples,
        name=folder.folder.name,
        seed=seed,
        progress=progress,
    )
    document = {
        "run": str(folder.folder),
        "source": samples.name,
        "measured_by": "boxes",
        "split": split,
        "seed": seed,
        "threshold": predictor.threshold,
        "sampler": str(predictor.sampler),
        "command": command,
        "created": created,
        "versions": versions(),
        **scores.to_json(),
    }
    write_report_by_boxes({folder.folder.name: scores}, samples, document, where, answer=answer)
    write_scores(scores, document, where)
    return scores, document


def write_scores(scores: WeakScores, document: dict[str, Any], out: Path) -> None:
    """Write `per_image.csv` and, last, `metrics.json`, which says that the rest is there.

    Raises:
        StorageError: `out` cannot be written.
    """
    buffer = io.StringIO()
    scores.to_frame().to_csv(buffer, index=False, lineterminator="\n")
    write_text(out / "per_image.csv", buffer.getvalue())
    write_json(out / "metrics.json", document)
