"""Non-maximum suppression: of regions that say the same thing, keep the best one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.errors import SettingsError, expected


def box_iou(box: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """Compute |A ∩ B| / |A ∪ B| of one box with each of N boxes.

    Args:
        box: (4,) xyxy in pixels, the far edge exclusive.
        boxes: (N, 4) of the same form.

    Returns:
        (N,) in [0, 1]; 0 where both boxes are empty.

    Examples:
        >>> box_iou([0, 0, 2, 2], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
        [1.0, 0.333, 0.0]
    """
    one = np.asarray(box, dtype=np.float64)
    many = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    both = sides.clip(min=0).prod(axis=1)
    either = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - both
    return np.asarray(both / np.where(either > 0, either, 1.0), dtype=np.float64)


def suppress(boxes: ArrayLike, scores: ArrayLike, *, most_iou: float = 0.7) -> NDArray[np.int64]:
    """Keep boxes greedily from the best score down, dropping what overlaps a kept one.

    A box is dropped where its IoU with a better one that was kept is above `most_iou`. Of equal
    scores the earlier one counts as better, so that the answer has no draw in it.

    Args:
        boxes: (N, 4) xyxy in pixels, the far edge exclusive.
        scores: (N,) higher is better; finite.
        most_iou: in [0, 1]; 1 keeps everything.

    Returns:
        (K,) int64 indices of what is kept, best first.

    Raises:
        SettingsError: shapes do not fit, a score is not finite, or `most_iou` is out of range.

    Examples:
        >>> suppress([[0, 0, 9, 9], [0, 0, 10, 10], [20, 20, 30, 30]], [0.8, 0.9, 0.1]).tolist()
        [1, 2]
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    worth = np.asarray(scores, dtype=np.float64).reshape(-1)
    if len(corners) != len(worth) or not np.isfinite(worth).all():
        raise SettingsError(
            expected("`scores`", f"{len(corners)} finite numbers", worth, "one per box")
        )
    if not 0 <= most_iou <= 1:
        raise SettingsError(expected("`most_iou`", "in [0, 1]", most_iou, "0.7"))
    waiting = np.argsort(-worth, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, rest = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = rest[box_iou(corners[best], corners[rest]) <= most_iou]
    return np.asarray(kept, dtype=np.int64)
