"""Areas with their intervals: does the truth lie where it was said to lie?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from markupsafe import Markup

from penumbra.evaluation.report.data import AreaRow, Interval
from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import is_number, number, percent, percents

MOST_BARS = 120
"""In a chart of its full width; of the charts of several classes each has half of it."""
MOST_CLASSES = 4


def holds(row: AreaRow) -> bool:
    """Tell whether the true area lies in the interval; false where it is unknown."""
    return is_number(row.truth) and row.low <= float(row.truth) <= row.high


def sentence(rows: Sequence[AreaRow], level: float | None, coverage: Interval | None = None) -> str:
    """Say how many intervals hold the true area, against how many should."""
    known = [row for row in rows if is_number(row.truth)]
    if not known:
        return "The true areas are not known."
    held = sum(map(holds, known))
    says = f"The interval holds the true area in {held} of {len(known)} images"
    around = percents(coverage)
    interval = f", 95\u202f% interval {around}" if around else ""
    says += f" ({percent(held / len(known))}{interval})"
    says += f", where it aims at {percent(level)}." if level is not None else "."
    widths = [(row.high - row.low) / row.estimate for row in known if row.estimate > 0]
    if widths:
        says += f" Half of the intervals are narrower than {percent(median(widths))} of the area."
    return says


def charts(
    rows: Sequence[AreaRow],
    level: float | None,
    coverage: Mapping[str, Interval] | None = None,
    note: str = "",
) -> list[Chart]:
    """Draw each image's estimate with its interval and the true area, by estimate; per class.

    Args:
        rows: one for each image and class.
        level: coverage that the intervals aim at.
        coverage: class name → measured coverage with its interval.
        note: a sentence to add.
    """
    classes = list(dict.fromkeys(row.class_name for row in rows))
    most = MOST_BARS if len(classes) == 1 else MOST_BARS // 2
    drawn = []
    for name in classes[:MOST_CLASSES]:
        own = [row for row in rows if row.class_name == name]
        title = "Area with its interval" + (f": {name}" if len(classes) > 1 else "")
        says = " ".join([sentence(own, level, (coverage or {}).get(name)), note]).strip()
        if len(classes) > MOST_CLASSES and name == classes[MOST_CLASSES - 1]:
            says += f" Shown are {MOST_CLASSES} of {len(classes)} classes."
        if len(own) > most:
            says += f" Drawn are {most} of the {len(own)} images, evenly spread."
        drawing = _drawing(own, says, most)
        drawn.append(Chart(title, says, drawing, _LEGEND, wide=len(classes) == 1))
    return drawn


_LEGEND = (
    ("key-doubt", "interval"),
    ("key-round", "estimate"),
    ("key-ink", "true area"),
    ("key-outside", "true area outside"),
)


def _spread_out(rows: list[AreaRow], most: int) -> list[AreaRow]:
    if len(rows) <= most:
        return rows
    last = len(rows) - 1
    return [rows[round(k * last / (most - 1))] for k in range(most)]


def _drawing(rows: Sequence[AreaRow], says: str, most: int) -> Markup:
    shown = _spread_out(sorted(rows, key=lambda row: (row.estimate, row.id)), most)
    top = max(max(row.high, float(row.truth or 0.0)) for row in shown) or 1.0
    frame = svg.Frame(
        x=(0.0, float(len(shown))),
        y=(0.0, top * 1.04),
        width=880.0 if most == MOST_BARS else 420.0,
        left=72.0,
    )
    parts = [
        svg.axes(
            frame,
            x_label=f"{len(shown)} images by estimate",
            y_label="area in pixels",
            x_ticks=[],
            y_words=lambda value: number(round(value)),
        )
    ]
    half = min(6.0, 0.32 * (frame.width - frame.left - frame.right) / len(shown))
    for rank, row in enumerate(shown):
        parts.append(_bar(frame, rank + 0.5, row, half))
    return svg.drawing(frame, says, *parts)


def _bar(frame: svg.Frame, x: float, row: AreaRow, half: float) -> Markup:
    ends = [frame.at(x, row.low), frame.at(x, row.high)]
    middle = frame.at(x, row.estimate)
    words = f"{row.id}: {number(round(row.estimate))} "
    words += f"({number(round(row.low))}–{number(round(row.high))}) pixels"
    parts = [svg.path(ends, "interval"), svg.dot(middle, "dot-mask", size=min(3.5, half + 0.5))]
    if is_number(row.truth):
        words += f", true area {number(round(float(row.truth)))}"
        place = frame.at(x, float(row.truth))
        across = [(place[0] - half - 1, place[1]), (place[0] + half + 1, place[1])]
        parts.append(svg.path(across, "truth-in" if holds(row) else "truth-out"))
    return svg.tag("g", Markup("").join([svg.tag("title", words), *parts]))
