"""`report.html` of what was measured by prompts, or by boxes where there are no masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.evaluation.bootstrap import FEW_GROUPS
from penumbra.evaluation.prompted_answers import Tally, prompt_objects
from penumbra.evaluation.prompted_objects import objects_of
from penumbra.evaluation.prompted_report.drawn import (
    Remembered,
    Shown,
    against_truth,
    beside_boxes,
    best_median_worst,
    sample_named,
    titled,
)
from penumbra.evaluation.prompted_scores import PromptedScores
from penumbra.evaluation.weak import Answer, WeakScores
from penumbra.evaluation.weak_answers import answers_of_prompts
from penumbra.imaging import palette
from penumbra.pages.render import render
from penumbra.pages.tables import Cell, Column, Table
from penumbra.pages.words import NOTHING, count, is_number, number, spread
from penumbra.promptable.contract import AnswersPrompts
from penumbra.storage import write_text

_TEMPLATE = Path(__file__).parent / "template" / "prompted.html.j2"

_BY_MASKS = {
    "dice": "Dice",
    "iou": "IoU",
    "union_dice": "Dice of all together",
    "union_iou": "IoU of all together",
    "predicted_iou_error": "Error of the predicted IoU",
}
_BY_BOXES = {
    "share_inside": "Inside the boxes",
    "tight_iou": "IoU of tight boxes",
    "pointing": "Pointing",
    "filled_dice": "Dice with filled boxes",
    "map": "mAP 0.40–0.75",
    "nothing_found": "Nothing found where nothing is",
}


def write_report_by_masks(
    scores: PromptedScores,
    segmenter: AnswersPrompts,
    source: Source,
    document: Mapping[str, Any],
    out: Path,
) -> Path:
    """Write the page of a model that was prompted for every object of a mask.

    The best, the median and the worst image by the Dice of the first kind of prompt are answered
    again, and drawn against the truth with their prompts.

    Args:
        scores: what `evaluate_prompts` gave.
        segmenter: the model.
        source: the samples that were scored.
        document: what `metrics.json` holds.
        out: the folder to write into.

    Raises:
        StorageError: the page cannot be written.
    """
    kind = scores.kinds[0]
    dice = {image.id: image.dice for image in scores.of_kind(kind)}
    pictures = []
    for role, name in best_median_worst(dice.items()):
        shown = _answered(scores, segmenter, source, kind, name)
        if shown is not None:
            pictures.append(Shown(name, role, titled(shown, "Dice", dice[name])))
    return _write(
        out,
        document,
        rows=scores.overall,
        metrics=_BY_MASKS,
        sentence=_sentence(scores.segmenter, kind, "Dice", scores.overall[kind]["dice"]),
        amounts=(len(dice), len(scores.groups)),
        findings=scores.findings,
        pictures=pictures,
        asked=f"Asked by {kind}.",
        hint="Prompts are derived from the masks; each object is compared with its own.",
        legend=True,
    )


def _answered(
    scores: PromptedScores, segmenter: AnswersPrompts, source: Source, kind: str, name: str
) -> Any:
    sample = sample_named(source, name)
    if sample is None or sample.mask is None:
        return None
    how = scores.settings
    found = objects_of(
        sample.mask,
        n_classes=source.n_classes,
        objects=how["objects"],
        first=1 if source.has_background else 0,
        least_area=how["least_area"],
        most=how["most_objects"],
        seed=how["seed"],
    )
    asked = Remembered(segmenter)
    tally = Tally(sample, found, source.class_names)
    prompt_objects(
        asked, asked.embed(sample.image), tally, [kind], seed=how["seed"], jitter=how["jitter"]
    )
    truth = np.where(found.ignored, 255, found.union).astype(np.uint8)
    return against_truth(sample, tally.unions[kind], truth, asked)


def write_report_by_boxes(
    scores: Mapping[str, WeakScores],
    source: Source,
    document: Mapping[str, Any],
    out: Path,
    *,
    segmenter: AnswersPrompts | None = None,
    answer: Answer | None = None,
) -> Path:
    """Write the page of what was measured by boxes alone.

    The best, the median and the worst image by the IoU of tight boxes are answered again, and
    drawn with the boxes that are known.

    Args:
        scores: kind of prompt, or the name of a run → what `evaluate_weak` gave.
        source: the samples that were scored.
        document: what `metrics.json` holds.
        out: the folder to write into.
        segmenter: the promptable model, prompted as the first key of `scores` says; or else
        answer: what finds without being asked.

    Raises:
        StorageError: the page cannot be written.
    """
    kind, first = next(iter(scores.items()))
    asked = None if segmenter is None else Remembered(segmenter)
    if asked is not None:
        answer = answers_of_prompts(asked, kind=kind, seed=int(document["seed"]))
    values = {image.id: image.tight_iou for image in first.images}
    pictures = []
    for role, name in best_median_worst(values.items()) if answer is not None else ():
        shown = _found(answer, source, name, asked)
        if shown is not None:
            pictures.append(Shown(name, role, titled(shown, "IoU of tight boxes", values[name])))
    name = first.name if asked is None else asked.name
    label = kind if asked is not None else ""
    return _write(
        out,
        document,
        rows={key: one.overall for key, one in scores.items()},
        metrics=_BY_BOXES,
        sentence=_sentence(name, label, "IoU of tight boxes", first.overall["tight_iou"]),
        amounts=(first.n_images, first.n_groups),
        findings=first.findings,
        pictures=pictures,
        asked=f"Asked by {kind}; light lines are the known boxes." if label else
        "Light lines are the known boxes.",
        hint="No mask is known: the boxes are what is compared with.",
        legend=False,
    )  # fmt: skip


def _found(
    answer: Callable[[Any], Any] | None, source: Source, name: str, asked: Remembered | None
) -> Any:
    sample = sample_named(source, name)
    if sample is None or answer is None:
        return None
    if asked is not None:
        asked.asked.clear()
    found = answer(sample)
    return None if found is None else beside_boxes(sample, found, asked)


def _sentence(name: str, kind: str, metric: str, value: Mapping[str, Any]) -> str:
    by = f" by {kind}" if kind else ""
    verb = f"Prompted{by}, {name}" if kind else name
    if not is_number(value["mean"]):
        return f"{verb} met no image with a box, so no {metric} can be given."
    between = spread(value)
    return f"{verb} reaches a mean {metric} of {number(value['mean'])}" + (
        f" (95 % interval {between})." if between else "."
    )


def _write(
    out: Path,
    document: Mapping[str, Any],
    *,
    rows: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, str],
    sentence: str,
    amounts: tuple[int, int],
    findings: Sequence[Finding],
    pictures: Sequence[Shown],
    asked: str,
    hint: str,
    legend: bool,
) -> Path:
    images, groups = amounts
    few = f"Intervals over {count(groups, 'group')} say little." if groups < FEW_GROUPS else ""
    colours = [
        (palette.hex_code(palette.TRUE_POSITIVE), "found"),
        (palette.hex_code(palette.FALSE_NEGATIVE), "missed"),
        (palette.hex_code(palette.FALSE_POSITIVE), "too much"),
    ]
    how = [
        ("Source", document["source"]),
        ("Split", document["split"]),
        ("Seed", document["seed"]),
        *((key, document[name]) for key, name in _HOW.items() if document.get(name)),
    ]
    page = render(
        _TEMPLATE,
        title=f"Evaluation on {document['source']}",
        sentence=sentence,
        facts=[
            f"{count(images, 'image')} of {count(groups, 'group')}",
            f"split {document['split']}",
            f"measured by {document['measured_by']}",
        ],
        caution=few,
        table=_table(rows, metrics),
        hint=hint,
        pictures=pictures,
        asked=asked,
        legend=colours if legend else [],
        findings=findings,
        command=document["command"],
        how=how,
        versions=document["versions"],
    )
    path = out / "report.html"
    write_text(path, page)
    return path


_HOW = {
    "Model": "model",
    "Run": "run",
    "Weights (SHA-256)": "weights_sha256",
    "Target": "target",
    "Passes": "sampler",
    "Made": "created",
}


def _table(rows: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, str]) -> Table:
    columns = (Column("asked by", numeric=False), *(Column(name) for name in metrics.values()))
    made = tuple(
        (Cell(name, name), *(_cell(overall.get(metric)) for metric in metrics))
        for name, overall in rows.items()
    )
    return Table(columns, made, len(made))


def _cell(value: Mapping[str, Any] | None) -> Cell:
    if value is None or not is_number(value["mean"]):
        return Cell(NOTHING)
    return Cell(number(value["mean"]), repr(float(value["mean"])), below=spread(value))
