"""From an evaluation to a report: which images to show, and the rows of the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.evaluation import Evaluation, ImageMean
from penumbra.evaluation.report.data import ReportData, ReportPicture, Role
from penumbra.inference.prediction import Prediction

_SHOWN_SCORES = ("dice", "iou", "boundary_f1", "hd95")


def images_to_show(evaluation: Evaluation, *, worst: int = 10) -> list[tuple[ImageMean, Role]]:
    """Choose the best, the median and the worst images by Dice.

    Args:
        evaluation: what was found.
        worst: how many of the worst, the worst first.

    Returns:
        The best, the median, then the worst. No image comes twice, so that few images give fewer
        rows; images whose Dice is undefined are left out. An image without foreground is never
        the best while there is one with: a perfect score for nothing shows nothing.
    """
    known = [image for image in evaluation.sorted_by("dice") if not math.isnan(image.dice)]
    filled = {row.id for row in evaluation.per_image if row.scored and row.area_truth}
    chosen: dict[str, tuple[ImageMean, Role]] = {}
    if known:
        best = next((image for image in reversed(known) if image.id in filled), known[-1])
        chosen[best.id] = (best, "best")
    if len(known) > 2:
        middle = known[(len(known) - 1) // 2]
        chosen.setdefault(middle.id, (middle, "median"))
    for image in known[:worst]:
        chosen.setdefault(image.id, (image, "worst"))
    return list(chosen.values())


def picture(
    chosen: tuple[ImageMean, Role],
    *,
    image: NDArray[np.generic],
    truth: NDArray[np.uint8] | None,
    prediction: Prediction,
) -> ReportPicture:
    """Join a chosen image with its pixels; see `images_to_show` and `ReportPicture`."""
    scored, role = chosen
    scores = {name: float(getattr(scored, name)) for name in _SHOWN_SCORES}
    return ReportPicture(scored.id, role, scores, image, truth, prediction)


def _table_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for row in evaluation.per_image:
        values = asdict(row)
        if values.pop("scored"):
            values["class"] = values.pop("class_name")
            rows.append(values)
    empty = [
        name
        for name in (rows[0] if rows else ())
        if all(isinstance(row[name], float) and math.isnan(row[name]) for row in rows)
    ]
    return [{key: value for key, value in row.items() if key not in empty} for row in rows]


def from_evaluation(
    evaluation: Evaluation,
    *,
    title: str,
    run_name: str,
    source_name: str,
    split: str,
    pictures: Sequence[ReportPicture] = (),
    doubt: Sequence[Mapping[str, float]] = (),
    history: Sequence[Mapping[str, Any]] = (),
    model_summary: str = "",
    command: str = "",
    versions: Mapping[str, str] | None = None,
    seeds: Mapping[str, int] | None = None,
    created: str = "",
) -> ReportData:
    """Fill a `ReportData` from an evaluation.

    Args:
        evaluation: what was found.
        title: heading of the page.
        run_name: name of the run.
        source_name: where the images came from.
        split: which split was evaluated.
        pictures: what to show; see `images_to_show` and `picture`.
        doubt: the rows of `ErrorsByDoubt`; worked out from the pictures when empty.
        history: rows of ``history.jsonl``.
        model_summary: one line about the network.
        command: what to type to repeat the evaluation.
        versions: version by package or tool.
        seeds: seed by what it is for.
        created: when, as text.
    """
    return ReportData(
        title=title,
        run_name=run_name,
        source_name=source_name,
        split=split,
        n_images=evaluation.n_images,
        n_groups=evaluation.n_groups,
        overall=evaluation.overall,
        per_class=evaluation.per_class,
        class_names=evaluation.class_names,
        per_image=_table_rows(evaluation),
        reliability=[asdict(row) for row in evaluation.reliability],
        pictures=tuple(pictures),
        findings=evaluation.findings,
        doubt=doubt,
        history=history,
        model_summary=model_summary,
        command=command,
        versions=versions or {},
        seeds=seeds or {},
        created=created,
    )
