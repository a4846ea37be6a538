"""Which way up a crop is, by a run that was trained to find the upper half of upright cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.documents.rectify import Rectified
from penumbra.inference.prediction import Prediction

LEAST_MARGIN = 0.2
"""How much likelier the upper half must be than the lower one for a crop to be turned."""

Predict = Callable[[Sequence[NDArray[np.generic]]], list[Prediction]]
"""A predictor of masks whose foreground is the upper half of an upright card."""


@dataclass(frozen=True)
class Orientation:
    """Which clockwise turn makes a crop upright.

    Attributes:
        rotation: degrees clockwise, or ``None`` where the margin is too small.
        margins: candidate → mean probability of what would be the upper half, minus that of the
            lower, in [−1, 1].
    """

    rotation: int | None
    margins: dict[int, float]


def orientation_of(
    upper: NDArray[np.floating], candidates: Sequence[int] = (0, 180)
) -> Orientation:
    """Decide which side of a crop is up.

    Args:
        upper: (h, w) probability that a pixel belongs to the upper half of the upright card.
        candidates: clockwise turns in degrees to choose from.

    Examples:
        >>> orientation_of(np.array([[0.1], [0.9]])).rotation
        180
        >>> orientation_of(np.array([[0.5], [0.5]])).rotation is None
        True
    """
    rows = float(_difference(np.asarray(upper, dtype=np.float64)))
    columns = float(_difference(np.asarray(upper, dtype=np.float64).T))
    # A quarter turn clockwise brings the left half to the top.
    all_margins = {0: rows, 90: columns, 180: -rows, 270: -columns}
    margins = {turn: all_margins[turn] for turn in candidates}
    best = max(margins, key=lambda turn: margins[turn])
    return Orientation(best if margins[best] >= LEAST_MARGIN else None, margins)


def _difference(upper: NDArray[np.float64]) -> float:
    half = len(upper) // 2
    if half == 0:
        return 0.0
    return float(upper[:half].mean() - upper[-half:].mean())


def orient(card: Rectified, predict: Predict) -> tuple[Rectified, Orientation]:
    """Turn a crop upright, where the run is sure which way that is.

    Args:
        card: whose corners name the candidates.
        predict: gives one prediction for a list of one crop.

    Returns:
        The card, turned or as it was, and what was found.
    """
    found = orientation_of(predict([card.image])[0].foreground, card.corners.rotations)
    turned = card if found.rotation is None else turn(card, found.rotation)
    return turned, found


def turn(card: Rectified, rotation: int) -> Rectified:
    """Turn a crop clockwise by 0, 90, 180 or 270 degrees, its corners and homography with it."""
    quarters = rotation // 90 % 4
    height, width = card.uncertainty.shape
    matrix = card.homography
    ratio = card.corners.ratio
    for _ in range(quarters):
        matrix = np.array([[0.0, -1, height], [1, 0, 0], [0, 0, 1]]) @ matrix
        height, width, ratio = width, height, 1 / ratio
    corners = replace(card.corners, points=np.roll(card.corners.points, quarters, axis=0))
    clockwise = ("top", "right", "bottom", "left")
    assumed = tuple(
        clockwise[(clockwise.index(side) + quarters) % 4] for side in card.corners.assumed
    )
    return replace(
        card,
        image=np.ascontiguousarray(np.rot90(card.image, -quarters)),
        uncertainty=np.ascontiguousarray(np.rot90(card.uncertainty, -quarters)),
        corners=replace(corners, ratio=ratio, assumed=assumed),
        homography=matrix / matrix[2, 2],
    )


def orientation_json(found: Orientation, candidates: Sequence[int]) -> dict[str, Any]:
    """Describe an orientation: the turn that was made, or which ones are left."""
    margins = {str(each): margin for each, margin in found.margins.items()}
    if found.rotation is None:
        return {"known": False, "candidates": list(candidates), "margins": margins}
    return {"known": True, "turned_by": found.rotation, "candidates": [0], "margins": margins}
