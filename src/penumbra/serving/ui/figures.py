"""Small charts of the pages, as SVG that follows the theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from penumbra.pages.svg import Frame, area, axes, drawing, path

_BINS = 40


def histogram(values: NDArray[np.float32], scale: tuple[float, float], *, label: str) -> Markup:
    """Draw how many pixels have how much doubt, their shares on a logarithmic axis.

    Most pixels of most images are certain, and would hide the others on a linear one.

    Args:
        values: (H, W) or any other shape.
        scale: the ends of the axis; values outside count at the ends.
        label: what the values are, with their unit.

    Returns:
        The drawing; `penumbra.serving.ui.chart` shows it.

    Examples:
        >>> "<svg" in histogram(np.zeros((4, 4), np.float32), (0.0, 1.0), label="entropy, nat")
        True
    """
    low, high = scale
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BINS, range=(low, high))
    shares = counts / max(1, values.size)
    floor = -5.0
    heights = np.log10(np.maximum(shares, 10**floor))
    frame = Frame(x=(low, high), y=(floor, 0.0), height=230)
    bars = []
    base = frame.height - frame.bottom
    for share, left, right in zip(heights, edges[:-1], edges[1:], strict=True):
        if share > floor:
            corners = [frame.at(float(x), float(share)) for x in (left, right)]
            bars.append(area(corners, base, "doubt"))
    lines = axes(frame, x_label=label, y_label="share of pixels", y_words=_power)
    mean = float(np.mean(values)) if values.size else 0.0
    says = f"Histogram of {label}: the mean over {values.size} pixels is {mean:.3g}."
    return drawing(frame, says, lines, *bars)


def history(rows: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw loss and validation Dice over epochs; ``None`` where there is nothing to draw.

    Args:
        rows: of `history.jsonl`.

    Returns:
        The drawing; `penumbra.serving.ui.chart` shows it.
    """
    losses = _points(rows, "loss")
    scores = _points(rows, "validation_dice")
    if len(losses) < 2:
        return None
    last = max(losses[-1][0], 1.0)
    top = max(1.0, *(value for _, value in losses))
    frame = Frame(x=(1.0, last), y=(0.0, top), height=260)
    drawn = [path([frame.at(*point) for point in losses], "second")]
    if len(scores) > 1:
        drawn.append(path([frame.at(*point) for point in scores], "first"))
    lines = axes(frame, x_label="epoch", y_label="Dice (teal), loss (grey)")
    says = f"Loss over {len(losses)} epochs, from {losses[0][1]:.3g} to {losses[-1][1]:.3g}."
    return drawing(frame, says, lines, *drawn)


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    found = [(row.get("epoch"), row.get(name)) for row in rows]
    return [
        (float(epoch) + 1, float(value))
        for epoch, value in found
        if isinstance(epoch, (int, float)) and isinstance(value, (int, float))
        and np.isfinite(value)
    ]  # fmt: skip


def _power(exponent: float) -> str:
    """Word a share by its power of ten.

    Examples:
        >>> _power(-2.0), _power(0.0)
        ('1 %', '100 %')
    """
    return f"{100 * 10**exponent:g} %"
