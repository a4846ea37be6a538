"""The histogram of all differences, and that of the objects' sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from penumbra.audit.balance import Balance
from penumbra.audit.conflicts import AGREE, Compared
from penumbra.audit.pairs import Pairs
from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import count, number

MOST_BARS = 160
MOST_DOTS = 3000


def _coarser(
    counts: NDArray[np.int64], edges: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Leave out the empty end and join neighbours until the bars can be told apart."""
    last = int(np.flatnonzero(counts)[-1]) + 1
    step = math.ceil(last / MOST_BARS)
    last = min(-(-last // step) * step, len(counts))
    starts = np.arange(0, last, step)
    joined = np.add.reduceat(counts[:last], starts)
    return joined, np.append(edges[starts], edges[last])


def _power(value: float) -> str:
    """Word a power of ten on a logarithmic axis; nothing between powers."""
    if abs(value - round(value)) > 1e-9:
        return ""
    whole = 10 ** round(value)
    for size, word in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if whole >= size:
            return f"{whole // size}\u202f{word}"
    return str(whole)


def differences(pairs: Pairs, threshold: float) -> Chart | None:
    """Draw how many pairs of images differ by how much, on a logarithmic scale."""
    counts, edges = (np.asarray(part) for part in pairs.histogram)
    total = int(counts.sum())
    if not total:
        return None
    counts, edges = _coarser(counts.astype(np.int64), edges.astype(np.float64))
    frame = svg.Frame(
        x=(0.0, float(max(edges[-1], 1.5 * threshold, 1.0))),
        y=(0.0, max(1.0, math.ceil(math.log10(counts.max() + 1)))),
        width=860.0,
    )
    floor = frame.at(0, 0)[1]
    bars = [
        _bar(frame, low, high, int(n), floor)
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]
    x, top = frame.at(threshold, frame.y[1])
    parts = [
        svg.axes(
            frame,
            x_label="difference of the thumbnails (RMS of 32×32 block means, 0–255)",
            y_label="pairs",
            y_words=_power,
        ),
        *bars,
        svg.path([(x, floor), (x, top)], "threshold"),
        svg.label((x + 7, top + 12), f"threshold {threshold:g}", "note", anchor="start"),
    ]
    says = (
        f"All {count(total, 'pair')} of images. Those left of the threshold were compared at "
        f"256×256, where {number(len(pairs.a))} stay below it."
    )
    return Chart("How much images differ", says, svg.drawing(frame, says, *parts), wide=True)


def _bar(frame: svg.Frame, low: float, high: float, n: int, floor: float) -> Markup:
    # A single pair must be seen: log10(1) is 0, so bars are drawn to log10(n + 1).
    left, top = frame.at(low, math.log10(n + 1))
    right, _ = frame.at(high, 0)
    title = svg.tag("title", f"{low:.1f}–{high:.1f}: {count(n, 'pair')}")
    width = max(right - left - 0.6, 0.6)
    box = {"x": left, "y": top, "width": round(width, 1), "height": round(floor - top, 1)}
    return svg.tag("rect", title, class_="bars", **box)


def sizes(balance: Balance) -> Chart | None:
    """Draw how large objects are, as shares of their image, on a logarithmic scale."""
    shares = balance.sizes[balance.sizes > 0].astype(np.float64)
    if not shares.size:
        return None
    low = min(math.floor(math.log10(shares.min())), -1)
    counts, edges = np.histogram(np.log10(shares), bins=40, range=(low, 0))
    frame = svg.Frame(x=(float(low), 0.0), y=(0.0, float(counts.max()) * 1.05))
    floor = frame.at(low, 0)[1]
    parts = [
        svg.axes(
            frame,
            x_label="area of an object as a share of the image",
            y_label="objects",
            x_ticks=list(range(low, 1)),
            x_words=_share,
        )
    ]
    for start, end, n in zip(edges[:-1], edges[1:], counts, strict=True):
        if n:
            left, top = frame.at(start, float(n))
            right, _ = frame.at(end, 0)
            title = svg.tag("title", f"{_share(start)}–{_share(end)}: {count(int(n), 'object')}")
            box = {"x": left, "y": top, "width": round(right - left - 0.8, 1)}
            parts.append(svg.tag("rect", title, class_="bars", height=round(floor - top, 1), **box))
    middle = _share(math.log10(float(np.median(shares))))
    says = f"{count(len(shares), 'object')}; half of them cover less than {middle}."
    return Chart("How large objects are", says, svg.drawing(frame, says, *parts))


def _share(exponent: float) -> str:
    percent = 100 * 10**exponent
    return f"{percent:.0f}\u202f%" if percent >= 10 else f"{percent:.2g}\u202f%"


def agreement(compared: Sequence[Compared], threshold: float) -> Chart | None:
    """Draw the Dice of the masks of each pair over the difference of its images."""
    known = [(pair, pair.disagreement) for pair in compared if pair.disagreement is not None]
    if not known:
        return None
    frame = svg.Frame(x=(0.0, max(threshold, 0.5)), y=(0.0, 1.0))
    axes = svg.axes(frame, x_label="RMS of the images (0–255)", y_label="Dice of the masks")
    left, right = frame.at(0, AGREE), frame.at(frame.x[1], AGREE)
    # Dots beyond some thousands only make the page heavy; the worst are drawn in any case.
    worst = sorted(known, key=lambda item: item[1].dice)[:MOST_DOTS]
    dots = [
        svg.dot(frame.at(pair.rms, found.dice), "dot-faint", says=f"{pair.a}, {pair.b}")
        for pair, found in worst
    ]
    apart = sum(found.dice < AGREE for _, found in known)
    says = f"{number(apart)} of {count(len(known), 'pair')} have a Dice below {AGREE:g}."
    drawing = svg.drawing(frame, says, axes, svg.path([left, right], "ideal"), *dots)
    return Chart("Do the masks of duplicates agree?", says, drawing)
