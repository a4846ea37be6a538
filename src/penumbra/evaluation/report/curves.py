"""Curves over images, groups and epochs, and the line below a headline figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from markupsafe import Markup

from penumbra.evaluation.report.scores import ImageScore, by_group
from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import is_number, number

MOST_GROUPS = 16
KINDS = ("mask", "ink", "third", "fourth")


def sorted_scores(scores: Sequence[ImageScore], name: str) -> Chart | None:
    """Draw the score of every image from the lowest to the highest."""
    if len(scores) < 2:
        return None
    values = [score.value for score in scores]
    low = min(0.0, *values) if min(values) < 0.5 else 0.5
    frame = svg.Frame(x=(1.0, float(len(values))), y=(low, max(1.0, *values)))
    middle = median(values)
    axes = svg.axes(
        frame,
        x_label="images, from the lowest to the highest",
        y_label=name,
        x_ticks=[t for t in svg.ticks(1, len(values)) if t == int(t)],
        x_words=svg.plain,
    )
    places = [frame.at(float(rank), value) for rank, value in enumerate(values, start=1)]
    height = frame.at(1, middle)[1]
    parts = [
        axes,
        svg.area(places, frame.at(1, low)[1], "fill-mask"),
        svg.path(places, "line-mask"),
        svg.path([(frame.left, height), (frame.width - frame.right, height)], "ideal"),
        svg.label((frame.left + 6, height - 7), f"median {number(middle)}", "note", anchor="start"),
    ]
    if len(values) <= 400:
        parts += [
            svg.dot(place, "dot-mask", size=2.5, says=f"{score.id}: {number(score.value)}")
            for place, score in zip(places, scores, strict=True)
        ]
    half = sum(value < 0.5 for value in values)
    says = f"Half of the images reach {number(middle)}; {half} of {len(values)} stay below 0.5."
    return Chart(f"{name} of every image", says, svg.drawing(frame, says, *parts))


def groups(scores: Sequence[ImageScore], name: str) -> Chart | None:
    """Draw each group as a row of its images' scores with their mean."""
    gathered = by_group(scores)
    if len(gathered) < 2 or len(gathered) == len(scores):
        return None
    shown = gathered[:MOST_GROUPS]
    step = 20.0
    values = [score.value for _, members in shown for score in members]
    frame = svg.Frame(
        x=(min(0.0, *values) if min(values) < 0.5 else 0.5, max(1.0, *values)),
        y=(0.0, float(len(shown))),
        height=step * len(shown) + 60,
        left=132.0,
    )
    floor = frame.height - frame.bottom
    parts = []
    for value in svg.ticks(*frame.x):
        x, _ = frame.at(value, 0)
        parts.append(svg.path([(x, frame.top), (x, floor)], "grid"))
        parts.append(svg.label((x, floor + 18), svg.plain(value), "tick"))
    for rank, (group, members) in enumerate(shown):
        y = frame.top + step * (rank + 0.5)
        parts.append(svg.label((frame.left - 12, y + 4), _short(group), "tick", anchor="end"))
        for score in members:
            place = (frame.at(score.value, 0)[0], y)
            parts.append(svg.dot(place, "dot-faint", says=f"{score.id}: {number(score.value)}"))
        mean = fmean(score.value for score in members)
        x = frame.at(mean, 0)[0]
        title = svg.tag("title", f"{group}: mean {number(mean)} of {len(members)}")
        bar = {"x": x - 1.5, "y": y - 7, "width": 3, "height": 14}
        parts.append(svg.tag("rect", title, class_="mark", **bar))
    parts.append(svg.label(((frame.left + frame.width) / 2, frame.height - 6), name, "axis-name"))
    lowest, highest = (fmean(s.value for s in gathered[k][1]) for k in (0, -1))
    says = f"Group means run from {number(lowest)} to {number(highest)}."
    if len(shown) < len(gathered):
        says += f" Shown are the {len(shown)} lowest of {len(gathered)}."
    legend = (("key-mark", "mean"), ("key-faint", "one image"))
    return Chart(f"{name} by group", says, svg.drawing(frame, says, *parts), legend)


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else f"{text[: most - 8]}…{text[-7:]}"


def training(history: Sequence[Mapping[str, Any]], name: str) -> Chart | None:
    """Draw every column of the history whose name holds `name` against the epoch."""
    word = name.lower()
    found = sorted({key for row in history for key in row if word in key.lower()})[: len(KINDS)]
    lines = {
        column: [
            (float(row.get("epoch", rank)), float(row[column]))
            for rank, row in enumerate(history)
            if is_number(row.get(column))
        ]
        for column in found
    }
    lines = {column: line for column, line in lines.items() if line}
    if not lines:
        return None
    values = [y for line in lines.values() for _, y in line]
    epochs = [x for line in lines.values() for x, _ in line]
    top = 1.0 if word == "dice" else max(values) * 1.05 or 1.0
    frame = svg.Frame(x=(min(epochs), max(*epochs, min(epochs) + 1)), y=(min(0.0, *values), top))
    whole = [t for t in svg.ticks(*frame.x) if t == int(t)]
    parts = [svg.axes(frame, x_label="epoch", y_label=name, x_ticks=whole)]
    for kind, line in zip(KINDS, lines.values(), strict=False):
        places = [frame.at(*point) for point in line]
        parts.append(svg.path(places, f"line-{kind}"))
        parts.append(svg.dot(places[-1], f"dot-{kind}", says=number(line[-1][1])))
    says = _training_words(lines, word)
    legend = tuple(
        (f"key-{kind}", _spoken(column)) for kind, column in zip(KINDS, lines, strict=False)
    )
    return Chart(f"{name} by epoch", says, svg.drawing(frame, says, *parts), legend)


def _spoken(column: str) -> str:
    words = column.replace("_", " ").replace("/", " ")
    return words.replace("dice", "Dice").replace("nll", "NLL")


def _training_words(lines: Mapping[str, Sequence[svg.Point]], word: str) -> str:
    name = next((n for n in lines if n.lower().startswith("val")), next(iter(lines)))
    choose = max if word == "dice" else min
    epoch, value = choose(lines[name], key=lambda point: point[1])
    end = "highest" if word == "dice" else "lowest"
    return f"The {end} {_spoken(name)} is {number(value)}, in epoch {epoch:g}."


def interval_bar(interval: Mapping[str, Any], *, better: str) -> Markup:
    """Draw a mean and its interval on a short line from 0 to 1, or to a round value above."""
    mean, low, high = (interval.get(key) for key in ("mean", "low", "high"))
    if not is_number(mean):
        return Markup("")
    value = float(mean)
    reach = float(high) if is_number(high) else value
    top = (
        1.0
        if better == "higher"
        else next((t for t in (0.05, 0.1, 0.25, 0.5, 1.0) if t >= reach), reach)
    )
    frame = svg.Frame((0.0, top), (0.0, 1.0), 260, 34, left=4, right=4, top=4, bottom=20)
    line = 12.0
    parts = [svg.path([(4, line), (256, line)], "grid")]
    if is_number(low) and is_number(high):
        ends = [(frame.at(float(low), 0)[0], line), (frame.at(reach, 0)[0], line)]
        parts.append(svg.path(ends, "span"))
    parts.append(svg.dot((frame.at(value, 0)[0], line), "dot-ink", size=4.5))
    parts.append(svg.label((4, 32), "0", "tick", anchor="start"))
    parts.append(svg.label((256, 32), svg.plain(top), "tick", anchor="end"))
    return svg.drawing(frame, f"{number(mean)} on a scale from 0 to {svg.plain(top)}", *parts)
