"""What a promptable model has to beat: rules that need a box and no network.

Each answers prompts as a model does, so that all are scored by one and the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.overlay import to_display
from penumbra.inference.prediction import Prediction, entropy

Boxes = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rule = Callable[[NDArray[np.uint8], NDArray[np.float64]], Mask]

_GRABCUT_ROUNDS = 5
_GRABCUT_SIDE = 256
_GRABCUT_MARGIN = 0.5
_GRABCUT_SEED = 20
_FEWEST_ROUND = 10


def filled_box(size: tuple[int, int], box: NDArray[np.float64]) -> Mask:
    """Fill a box: the pixels whose centre lies in it.

    Args:
        size: (H, W) of the image.
        box: (4,) xyxy in pixels, far edge exclusive.

    Returns:
        (H, W) bool.

    Examples:
        >>> int(filled_box((10, 10), np.array([2.0, 3.0, 6.0, 5.0])).sum())
        8
    """
    left, top, right, bottom = np.ceil(np.asarray(box, dtype=np.float64) - 0.5).astype(int)
    mask = np.zeros(size, dtype=bool)
    mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    return mask


def inscribed_ellipse(size: tuple[int, int], box: NDArray[np.float64]) -> Mask:
    """Fill the ellipse that touches the four sides of a box: (x/a)² + (y/b)² ≤ 1 from its centre.

    Args:
        size: (H, W) of the image.
        box: (4,) xyxy in pixels, far edge exclusive.

    Returns:
        (H, W) bool, the pixels whose centre lies in it.

    Examples:
        >>> inside = inscribed_ellipse((100, 100), np.array([0.0, 0.0, 100.0, 100.0]))
        >>> round(float(inside.mean()), 2)  # π / 4
        0.79
    """
    left, top, right, bottom = (float(edge) for edge in box)
    x = (np.arange(size[1]) + 0.5 - (left + right) / 2) / max((right - left) / 2, 1e-6)
    y = (np.arange(size[0]) + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 1e-6)
    # A centre on the very edge is outside the box, whose far edge is exclusive.
    return np.asarray((x[None, :] ** 2 + y[:, None] ** 2 <= 1.0) & filled_box(size, box))


def grabcut(image: NDArray[np.uint8], box: NDArray[np.float64]) -> Mask:
    """Cut an object out of its box with GrabCut, five rounds.

    It works on the box and half a box around it, shrunk to at most 256 pixels a side; what is
    outside the box is background. Where the box leaves too little around it to learn a background
    from, or nothing of it is cut out, the filled box is the answer.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) xyxy in pixels, far edge exclusive.

    Returns:
        (H, W) bool.

    Source: C. Rother, V. Kolmogorov and A. Blake, GrabCut: interactive foreground extraction using
    iterated graph cuts, SIGGRAPH 2004; in OpenCV's implementation.
    """
    size = (image.shape[0], image.shape[1])
    filled = filled_box(size, box)
    rows, columns = _around(box, size)
    crop = np.ascontiguousarray(image[rows, columns])
    scale = min(1.0, _GRABCUT_SIDE / max(crop.shape[:2]))
    target = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = np.asarray(cv2.resize(crop, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    inside = cv2.resize(
        filled[rows, columns].astype(np.uint8), target, interpolation=cv2.INTER_NEAREST_EXACT
    ).astype(bool)
    if min(inside.sum(), (~inside).sum()) < _FEWEST_ROUND:
        return filled
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    # OpenCV starts its clusters from a generator of its own: set anew for each cut, so that the
    # cut depends on the image and the box alone.
    cv2.setRNGSeed(_GRABCUT_SEED)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (0, 0, 1, 1), *models, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    back = cv2.resize(cut, crop.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = back.astype(bool)
    mask &= filled
    return mask if mask.any() else filled


def _around(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[slice, slice]:
    """Give the rows and columns of a box with its margin, inside the image."""
    left, top, right, bottom = (float(edge) for edge in box)
    wide = max(_GRABCUT_MARGIN * (right - left), _FEWEST_ROUND)
    high = max(_GRABCUT_MARGIN * (bottom - top), _FEWEST_ROUND)
    rows = slice(max(0, int(top - high)), min(size[0], int(np.ceil(bottom + high))))
    return rows, slice(max(0, int(left - wide)), min(size[1], int(np.ceil(right + wide))))


@dataclass(frozen=True)
class BoxRule:
    """A rule that turns a box into a mask; it answers prompts as a model does.

    Attributes:
        name: what it is called in tables.
        rule: from an image (H, W, 3) uint8 and a box (4,) to a mask (H, W).
        accepts: boxes alone.
    """

    name: str
    rule: Rule
    accepts: frozenset[str] = frozenset({"box"})

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> NDArray[np.uint8]:
        """Give the image as 8-bit RGB; there is nothing that a filter would change."""
        del filters
        return to_display(image)

    def predict(
        self,
        embedding: NDArray[np.uint8],
        *,
        boxes: Boxes | None = None,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int8] | None = None,
    ) -> Sequence[Prediction]:
        """Answer boxes (N, 4), one prediction of certain pixels each.

        Raises:
            SettingsError: there is no box, or a point.
        """
        if boxes is None or points is not None or labels is not None:
            raise SettingsError(
                expected(f"the prompts of {self.name}", "boxes", "other prompts", "boxes=…")
            )
        return [_certain(self.rule(embedding, box)) for box in np.asarray(boxes, np.float64)]


def _certain(mask: Mask) -> Prediction:
    inside = mask.astype(np.float32)
    planes = np.stack([1 - inside, inside])
    return Prediction(planes, mask.astype(np.uint8), {"entropy": entropy(planes)})


BASELINES: tuple[BoxRule, ...] = (
    BoxRule("filled box", lambda image, box: filled_box((image.shape[0], image.shape[1]), box)),
    BoxRule(
        "inscribed ellipse",
        lambda image, box: inscribed_ellipse((image.shape[0], image.shape[1]), box),
    ),
    BoxRule("GrabCut", grabcut),
)
"""The rules that a promptable model is compared with, the plainest first."""
