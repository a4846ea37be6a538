"""How far the doubt can be trusted, drawn. Each chart says in a sentence what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from penumbra.evaluation.report import svg
from penumbra.evaluation.report.scores import ImageScore, risk_by_coverage
from penumbra.evaluation.report.words import is_number, number, percent


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading and its sentence."""

    title: str
    says: str
    drawing: Markup
    legend: tuple[tuple[str, str], ...] = ()


def reliability(rows: Sequence[Mapping[str, float]]) -> Chart | None:
    """Draw accuracy against confidence, with the share of pixels in each bin below."""
    filled = [row for row in rows if row.get("count") and is_number(row.get("accuracy"))]
    total = sum(float(row["count"]) for row in filled)
    if not total:
        return None
    # With two classes the chosen one is never below ½; half the chart would stay empty.
    low = 0.5 if min(row["confidence"] for row in filled) >= 0.5 else 0.0
    frame = svg.Frame(x=(low, 1.0), y=(0.0, 1.0))
    gap = sum(r["count"] * abs(r["confidence"] - r["accuracy"]) for r in filled) / total
    parts = [svg.axes(frame, x_label="confidence", y_label="accuracy")]
    for row in filled:
        left, floor = frame.at(row["low"], 0.0)
        right, top = frame.at(row["high"], 0.25 * row["count"] / total)
        title = svg.tag("title", f"{percent(row['count'] / total)} of pixels")
        box = {"x": left + 1, "y": top, "width": max(right - left - 2, 0.5), "height": floor - top}
        parts.append(svg.tag("rect", title, class_="share", **box))
    parts.append(svg.path([frame.at(low, low), frame.at(1, 1)], "ideal"))
    places = [frame.at(row["confidence"], row["accuracy"]) for row in filled]
    parts.append(svg.path(places, "line-mask"))
    for row, place in zip(filled, places, strict=True):
        words = f"confidence {number(row['confidence'])}, accuracy {number(row['accuracy'])}"
        parts.append(svg.dot(place, "dot-mask", says=words))
    lean = sum(r["count"] * (r["confidence"] - r["accuracy"]) for r in filled) / total
    sure = "surer than it is right" if lean > 0 else "less sure than it is right"
    says = f"On average confidence and accuracy differ by {number(gap)}; the network is {sure}."
    if gap < 0.005:
        says = f"Confidence and accuracy agree to {number(gap)} on average."
    legend = (("key-mask", "measured"), ("key-ideal", "perfect"), ("key-share", "share of pixels"))
    return Chart(
        "Is the confidence right?",
        says,
        svg.drawing(frame, says, *parts),
        legend,
    )


def errors_by_doubt(rows: Sequence[Mapping[str, float]], *, where: str) -> Chart | None:
    """Draw the share of all errors against the share of pixels looked at, most doubtful first."""
    if not rows:
        return None
    frame = svg.Frame(x=(0.0, 1.0), y=(0.0, 1.0))
    axes = svg.axes(
        frame,
        x_label="pixels looked at, most doubtful first",
        y_label="errors found",
        x_words=percent,
        y_words=percent,
    )
    places = [frame.at(row["pixels"], row["errors"]) for row in rows]
    floor = frame.at(0, 0)[1]
    chance = svg.path([frame.at(0, 0), frame.at(1, 1)], "ideal")
    found = errors_found(rows, 0.05)
    mark = frame.at(0.05, found)
    says = (
        f"The {percent(0.05)} of pixels most in doubt hold {percent(found)} of the errors{where}."
    )
    parts = [
        axes,
        svg.area(places, floor, "fill-doubt"),
        chance,
        svg.path(places, "line-doubt"),
        svg.dot(mark, "dot-doubt", size=5, says=says),
        svg.label((mark[0] + 12, mark[1] + 5), percent(found), "note", anchor="start"),
    ]
    legend = (("key-doubt", "by doubt"), ("key-ideal", "by chance"))
    return Chart("Does doubt find the errors?", says, svg.drawing(frame, says, *parts), legend)


def errors_found(rows: Sequence[Mapping[str, float]], share: float) -> float:
    """Read the curve of errors by doubt at a share of pixels, between its rows by a line."""
    before = rows[0]
    for row in rows:
        if row["pixels"] >= share:
            span = row["pixels"] - before["pixels"]
            part = (share - before["pixels"]) / span if span > 0 else 1.0
            return float(before["errors"] + part * (row["errors"] - before["errors"]))
        before = row
    return float(before["errors"])


def coverage(scores: Sequence[ImageScore], name: str) -> Chart | None:
    """Draw the mean risk of the images that are kept when the doubtful ones go to a person."""
    curve = risk_by_coverage(scores)
    if len(curve) < 2:
        return None
    top = max(risk for _, risk in curve)
    frame = svg.Frame(x=(0.0, 1.0), y=(0.0, max(top * 1.1, 0.01)))
    axes = svg.axes(
        frame,
        x_label="images kept, least doubtful first",
        y_label=f"mean of 1 − {name}",
        x_words=percent,
    )
    places = [frame.at(*point) for point in curve]
    height = frame.at(1.0, curve[-1][1])[1]
    kept = curve[max(round(0.8 * len(curve)), 1) - 1]
    says = (
        f"1 − {name} is {number(curve[-1][1])} over all images and {number(kept[1])} "
        f"without the {percent(1 - kept[0])} most in doubt."
    )
    parts = [
        axes,
        svg.area(places, frame.at(0, 0)[1], "fill-doubt"),
        svg.path([(frame.left, height), (frame.width - frame.right, height)], "ideal"),
        svg.path(places, "line-doubt"),
        svg.dot(frame.at(*kept), "dot-doubt", size=5, says=says),
    ]
    legend = (("key-doubt", "by doubt"), ("key-ideal", "all images"))
    return Chart("Risk against coverage", says, svg.drawing(frame, says, *parts), legend)
