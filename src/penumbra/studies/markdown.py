"""The tables of a study as Markdown, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

HIGHER_IS_BETTER = {
    "dice", "iou", "precision", "recall", "specificity", "pixel_accuracy", "boundary_f1",
    "dice_pooled", "iou_pooled", "image_spearman", "image_auroc", "best_dice", "matched",
    "area_coverage",
}  # fmt: skip
"""Of all others a lower value is better, or neither is."""

_NAMES = {
    "dice": "Dice", "boundary_f1": "boundary F1", "hd95": "HD95 (px)", "nll": "NLL",
    "joint_nll": "joint tile NLL", "brier": "Brier", "ece": "ECE", "ace": "ACE", "mce": "MCE",
    "aurc": "AURC", "e_aurc": "E-AURC", "ause": "AUSE", "image_aurc": "image AURC",
    "image_e_aurc": "image E-AURC", "image_spearman": "image ρ", "image_auroc": "image AUROC",
    "disagreement_share": "MI/H", "ged": "GED", "expected_nll": "NLL by true probability",
    "area_coverage": "coverage of areas",
}  # fmt: skip


def markdown(results: Mapping[str, Any], metrics: Sequence[str], baselines: Sequence[str]) -> str:
    """Write all tables.

    Args:
        results: as `results_of` gives them.
        metrics: which metrics are shown, one column each.
        baselines: rows that the others are compared with, one table each.

    Returns:
        Markdown: a section per set and shift, and one that counts over sets.
    """
    parts = [
        f"{results['done']} of {results['cells']} cells. Intervals are 95 %, from "
        f"{results['resamples']} resamples of groups; differences are paired by group and seed, "
        "and **bold** where their interval excludes zero."
    ]
    for base in baselines:
        parts += _counts(results, metrics, base)
    for name, shifts in results["sets"].items():
        for shift, place in shifts.items():
            title = name if shift == "clean" else f"{name}, {shift}"
            parts.append(f"## {title}")
            parts.append(f"{place['images']} images of {place['groups']} groups.")
            parts.append(_values(place["rows"], metrics))
            for base in baselines:
                if base in place["rows"] and len(place["rows"]) > 1:
                    parts += [f"Difference from `{base}`:", _differences(place, metrics, base)]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _values(rows: Mapping[str, Any], metrics: Sequence[str]) -> str:
    head = ["row", "seeds", *(_NAMES.get(name, name) for name in metrics), "ms per image"]
    return _table(
        head,
        [
            [
                f"`{name}`",
                str(len(row["seeds"])),
                *(_value(row["metrics"].get(metric)) for metric in metrics),
                f"{row['cost']['ms_per_image']:.0f}",
            ]
            for name, row in rows.items()
        ],
    )


def _differences(place: Mapping[str, Any], metrics: Sequence[str], base: str) -> str:
    head = ["row", *(_NAMES.get(name, name) for name in metrics)]
    return _table(
        head,
        [
            [
                f"`{name}`",
                *(_difference(row["against"][base].get(metric)) for metric in metrics),
            ]
            for name, row in place["rows"].items()
            if base in row["against"]
        ],
    )


def _counts(results: Mapping[str, Any], metrics: Sequence[str], base: str) -> list[str]:
    """Count the sets on which a row is better or worse than the base, the interval without 0."""
    tally: dict[str, dict[str, list[int]]] = {}
    for shifts in results["sets"].values():
        for name, row in shifts.get("clean", {"rows": {}})["rows"].items():
            for metric, found in row["against"].get(base, {}).items():
                counts = tally.setdefault(name, {}).setdefault(metric, [0, 0, 0])
                counts[_verdict(metric, found)] += 1
    if not tally:
        return []
    head = ["row", *(_NAMES.get(name, name) for name in metrics)]
    rows = [
        [f"`{name}`", *(_counted(by_metric.get(metric)) for metric in metrics)]
        for name, by_metric in tally.items()
    ]
    title = f"Sets on which a row is better / level / worse than `{base}`:"
    return [title, _table(head, rows)]


def _verdict(metric: str, found: Mapping[str, float]) -> int:
    """Give 0 for better, 1 for level, 2 for worse."""
    if not _known(found["low"]) or found["low"] <= 0 <= found["high"]:
        return 1
    return 0 if (found["mean"] > 0) == (metric in HIGHER_IS_BETTER) else 2


def _counted(counts: Sequence[int] | None) -> str:
    return "–" if counts is None else " / ".join(map(str, counts))


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _figure(value: float) -> str:
    """Write three to four digits that count.

    Examples:
        >>> _figure(0.012345), _figure(12.345), _figure(-0.0)
        ('0.0123', '12.3', '0')
    """
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 7)}f}".replace("-", "−")


def _value(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    text = _figure(found["mean"])
    if _known(found["low"]):
        text += f" ({_figure(found['low'])} to {_figure(found['high'])})"
    return text


def _difference(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "–"
    text = ("+" if found["mean"] > 0 else "") + _figure(found["mean"])
    if not _known(found["low"]):
        return text
    beyond = not found["low"] <= 0 <= found["high"]
    text = f"**{text}**" if beyond else text
    return f"{text} ({_figure(found['low'])} to {_figure(found['high'])})"
