"""The questions of the study of noise as tables: rows against sets, differences in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WORDS = {
    "nll": "NLL", "joint_nll": "joint tile NLL", "ece": "ECE", "aurc": "pixel AURC",
    "image_aurc": "image AURC", "ged": "GED", "boundary_f1": "boundary F1", "hd95": "HD95",
    "dice": "Dice",
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One table.

    Attributes:
        marker: of docs/results.md.
        metrics: which.
        rows: which, where they are there.
        base: the row that they are compared with.
        sets: which sets; all where empty.
        shifts: ``clean`` or shifts, one column per set and shift.
    """

    marker: str
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    base: str = "temperature"
    sets: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ("clean",)


_ONE = (
    "local",
    "noise",
    "input-gates",
    "noise-encoder",
    "logit-noise",
    "logit-noise-8",
    "augmentation",
)
_MORE = (
    "mirror",
    "logit-noise+mirror",
    "logit-noise+augmentation",
    "noise+augmentation",
    "local+augmentation",
    "dropout",
    "noise-trained",
    "multiplicative-trained",
    "dropblock-trained",
    "ssn",
)
_SEVERAL = ("ensemble-2", "ensemble-3", "ensemble-5", "cv-ensemble-5", "as-shipped")
_SHIFTS = ("blur-3", "contrast-3", "noise-3")
_INSERTED = ("dropout-inserted", "dropblock-inserted", "multiplicative-inserted")

QUESTIONS = (
    Question("study-edges", ("dice", "boundary_f1", "hd95"),
             ("noise", "logit-noise", "logit-noise+augmentation", "augmentation", "dropout",
              "noise-trained", "ensemble-5")),
    Question("study-calibration", ("nll", "joint_nll", "ece", "aurc"),
             (*_ONE, *_MORE, *_INSERTED, *_SEVERAL)),
    Question("study-failure", ("image_aurc",), (*_ONE, *_MORE, *_INSERTED, *_SEVERAL)),
    Question("study-readers", ("ged", "joint_nll"), (*_ONE, *_MORE, *_SEVERAL),
             sets=("phantom", "lungs")),
    Question("study-shift", ("nll", "joint_nll", "image_aurc"),
             ("local", "noise", "logit-noise", "augmentation", "dropout", "ensemble-5"),
             sets=("isbi", "nerve", "dsb2018", "infection"), shifts=_SHIFTS),
    Question("study-pattern", ("joint_nll", "nll"),
             ("noise-gaussian", "noise-perlin", "noise-simplex", "noise-8px", "noise-64px",
              "noise-n4", "noise-n64", "noise-16"), base="noise"),
    Question("study-aim-dropout", ("joint_nll", "image_aurc", "nll", "aurc"),
             ("logit-noise", "logit-noise-8", "logit-noise+augmentation", "noise",
              "noise+augmentation"),
             base="dropout"),
    Question("study-aim-augmentation", ("joint_nll", "image_aurc", "nll", "aurc"),
             ("logit-noise", "logit-noise-8", "logit-noise+augmentation", "noise",
              "noise+augmentation", "local+augmentation"),
             base="augmentation"),
    Question("study-aim-mirror", ("joint_nll", "image_aurc", "nll", "aurc"),
             ("logit-noise", "logit-noise-8", "logit-noise+mirror", "noise"), base="mirror"),
    Question("study-aim-ensemble", ("nll", "joint_nll"),
             ("local", "logit-noise", "logit-noise+augmentation", "noise", "augmentation",
              "local+augmentation"),
             base="ensemble-5"),
)  # fmt: skip


def question_table(results: Mapping[str, Any], question: Question) -> str:
    """Write one table: relative differences in per cent, bold where the interval excludes 0."""
    places = _places(results, question)
    head = ["measure", "row", *(title for title, _ in places)]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * len(places)]
    for metric in question.metrics:
        values = [_value(place, question.base, metric) for _, place in places]
        lines.append(f"| {_WORDS[metric]} | *`{question.base}`* | " + " | ".join(values) + " |")
        for row in question.rows:
            cells = [_difference(place, row, question.base, metric) for _, place in places]
            if any(cell != "–" for cell in cells):
                lines.append(f"| | `{row}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cost_table(results: Mapping[str, Any]) -> str:
    """Write what each row costs: runs, and milliseconds per image on the sets of one tile."""
    names = [name for name in results["sets"] if "clean" in results["sets"][name]]
    lines = ["| row | one prediction | " + " | ".join(f"{n}, ms per image" for n in names) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(names))
    rows: dict[str, str] = {}
    for name in names:
        for row, found in results["sets"][name]["clean"]["rows"].items():
            rows.setdefault(row, found["cost"]["passes"])
    for row, cost in rows.items():
        cells = []
        for name in names:
            found = results["sets"][name]["clean"]["rows"].get(row)
            cells.append("–" if found is None else f"{found['cost']['ms_per_image']:.0f}")
        lines.append(f"| `{row}` | {cost} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _places(results: Mapping[str, Any], question: Question) -> list[tuple[str, Any]]:
    found = []
    for name, shifts in results["sets"].items():
        if question.sets and name not in question.sets:
            continue
        for shift in question.shifts:
            if shift in shifts and question.base in shifts[shift]["rows"]:
                title = name if shift == "clean" else f"{name}, {shift.partition('-')[0]}"
                found.append((title, shifts[shift]))
    return found


def _value(place: Any, row: str, metric: str) -> str:
    value = place["rows"][row]["metrics"].get(metric, {}).get("mean")
    return "–" if value is None else f"{value:.3g}"


def _difference(place: Any, row: str, base: str, metric: str) -> str:
    found = place["rows"].get(row, {}).get("against", {}).get(base, {}).get(metric)
    if not found or found.get("relative_mean") is None:
        return "–"
    mean, low, high = (100 * found[f"relative_{end}"] for end in ("mean", "low", "high"))
    text = f"{_signed(mean)} ({_signed(low)} to {_signed(high)})"
    return f"**{text}**" if low > 0 or high < 0 else text


def _signed(value: float) -> str:
    rounded = f"{abs(value):.1f}"
    if rounded == "0.0":
        # A second digit, so that an interval that excludes zero is seen to do so.
        rounded = f"{abs(value):.2f}"
    if rounded == "0.00":
        return "0"
    return f"{'−' if value < 0 else '+'}{rounded}"


def all_tables(
    results: Mapping[str, Any], questions: Sequence[Question] = QUESTIONS
) -> dict[str, str]:
    """Write the tables of all questions by their markers."""
    tables = {question.marker: question_table(results, question) for question in questions}
    return tables | {"study-cost": cost_table(results)}
