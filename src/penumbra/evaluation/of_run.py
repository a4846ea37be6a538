"""Evaluate a run on a source: metrics, a table per image, and the report."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.evaluation.areas import volume_section
from penumbra.evaluation.cases import Case, Predict, predicted_cases, problem_of
from penumbra.evaluation.contact_sheet import write_contact_sheet, write_overlays
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.evaluation import Evaluation
from penumbra.evaluation.of_baseline import open_baseline
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.evaluation.readers import readers_of, true_probability_of
from penumbra.evaluation.report import ErrorsByDoubt, write_report
from penumbra.evaluation.report_of_run import report_of_run
from penumbra.inference.areas import AreaCase, area_case
from penumbra.inference.calibration import Calibration
from penumbra.inference.classical.catalogue import is_classical
from penumbra.inference.contract import ImagePredictor, load_predictor
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable, write_json, write_text
from penumbra.training.run import Run, versions
from penumbra.training.samples import SplitChoice, open_for_run

__all__ = [
    "MOST_KEPT",
    "RunEvaluation",
    "SplitChoice",
    "evaluate_run",
    "open_for_run",
    "score_run",
    "write_scored",
]

MOST_KEPT = 64
"""Passes of an image kept for the joint NLL and for readers, where nothing else is asked."""

_MOST_BYTES = 2**30


@dataclass(frozen=True)
class RunEvaluation:
    """What `evaluate_run` gave.

    Attributes:
        evaluation: the scores.
        doubt: whether doubt finds the errors, over all pixels.
        source: the samples that were scored.
        split: which split they are.
        document: what `metrics.json` holds.
    """

    evaluation: Evaluation
    doubt: ErrorsByDoubt
    source: Source
    split: SplitChoice
    document: dict[str, Any]


def _keeping(predictor: ImagePredictor, keep_samples: int | None, seed: int) -> tuple[Predict, int]:
    """Predict with as many passes kept as scoring needs, and say how many that is at most."""
    passes = predictor.sampler.passes or len(predictor.passes) or 1
    most = MOST_KEPT if keep_samples is None else keep_samples
    kept = min(most, passes) if passes > 1 else 0

    def predict(images: Sequence[NDArray[np.generic]]) -> list[Prediction]:
        keep = kept
        if keep_samples is None:
            plane = max(image.shape[0] * image.shape[1] for image in images)
            keep = min(kept, _MOST_BYTES // (4 * len(predictor.class_names) * plane))
        return predictor(images, seed=seed, keep_samples=keep)

    return predict, kept


def _with_volumes(evaluation: Evaluation, volumes: Mapping[str, Any]) -> Evaluation:
    """Say beside the areas of a class whether the intervals of its volumes hold."""
    areas = {
        name: {**row, "volumes": volumes[name]} if name in volumes else row
        for name, row in evaluation.sections.get("areas", {}).items()
    }
    sections = {**evaluation.sections, **({"areas": areas} if areas else {})}
    return replace(evaluation, sections=sections)


def score_run(
    run: Run,
    source: Source,
    *,
    split: SplitChoice,
    predictor: ImagePredictor | None = None,
    empty: EmptyPolicy = "one",
    seed: int = 0,
    keep_samples: int | None = None,
    progress: Progress = silent,
) -> RunEvaluation:
    """Predict and score every sample of a source; nothing is written.

    Args:
        run: the run.
        source: samples with masks.
        split: which split they are, for the record.
        predictor: by default the run's own, with its calibration and sampler.
        empty: what a score of nothing over nothing is.
        seed: of the passes and of the bootstrap.
        keep_samples: how many passes of an image are kept while it is scored, for the joint NLL
            and for readers; by default all, up to `MOST_KEPT` and 1 GiB. With 0 there
            is no joint NLL.
        progress: wraps the samples to show a progress bar.

    Raises:
        SourceError: no sample could be scored.
    """
    if predictor is None:
        predictor = load_predictor(run.folder)
    predict, kept = _keeping(predictor, keep_samples, seed)
    doubt = ErrorsByDoubt()
    learned = predictor.calibration
    area = learned.area if learned else None
    area = area if learned and learned.promises_for(predictor.sampler, area) else None
    shown: list[AreaCase] = []

    def watched() -> Iterator[Case | Finding]:
        nonlocal doubt
        cases: Iterable[Case | Finding] = predicted_cases(
            source,
            predict,
            readers=readers_of(source),
            true_probability=true_probability_of(source),
        )
        for case in progress(cases, total=len(source), what="scoring"):
            if isinstance(case, Case) and case.truth.shape == case.prediction.mask.shape:
                doubt = doubt.update(case.prediction, case.truth)
                if area is not None and problem_of(case, source.n_classes) is None:
                    shown.append(
                        area_case(case.prediction.probabilities, case.truth, group=case.group)
                    )
            yield case

    evaluation = evaluate(
        watched(),
        class_names=source.class_names,
        has_background=source.has_background,
        empty=empty,
        seed=seed,
    )
    # What a layout noticed of samples outside this split is not this evaluation's matter.
    ids = {record.id for record in source.records}
    noticed = tuple(f for f in source.findings if not f.samples or ids & set(f.samples))
    evaluation = replace(evaluation, findings=(*evaluation.findings, *noticed))
    if area is not None:
        evaluation = _with_volumes(evaluation, volume_section(area, shown, seed=seed))
    document = {
        "run": str(run.folder),
        "source": source.name,
        "target": source.target,
        "split": split,
        "seed": seed,
        "precision": predictor.precision,
        "threshold": predictor.threshold,
        "sampler": str(predictor.sampler),
        "cost": str(predictor.cost),
        "calibrated": predictor.calibration is not None,
        "calibrated_on": calibrated_on(predictor.calibration),
        "presence_rule": _rule_of(predictor),
        "kept_samples": kept,
        "versions": versions(),
        **evaluation.to_json(),
    }
    return RunEvaluation(evaluation, doubt, source, split, document)


def _rule_of(predictor: ImagePredictor) -> dict[str, Any] | None:
    """Give the rule that empties masks and takes islands off, where there is one."""
    rule = predictor.presence if isinstance(predictor, Predictor) else None
    return None if rule is None else rule.model_dump(mode="json")


def calibrated_on(calibration: Calibration | None) -> dict[str, Any] | None:
    """Say which split of which source a calibration was fitted on, as far as it says so."""
    if calibration is None:
        return None
    return {key: calibration.record.get(key) for key in ("source", "split")}


def evaluate_run(
    run: Path | str,
    source: str | Path,
    out: Path | str,
    *,
    split: SplitChoice = "test",
    target: str | None = None,
    empty: EmptyPolicy = "one",
    seed: int = 0,
    keep_samples: int | None = None,
    command: str = "",
    created: str = "",
    contact_sheet: Path | None = None,
    overlays: Path | None = None,
    progress: Progress = silent,
    **predictor_options: Any,
) -> RunEvaluation:
    """Evaluate a run and write `metrics.json`, `per_image.csv` and `report.html` into `out`.

    Args:
        run: a run folder, or ``classical:NAME``.
        source: ``LAYOUT:PATH``, a path or a manifest.
        out: the folder to write.
        split: which samples; ``"all"`` for data that the run never saw.
        target: what the masks show; by default what the run was trained on.
        empty: what a score of nothing over nothing is.
        seed: of the passes and of the bootstrap.
        keep_samples: see `score_run`.
        command: what was typed, for the report.
        created: when, for the report.
        contact_sheet: a PNG of good and missed frames to write, see `write_contact_sheet`.
        overlays: a folder for the overlay of every image, see `write_overlays`.
        progress: wraps the samples to show a progress bar.
        predictor_options: those of `Predictor.load`, such as ``sampler="noise:8"``, ``members``
            or ``calibration=False``.

    Raises:
        RunError, SourceError: the run or the source cannot be used.
        StorageError: `out` cannot be written.
    """
    folder, where = Run(Path(run)), Path(out)
    predictor: ImagePredictor
    if is_classical(run):
        threshold = predictor_options.get("threshold", 0.5)
        predictor, samples = open_baseline(
            run, source, split=split, target=target, threshold=threshold
        )
        folder = Run(Path(str(predictor.baseline)))
    else:
        predictor = load_predictor(folder.folder, **predictor_options)
        samples = open_for_run(folder, source, split=split, target=target)
    check_writable(where)
    scored = score_run(
        folder, samples, split=split, predictor=predictor, empty=empty, seed=seed,
        keep_samples=keep_samples, progress=progress,
    )  # fmt: skip
    if contact_sheet is not None:
        write_contact_sheet(contact_sheet, scored, predictor)
    if overlays is not None:
        write_overlays(overlays, scored, predictor, progress=progress)
    write_scored(folder, scored, predictor, where, seed=seed, command=command, created=created)
    return scored


def write_scored(
    run: Run,
    scored: RunEvaluation,
    predictor: ImagePredictor,
    out: Path,
    *,
    seed: int = 0,
    command: str = "",
    created: str = "",
) -> None:
    """Write `metrics.json`, `per_image.csv` and `report.html` of a scored run into `out`.

    Args:
        run: the run.
        scored: what `score_run` gave.
        predictor: what predicted; it predicts the few images of the report again.
        out: the folder to write.
        seed: of the bootstrap.
        command: what was typed, for the report.
        created: when, for the report.

    Raises:
        StorageError: `out` cannot be written.
    """
    buffer = io.StringIO()
    scored.evaluation.to_frame().to_csv(buffer, index=False, lineterminator="\n")
    write_text(out / "per_image.csv", buffer.getvalue())
    report = report_of_run(run, scored, predictor, seed=seed, command=command, created=created)
    write_report(out / "report.html", report)
    # Last: a metrics.json says that the evaluation is whole.
    write_json(out / "metrics.json", scored.document)
