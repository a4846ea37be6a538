"""The study's figures for those of its patients whose images the small model never saw at all."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _small_sets import CASES, SEED, parts

from penumbra.evaluation.group_means import mean_intervals
from penumbra.studies.prompts.wording import kind_in_words

METHODS = ("zero-shot/none", "decoder/none", "lora/none", "filled-box", "grabcut")
HEADINGS = ("zero-shot", "decoder", "lora", "filled box", "GrabCut")


def seen_patients() -> frozenset[str]:
    """Give the patients whose lungs the small model learned from."""
    lungs = next(case for case in CASES if case.name == "lungs")
    return frozenset(record.group for record in parts(lungs)["train"].records)


def unseen_rows(out: Path, kinds: Sequence[str], seen: frozenset[str]) -> dict[str, Any]:
    """Average Dice per image over seeds, then over images, with intervals over patients.

    Args:
        out: folder of the study.
        kinds: of prompts.
        seen: patients to leave out.

    Returns:
        ``rows``: kind → method → mean, low, high; ``patients``: how many are left.
    """
    rows: dict[str, dict[str, Any]] = {}
    left: set[str] = set()
    for kind in kinds:
        rows[kind] = {}
        for method in METHODS:
            dice, groups = defaultdict(list), {}
            for file in sorted((out / "cells" / method).rglob(f"{kind}-*.json")):
                for image in json.loads(file.read_text(encoding="utf-8"))["images"]:
                    if image["group"] not in seen:
                        dice[image["id"]].append(image["dice"])
                        groups[image["id"]] = image["group"]
            if dice:
                means = [float(np.mean(values)) for values in dice.values()]
                names = [groups[name] for name in dice]
                left |= set(names)
                found = mean_intervals({"dice": means}, names, seed=SEED)["dice"]
                rows[kind][method] = {end: round(found[end], 4) for end in ("mean", "low", "high")}
    return {"rows": rows, "patients": len(left)}


def unseen_table(found: dict[str, Any]) -> str:
    """Lay them out in Markdown."""
    lines = [f"| prompt | {' | '.join(HEADINGS)} |", f"| --- |{' --- |' * len(HEADINGS)}"]
    for kind, row in found["rows"].items():
        cells = []
        for method in METHODS:
            one = row.get(method)
            cells.append(f"{one['mean']:.3f} ({one['low']:.3f}–{one['high']:.3f})" if one else "–")
        lines.append(f"| {kind_in_words(kind)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"*{found['patients']} patients.*"])
