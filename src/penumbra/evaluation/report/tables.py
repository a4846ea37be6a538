"""The tables of the report, as words ready to be put into cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penumbra.evaluation.report.data import Interval, ReportData
from penumbra.evaluation.report.words import METRICS, metric
from penumbra.imaging.palette import class_colour, hex_code
from penumbra.pages.tables import Cell, Column, Table
from penumbra.pages.words import is_number, number, spread

MOST_ROWS = 5000
_WORDS_FIRST = ("id", "group", "class")
_TOO_MUCH = frozenset(
    (
        *("specificity", "pixel_accuracy", "brier", "nll", "ece", "joint_nll"),
        *("area_low", "area_estimate", "area_high"),
    )
)
"""Columns of per_image.csv that would make the table too wide for a small screen."""

_MOST_COLUMNS = 6
_OF_MANY_CLASSES = frozenset(("iou_pooled", "iou", "dice", "boundary_f1", "precision", "recall"))


def _column(name: str) -> Column:
    known = metric(name)
    arrow = {"higher": " ↑", "lower": " ↓"}.get(known.better, "")
    return Column(known.label + arrow, known.says)


def _ordered(names: Sequence[str]) -> list[str]:
    """Put known metrics first, in the house's order, then the rest as they came."""
    known = [name for name in METRICS if name in names]
    return known + [name for name in names if name not in METRICS]


def _interval_cell(name: str, interval: Interval | None) -> Cell:
    mean, digits = (interval or {}).get("mean"), metric(name).digits
    key = repr(float(mean)) if is_number(mean) else ""
    return Cell(number(mean, digits=digits), key, below=spread(interval, digits=digits))


def per_class(data: ReportData) -> Table | None:
    """Give mean and interval of each metric, for each class and for all together.

    Metrics are rows where there are more of them than classes, as there mostly are: a dozen
    columns with intervals do not fit on a small screen. With more than six classes these are the
    rows, and the columns the few metrics by which masks are told apart.
    """
    if not data.per_class and not data.overall:
        return None
    every = [*data.per_class.values(), data.overall]
    found = dict.fromkeys(
        name for intervals in every for name in intervals if is_number(intervals[name].get("mean"))
    )
    names = _ordered(list(found))
    if len(data.per_class) > _MOST_COLUMNS:
        return _by_class(data, [name for name in names if name in _OF_MANY_CLASSES])
    if len(names) > len(data.per_class):
        return _by_metric(data, names)
    return _by_class(data, names)


def _swatches(data: ReportData) -> list[str]:
    index = {name: rank for rank, name in enumerate(data.class_names)}
    places = [index.get(name, rank) for rank, name in enumerate(data.per_class, start=1)]
    return [hex_code(class_colour(place)) if place else "" for place in places]


def _by_metric(data: ReportData, names: Sequence[str]) -> Table:
    columns = [Column("Metric", numeric=False)]
    columns += [
        Column(label, swatch=swatch)
        for label, swatch in zip(data.per_class, _swatches(data), strict=True)
    ]
    columns += [Column("overall", "foreground classes together")] if data.overall else []
    rows = []
    for name in names:
        head = _column(name)
        sets = [*data.per_class.values(), *([data.overall] if data.overall else [])]
        cells = (_interval_cell(name, intervals.get(name)) for intervals in sets)
        rows.append((Cell(head.name, head.name, says=head.says), *cells))
    return Table(tuple(columns), tuple(rows), len(rows))


def _by_class(data: ReportData, names: Sequence[str]) -> Table:
    rows = []
    for (label, intervals), swatch in zip(data.per_class.items(), _swatches(data), strict=True):
        cells = [_interval_cell(name, intervals.get(name)) for name in names]
        rows.append((Cell(label, label, swatch=swatch), *cells))
    overall = [_interval_cell(name, data.overall.get(name)) for name in names]
    foot = ((Cell("overall"), *overall),) if data.overall else ()
    columns = (Column("Class", numeric=False), *(_column(name) for name in names))
    return Table(columns, tuple(rows), len(rows), foot)


def _value_cell(name: str, value: object) -> Cell:
    key = repr(float(value)) if is_number(value) else ""
    return Cell(number(value, digits=metric(name).digits), key)


def _shown(name: str) -> bool:
    return name not in _TOO_MUCH and not name.startswith("score_")


def per_image(
    rows: Sequence[Mapping[str, Any]], doubt: Mapping[str, float] | None = None
) -> Table | None:
    """Give every image's row, the lowest Dice first; cut after `MOST_ROWS`.

    Args:
        rows: the rows; columns that say little about a single image are left out.
        doubt: sample id → doubt about the image, in place of its mean entropy.
    """
    if not rows:
        return None
    if doubt:
        rows = [{**row, "image_doubt": doubt.get(str(row.get("id")))} for row in rows]
    present = [n for n in dict.fromkeys(key for row in rows for key in row) if _shown(n)]
    if doubt and "mean_entropy" in present:
        present.remove("mean_entropy")
    if len({row.get("class") for row in rows}) == 1 and "class" in present:
        present.remove("class")
    words = [name for name in _WORDS_FIRST if name in present]
    texts = [n for n in present if n not in words and any(isinstance(r.get(n), str) for r in rows)]
    metrics = _ordered([name for name in present if name not in words and name not in texts])

    def dice(row: Mapping[str, Any]) -> float:
        value = row.get("dice")
        return float(value) if is_number(value) else 2.0

    kept = sorted(rows, key=dice)[:MOST_ROWS]
    cells = tuple(
        (
            *(Cell(str(row.get(name) or ""), str(row.get(name) or "")) for name in words + texts),
            *(_value_cell(name, row.get(name)) for name in metrics),
        )
        for row in kept
    )
    columns = (
        *(Column(name.replace("_", " ").capitalize(), numeric=False) for name in words + texts),
        *(_column(name) for name in metrics),
    )
    return Table(columns, cells, len(rows))
