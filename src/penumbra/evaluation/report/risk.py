"""Risk against coverage: what stays wrong when the doubtful part goes to a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from markupsafe import Markup

from penumbra.evaluation.report.scores import ImageScore, risk_by_coverage
from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import is_number, number, percent, spread

Curve = Sequence[svg.Point]

_LEGEND = (("key-doubt", "by doubt"), ("key-ideal", "by chance"), ("key-ink", "the best there is"))


def pixel_oracle(error: float, coverages: Sequence[float]) -> list[svg.Point]:
    """Give the least risk there can be over pixels: all errors are put last.

    Args:
        error: share of pixels that are wrong, in [0, 1].
        coverages: where, in (0, 1].

    Returns:
        (c, max(0, c − (1 − error)) / c).

    Examples:
        >>> pixel_oracle(0.5, [0.5, 1.0])
        [(0.5, 0.0), (1.0, 0.5)]
    """
    return [(c, max(0.0, c - (1.0 - error)) / c) for c in coverages if c > 0]


def image_oracle(scores: Sequence[ImageScore]) -> list[svg.Point]:
    """Give the least mean risk 1 − score of k images, k = 1 … n: the best come first."""
    risks = sorted(1.0 - score.value for score in scores if score.doubt is not None)
    return [((k + 1) / len(risks), fmean(risks[: k + 1])) for k in range(len(risks))]


def under(curve: Curve) -> float:
    """Give the area under a curve of risk by coverage from 0 to 1.

    Left of the first point the risk counts as that of the first point.
    """
    if not curve:
        return math.nan
    closed = [(0.0, curve[0][1]), *curve]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(closed))


def _aurc(interval: Mapping[str, Any] | None, value: float) -> str:
    """Word an area: as measured with its interval, else as drawn; a small one in thousandths."""
    known = interval if interval and is_number(interval.get("mean")) else {"mean": value}
    small = float(known["mean"]) < 0.01
    scale = 1000.0 if small else 1.0
    scaled = {key: scale * float(x) for key, x in known.items() if is_number(x)}
    says = f"The area under it (AURC) is {number(scaled['mean'])}"
    if around := spread(scaled):
        says += f" (95\u202f% interval {around})"
    return says + (", in thousandths." if small else ".")


def _drawn(
    curve: Curve, oracle: Curve, kept: svg.Point, *, x_label: str, y_label: str, says: str
) -> Markup:
    chance = curve[-1][1]
    top = max(max(risk for _, risk in curve) * 1.1, chance * 1.1, 1e-4)
    frame = svg.Frame(x=(0.0, 1.0), y=(0.0, top))
    places = [frame.at(*point) for point in curve]
    height = frame.at(1.0, chance)[1]
    parts = [
        svg.axes(frame, x_label=x_label, y_label=y_label, x_words=percent),
        svg.area(places, frame.at(0, 0)[1], "fill-doubt"),
        svg.path([(frame.left, height), (frame.width - frame.right, height)], "ideal"),
        svg.path([frame.at(*point) for point in oracle], "line-ink thin"),
        svg.path(places, "line-doubt"),
        svg.dot(frame.at(*kept), "dot-doubt", size=5, says=says),
    ]
    return svg.drawing(frame, says, *parts)


def pixels(
    rows: Sequence[Mapping[str, float]], aurc: Mapping[str, Any] | None = None
) -> Chart | None:
    """Draw the share of errors among the pixels that are kept, least doubtful first.

    Args:
        rows: ``{"coverage", "risk"}``, ascending, the last with all pixels.
        aurc: area under the curve with its interval, as measured.
    """
    curve = [(row["coverage"], row["risk"]) for row in rows if is_number(row.get("risk"))]
    if len(curve) < 2 or curve[-1][1] <= 0:
        return None
    error = curve[-1][1]
    kept = min(curve, key=lambda point: abs(point[0] - 0.95))
    says = (
        f"{percent(error)} of all pixels are wrong, and {percent(kept[1])} without the "
        f"{percent(1 - kept[0])} most in doubt. {_aurc(aurc, under(curve))}"
    )
    oracle = pixel_oracle(error, [k / 100 for k in range(1, 101)])
    drawing = _drawn(
        curve, oracle, kept,
        x_label="pixels kept, least doubtful first", y_label="share wrong", says=says,
    )  # fmt: skip
    return Chart("Risk against coverage: pixels", says, drawing, _LEGEND)


def images(
    scores: Sequence[ImageScore],
    name: str,
    *,
    doubt: str = "mean entropy",
    aurc: Mapping[str, Any] | None = None,
) -> Chart | None:
    """Draw the mean risk of the images that are kept when the doubtful ones go to a person.

    Args:
        scores: images with their doubt.
        name: of the score, such as ``"Dice"``.
        doubt: what the doubt is called.
        aurc: area under the curve with its interval, as measured.
    """
    curve = risk_by_coverage(scores)
    if len(curve) < 2:
        return None
    kept = curve[max(round(0.8 * len(curve)), 1) - 1]
    says = (
        f"1 − {name} is {number(curve[-1][1])} over all images and {number(kept[1])} without the "
        f"{percent(1 - kept[0])} most in doubt, by {doubt}. "
        f"{_aurc(aurc, fmean(risk for _, risk in curve))}"
    )
    drawing = _drawn(
        curve, image_oracle(scores), kept,
        x_label="images kept, least doubtful first", y_label=f"mean of 1 − {name}", says=says,
    )  # fmt: skip
    return Chart("Risk against coverage: images", says, drawing, _LEGEND)
