"""What the report of a scored run shows: figures, pictures, and how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penumbra.evaluation.report import ReportData, ReportPicture
from penumbra.evaluation.report.choose import images_to_show
from penumbra.evaluation.report.outlines import MOST
from penumbra.evaluation.report.words import score_in_words
from penumbra.evaluation.report_of_doubt import (
    area_coverage,
    area_rows,
    flags_of,
    image_aurc,
    image_doubt,
    pixel_aurc,
    reliability_rows,
    sampler_sentence,
)
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.contract import ImagePredictor
from penumbra.inference.intervals import interval_notes
from penumbra.training.run import Run, versions

if TYPE_CHECKING:
    from penumbra.evaluation.of_run import RunEvaluation

_WORST = 10


def report_of_run(
    run: Run,
    scored: RunEvaluation,
    predictor: ImagePredictor,
    *,
    seed: int,
    command: str,
    created: str,
) -> ReportData:
    """Gather everything that `report.html` of a scored run shows.

    Args:
        run: the run.
        scored: what scoring gave.
        predictor: what predicted; the few images that are shown are predicted again with it.
        seed: of the bootstrap.
        command: what was typed.
        created: when.
    """
    evaluation, info = scored.evaluation, run.info()
    seeds = {"bootstrap": seed}
    if run.exists:
        experiment = run.experiment()
        seeds |= {"training": experiment.training.seed, "split": experiment.split.seed}
    rows = [
        {str(key): value for key, value in row.items()}
        for row in evaluation.to_frame().to_dict("records")
    ]
    calibration = predictor.calibration
    score, doubt = image_doubt(evaluation, calibration)
    area = calibration.area if calibration is not None else None
    return ReportData(
        title=f"{run.folder.name} on {scored.source.layout}",
        run_name=run.folder.name,
        source_name=scored.source.name,
        split=scored.split,
        n_images=evaluation.n_images,
        n_groups=evaluation.n_groups,
        overall=evaluation.overall,
        per_class=evaluation.per_class,
        class_names=evaluation.class_names,
        per_image=rows,
        reliability=reliability_rows(evaluation.reliability),
        doubt=scored.doubt.rows(),
        pixel_risk=scored.doubt.risk_rows(),
        pixel_aurc=pixel_aurc(evaluation),
        image_doubt=doubt,
        image_doubt_name=score_in_words(score),
        image_aurc=image_aurc(evaluation, score),
        areas=area_rows(evaluation),
        area_level=None if area is None else area.level,
        area_coverage=area_coverage(evaluation),
        area_note="" if area is None else " ".join(interval_notes(area)),
        flags=flags_of(evaluation),
        presence=evaluation.sections.get("presence", {}),
        sampler=sampler_sentence(
            predictor.sampler,
            predictor.cost,
            passes=max(1, predictor.n_samples),
        ),
        calibration=calibration,
        # People count epochs from one, as the progress bar does.
        history=[row | {"epoch": row["epoch"] + 1} for row in run.history()],
        pictures=_pictures(scored, predictor),
        findings=evaluation.findings,
        model_summary=_summary(run, info, predictor),
        command=command,
        versions=info.get("versions", versions()),
        seeds=seeds,
        created=created,
    )


def _pictures(scored: RunEvaluation, predictor: ImagePredictor) -> tuple[ReportPicture, ...]:
    """Predict again the few images that are shown, so that not all of them had to be kept."""
    places = {record.id: index for index, record in enumerate(scored.source.records)}
    pictures: list[ReportPicture] = []
    for image, role in images_to_show(scored.evaluation, worst=_WORST):
        sample = scored.source[places[image.id]]
        scores = {"dice": image.dice, "iou": image.iou, "boundary_f1": image.boundary_f1}
        scores["hd95"] = image.hd95
        prediction = predictor([sample.image], keep_samples=MOST)[0]
        pictures.append(
            ReportPicture(
                image.id, role, scores, sample.image, sample.mask, prediction, predictor.threshold
            )
        )
    return tuple(pictures)


def _summary(run: Run, info: dict[str, Any], predictor: ImagePredictor) -> str:
    if isinstance(predictor, ClassicalPredictor):
        return predictor.summary
    document = run.model_json()
    shape = ", ".join(
        f"{name} {document['arguments'][name]}"
        for name in ("width", "depth", "norm", "target")
        if document["arguments"].get(name) is not None
    )
    parts = [document["architecture"], shape]
    if info.get("parameters"):
        parts.append(f"{info['parameters'] / 1e6:.1f} M weights")
    if info.get("seconds"):
        parts.append(f"trained {info['seconds'] / 60:.1f} min on {info.get('device', '?')}")
    return ", ".join(part for part in parts if part)
