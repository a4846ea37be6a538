"""How far the doubt can be trusted, drawn. Each chart says in a sentence what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import is_number, number, percent

Rows = Sequence[Mapping[str, float]]


def _filled(rows: Rows) -> list[Mapping[str, float]]:
    return [row for row in rows if row.get("count") and is_number(row.get("accuracy"))]


def mean_gap(rows: Rows) -> float:
    """Give the mean of |confidence − accuracy| over pixels, bin by bin: the ECE of the rows."""
    filled = _filled(rows)
    total = sum(float(row["count"]) for row in filled)
    return sum(r["count"] * abs(r["confidence"] - r["accuracy"]) for r in filled) / (total or 1.0)


CONFIDENCE = ("confidence", "accuracy")


def _lean(filled: Rows) -> str:
    """Say whether the network is too sure: of most pixels, and of the others where they differ."""
    leans = [float(r["count"]) * (r["confidence"] - r["accuracy"]) for r in filled]
    most = max(range(len(filled)), key=lambda k: float(filled[k]["count"]))
    words = {True: "surer than it is right", False: "less sure than it is right"}
    rest = sum(leans) - leans[most]
    if rest * leans[most] >= 0:
        return f"the network is {words[sum(leans) > 0]}"
    where = f"at confidence {number(filled[most]['confidence'])}, where most pixels are"
    return f"the network is {words[leans[most] > 0]} {where}, and {words[rest > 0]} elsewhere"


def reliability(
    rows: Rows, before: Rows = (), *, names: tuple[str, str] = CONFIDENCE
) -> Chart | None:
    """Draw accuracy against confidence, with the share of pixels in each bin below.

    Args:
        rows: one for each bin of confidence.
        before: the same before calibration, drawn thinner beside it.
        names: what is compared; any but confidence and accuracy are not said to be too sure.
    """
    filled = _filled(rows)
    total = sum(float(row["count"]) for row in filled)
    if not total:
        return None
    earlier = _filled(before)
    # With two classes the chosen one is never below ½; half the chart would stay empty.
    low = 0.5 if min(row["confidence"] for row in (*filled, *earlier)) >= 0.5 else 0.0
    frame = svg.Frame(x=(low, 1.0), y=(0.0, 1.0))
    parts = [svg.axes(frame, x_label=names[0], y_label=names[1])]
    parts += [_share(frame, row, row["count"] / total) for row in filled]
    parts.append(svg.path([frame.at(low, low), frame.at(1, 1)], "ideal"))
    parts.append(svg.path(_places(frame, earlier), "line-third thin"))
    parts.append(svg.path(_places(frame, filled), "line-mask"))
    for row, place in zip(filled, _places(frame, filled), strict=True):
        words = f"confidence {number(row['confidence'])}, accuracy {number(row['accuracy'])}"
        parts.append(svg.dot(place, "dot-mask", says=words))
    gap = mean_gap(filled)
    says = f"On average confidence and accuracy differ by {number(gap)}; {_lean(filled)}."
    if names != CONFIDENCE:
        says = f"On average {names[0]} and {names[1]} differ by {number(gap)}."
    elif gap < 0.005:
        says = f"Confidence and accuracy agree to {number(gap)} on average."
    legend = [("key-mask", "measured"), ("key-ideal", "perfect"), ("key-share", "share of pixels")]
    if earlier:
        says += f" Before calibration they differed by {number(mean_gap(earlier))}."
        legend.insert(1, ("key-third", "before calibration"))
    drawing = svg.drawing(frame, says, *parts)
    return Chart("Is the confidence right?", says, drawing, tuple(legend))


def _places(frame: svg.Frame, rows: Rows) -> list[svg.Point]:
    return [frame.at(row["confidence"], row["accuracy"]) for row in rows]


def _share(frame: svg.Frame, row: Mapping[str, float], share: float) -> Markup:
    left, floor = frame.at(row["low"], 0.0)
    right, top = frame.at(row["high"], 0.25 * share)
    title = svg.tag("title", f"{percent(share)} of pixels")
    box = {"x": left + 1, "y": top, "width": max(right - left - 2, 0.5), "height": floor - top}
    return svg.tag("rect", title, class_="share", **box)


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
