"""How far a box may be off before the answer changes: the IoU of answers against the shift."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.errors import SettingsError, expected
from penumbra.promptable.contract import AnswersPrompts

SHIFTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
"""Shifts that are tried unless others are named, as shares of the box's sides."""

DIRECTIONS = 8


@dataclass(frozen=True)
class SensitivityCurve:
    """How the answer to a box changes as the box is shifted.

    Attributes:
        shifts: S, as shares of the box's sides, rising.
        iou: (S,) mean IoU over the directions of the answer with that to the box as given.
        lowest: (S,) the same, in the worst direction.
    """

    shifts: tuple[float, ...]
    iou: tuple[float, ...]
    lowest: tuple[float, ...]

    @property
    def area(self) -> float:
        """Mean IoU over the shifts from 0 to the largest (trapezoids), in [0, 1]: 1 is immovable.

        Examples:
            >>> SensitivityCurve((0.1, 0.2), (0.8, 0.6), (0.8, 0.6)).area.__round__(3)
            0.8
        """
        x, y = np.array([0.0, *self.shifts]), np.array([1.0, *self.iou])
        return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / x[-1])

    def to_json(self) -> dict[str, Any]:
        """Give the curve as plain values."""
        return {**asdict(self), "area": self.area}


def shifted_boxes(
    box: ArrayLike, size: tuple[int, int], shift: float, *, directions: int = DIRECTIONS
) -> NDArray[np.float32]:
    """Shift a box whole, by a share of its sides, in directions evenly around the clock.

    Args:
        box: (4,) xyxy.
        size: (H, W) of the image; what is shifted out of it is cut off, one pixel stays.
        shift: as a share of the box's width in x and of its height in y.
        directions: how many; the first is to the right.

    Returns:
        (D, 4) float32 xyxy.

    Examples:
        >>> shifted_boxes([10, 10, 30, 20], (64, 64), 0.5, directions=2).round().tolist()
        [[20.0, 10.0, 40.0, 20.0], [0.0, 10.0, 20.0, 20.0]]
    """
    corners = np.asarray(box, dtype=np.float64).reshape(4)
    angle = 2 * np.pi * np.arange(directions) / directions
    sides = corners[2:] - corners[:2]
    away = np.stack([np.cos(angle), np.sin(angle)], axis=1) * shift * sides
    moved = corners + np.tile(away, 2)
    edge = np.array([size[1], size[0]], dtype=np.float64)
    near = np.clip(moved[:, :2], 0, edge - 1)
    far = np.clip(moved[:, 2:], near + 1, edge)
    return np.concatenate([near, far], axis=1).astype(np.float32)


def box_sensitivity(
    segmenter: AnswersPrompts,
    embedding: Any,
    box: ArrayLike,
    *,
    shifts: Sequence[float] = SHIFTS,
    directions: int = DIRECTIONS,
) -> SensitivityCurve:
    """Measure the IoU between the answer to a box and those to the box shifted.

    Args:
        segmenter: the model.
        embedding: of the image, by its `embed`.
        box: (4,) xyxy in pixels, far edge exclusive.
        shifts: as shares of the box's sides, rising, above 0.
        directions: in which the box is shifted, for each shift.

    Raises:
        SettingsError: no shift, shifts that do not rise, no direction; and what the model's
            `predict` raises.
    """
    steps = tuple(float(shift) for shift in shifts)
    if not steps or steps[0] <= 0 or any(b <= a for a, b in itertools.pairwise(steps)):
        raise SettingsError(
            expected("`shifts`", "shares above 0 that rise", steps, "(0.05, 0.1, 0.2)")
        )
    if directions < 1:
        raise SettingsError(expected("`directions`", "at least 1", directions, "8"))
    given = np.asarray(box, dtype=np.float32).reshape(1, 4)
    (first,) = segmenter.predict(embedding, boxes=given)
    wanted = first.mask > 0
    size = (wanted.shape[0], wanted.shape[1])
    rows = []
    for shift in steps:
        boxes = shifted_boxes(box, size, shift, directions=directions)
        answers = segmenter.predict(embedding, boxes=boxes)
        rows.append([_iou(wanted, answer.mask > 0) for answer in answers])
    return SensitivityCurve(
        steps,
        tuple(float(np.mean(row)) for row in rows),
        tuple(float(np.min(row)) for row in rows),
    )


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 1.0
