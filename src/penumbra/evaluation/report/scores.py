"""One score per image and per group, out of the rows of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from penumbra.pages.words import is_number

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ImageScore:
    """The score of one image.

    Attributes:
        id: the sample's id.
        group: its group; the id where unknown.
        value: the mean over the image's rows whose value is defined.
        doubt: mean uncertainty of the image, or ``None``.
    """

    id: str
    group: str
    value: float
    doubt: float | None = None


def scored_rows(rows: Rows) -> list[dict[str, Any]]:
    """Give the rows that count, without columns that are undefined in all of them.

    What is true or false becomes yes or no.

    Examples:
        >>> row = {"id": "a", "class_name": "cell", "scored": True, "dice": 0.9, "hd95_mm": None}
        >>> scored_rows([row, {**row, "class_name": "background", "scored": False}])
        [{'id': 'a', 'class': 'cell', 'dice': 0.9}]
    """
    kept = [dict(row) for row in rows if row.get("scored", True)]
    for row in kept:
        row.pop("scored", None)
        row.update(
            {k: "yes" if v else "no" for k, v in row.items() if isinstance(v, (bool, np.bool_))}
        )
    told = {key for row in kept for key, v in row.items() if is_number(v) or isinstance(v, str)}
    renamed = {"class_name": "class"}
    return [{renamed.get(k, k): v for k, v in row.items() if k in told} for row in kept]


def image_scores(rows: Rows, metric: str) -> list[ImageScore]:
    """Give one score per image, worst overlap first.

    Args:
        rows: rows with ``id``, ``group`` and metrics; an image may have a row for each class.
        metric: name of the metric. Images without a defined value are left out.

    Examples:
        >>> rows = [{"id": "a", "dice": 0.8}, {"id": "a", "dice": 0.6}, {"id": "b", "dice": None}]
        >>> [(score.id, round(score.value, 2)) for score in image_scores(rows, "dice")]
        [('a', 0.7)]
    """
    by_image: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if is_number(row.get(metric)):
            by_image.setdefault(str(row.get("id", "")), []).append(row)
    scores = []
    for name, found in by_image.items():
        doubts = [row["mean_entropy"] for row in found if is_number(row.get("mean_entropy"))]
        scores.append(
            ImageScore(
                id=name,
                group=str(found[0].get("group") or name),
                value=fmean(float(row[metric]) for row in found),
                doubt=fmean(doubts) if doubts else None,
            )
        )
    return sorted(scores, key=lambda score: (score.value, score.id))


def by_group(scores: Sequence[ImageScore]) -> list[tuple[str, list[ImageScore]]]:
    """Gather scores by group, the group with the lowest mean first."""
    groups: dict[str, list[ImageScore]] = {}
    for score in scores:
        groups.setdefault(score.group, []).append(score)
    return sorted(groups.items(), key=lambda item: fmean(s.value for s in item[1]))


def risk_by_coverage(scores: Sequence[ImageScore]) -> list[tuple[float, float]]:
    """Give the mean risk 1 − score of the images that are least in doubt, by their share.

    Args:
        scores: images whose `doubt` is known; others are left out.

    Returns:
        (coverage, risk) for the k least doubtful images, k = 1 … n. The last risk is that of all.
    """
    known = sorted(
        (score for score in scores if score.doubt is not None),
        key=lambda score: (score.doubt or 0.0, score.id),
    )
    curve, total = [], 0.0
    for kept, score in enumerate(known, start=1):
        total += 1.0 - score.value
        curve.append((kept / len(known), total / kept))
    return curve
