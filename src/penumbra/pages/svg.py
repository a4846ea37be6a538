"""A few strokes of SVG, coloured by the page's style sheet so that both themes fit.

Nothing here knows what is drawn. Text is escaped, numbers are rounded to a tenth of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Give round values that cover [low, high] in about as many steps.

    Examples:
        >>> ticks(0, 1), ticks(0, 37)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def plain(value: float) -> str:
    """Word a tick.

    Examples:
        >>> plain(0.0), plain(0.25), plain(1200.0)
        ('0', '0.25', '1200')
    """
    return f"{value:g}" if abs(value) < 1e4 else f"{value:.0f}"


@dataclass(frozen=True)
class Frame:
    """Where values lie on the paper.

    Attributes:
        x: smallest and largest value from left to right.
        y: smallest and largest value from bottom to top.
        width: of the picture.
        height: of the picture.
        left: margin for the labels of y.
    """

    x: Point
    y: Point
    width: float = 420.0
    height: float = 290.0
    left: float = 62.0
    right: float = 16.0
    top: float = 14.0
    bottom: float = 46.0

    def at(self, x: float, y: float) -> Point:
        """Give the place of a value; values outside are put on the edge."""
        return self._along(x, self.x, self.left, self.width - self.right), self._along(
            y, self.y, self.height - self.bottom, self.top
        )

    @staticmethod
    def _along(value: float, limits: Point, start: float, end: float) -> float:
        span = limits[1] - limits[0] or 1.0
        share = min(max((value - limits[0]) / span, 0.0), 1.0)
        return round(start + share * (end - start), 1)


def tag(name: str, content: str = "", **attributes: object) -> Markup:
    """Write an element; a trailing or inner ``_`` in an attribute's name becomes ``-``.

    Examples:
        >>> tag("text", "a < b", class_="tick", x=1)
        Markup('<text class="tick" x="1">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{escape(content)}</{name}>")  # noqa: S704 (all escaped)


def path(points: Iterable[Point], kind: str) -> Markup:
    """Draw a line through places on the paper."""
    steps = " L".join(f"{x:g} {y:g}" for x, y in points)
    return tag("path", d=f"M{steps}", class_=kind) if steps else Markup("")


def area(points: Sequence[Point], floor: float, kind: str) -> Markup:
    """Fill what lies between a line and the height `floor`."""
    if not points:
        return Markup("")
    closed = [*points, (points[-1][0], floor), (points[0][0], floor)]
    return path(closed, kind)


def dot(place: Point, kind: str, *, size: float = 3.5, says: str = "") -> Markup:
    """Draw a dot that says something when pointed at."""
    title = tag("title", says) if says else Markup("")
    return tag("circle", title, cx=f"{place[0]:g}", cy=f"{place[1]:g}", r=size, class_=kind)


def label(place: Point, words: str, kind: str, *, anchor: str = "middle") -> Markup:
    """Write words at a place."""
    return tag("text", words, x=f"{place[0]:g}", y=f"{place[1]:g}", class_=kind, text_anchor=anchor)


def axes(
    frame: Frame,
    *,
    x_label: str,
    y_label: str,
    x_words: Callable[[float], str] = plain,
    y_words: Callable[[float], str] = plain,
    x_ticks: Sequence[float] | None = None,
) -> Markup:
    """Draw grid, ticks and the names of both axes."""
    parts: list[Markup] = []
    floor = frame.height - frame.bottom
    for value in ticks(*frame.y):
        left, y = frame.at(frame.x[0], value)
        parts.append(path([(left, y), (frame.width - frame.right, y)], "grid"))
        parts.append(label((left - 8, y + 4), y_words(value), "tick", anchor="end"))
    for value in ticks(*frame.x) if x_ticks is None else x_ticks:
        x, _ = frame.at(value, frame.y[0])
        parts.append(path([(x, floor), (x, floor + 4)], "axis"))
        parts.append(label((x, floor + 18), x_words(value), "tick"))
    parts.append(path([(frame.left, floor), (frame.width - frame.right, floor)], "axis"))
    middle = (frame.left + frame.width - frame.right) / 2
    parts.append(label((middle, frame.height - 8), x_label, "axis-name"))
    height = (frame.top + floor) / 2
    parts.append(
        tag(
            "text",
            y_label,
            class_="axis-name",
            text_anchor="middle",
            transform=f"translate(13 {height:g}) rotate(-90)",
        )
    )
    return Markup("").join(parts)


def drawing(frame: Frame, says: str, *parts: Markup) -> Markup:
    """Put the parts on one sheet that screen readers announce by `says`."""
    return tag(
        "svg",
        Markup("").join(parts),
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        aria_label=says,
        class_="chart",
    )
