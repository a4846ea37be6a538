"""How well the card of one photograph was found and cropped, against its true corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.documents import Rectified, RectifySettings, Refused, rectify
from penumbra.inference.prediction import Prediction

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CardScore:
    """One photograph.

    Attributes:
        id: of the photograph.
        card: the crop, or why there is none.
        mask_iou: of the network's mask and the card's part in the frame.
        mask_accuracy: share of the photograph's pixels that are right.
        corner_px: mean distance of the four corners from the true ones, in the order, up to a
            turn, that makes it least; none where no four sides were found.
        corner_share: that over the mean of the card's true diagonals.
        quad_iou: of the found and the true quadrilateral, also outside the frame.
        turned: whether another corner than the true one came first.
        whole: whether the card is in the frame as a whole.
    """

    id: str
    card: Rectified | Refused
    mask_iou: float | None = None
    mask_accuracy: float | None = None
    corner_px: float | None = None
    corner_share: float | None = None
    quad_iou: float | None = None
    turned: bool | None = None
    whole: bool | None = None

    @property
    def quality(self) -> float:
        """The crop's quality; 0 where none could be measured."""
        return 0.0 if self.card.quality is None else self.card.quality.score

    @property
    def cropped(self) -> bool:
        """Whether there is a crop."""
        return isinstance(self.card, Rectified)

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        names = ("mask_iou", "mask_accuracy", "corner_px", "corner_share", "quad_iou")
        values = {name: getattr(self, name) for name in names}
        rounded = {k: None if v is None else round(float(v), 5) for k, v in values.items()}
        return {
            "id": self.id,
            **rounded,
            "turned": self.turned,
            "whole": self.whole,
            "cropped": self.cropped,
            "quality": round(self.quality, 4),
            "assumed": list(self.card.corners.assumed) if self.card.corners else [],
            "reasons": list(self.card.reasons) if isinstance(self.card, Refused) else [],
        }


def score_photo(
    name: str, image: NDArray[np.generic], prediction: Prediction, corners: Array | None
) -> CardScore:
    """Crop a photograph, and compare with its true corners where they are known."""
    card = rectify(image, prediction, settings=RectifySettings())
    if corners is None:
        return CardScore(name, card)
    truth = inside(corners, prediction.mask.shape)
    mask = prediction.mask.astype(bool)
    union = np.count_nonzero(mask | truth)
    score: dict[str, Any] = {
        "mask_iou": np.count_nonzero(mask & truth) / union if union else 1.0,
        "mask_accuracy": float((mask == truth).mean()),
        "whole": bool((corners >= 0).all() and (corners <= mask.shape[::-1]).all()),
    }
    if card.corners is not None:
        points = np.asarray(card.corners.points, np.float64)
        turns = [np.hypot(*(np.roll(points, k, axis=0) - corners).T).mean() for k in range(4)]
        best = int(np.argmin(turns))
        diagonal = np.hypot(*(corners[[2, 3]] - corners[[0, 1]]).T).mean()
        score |= {
            "corner_px": float(turns[best]),
            "corner_share": float(turns[best] / diagonal),
            "quad_iou": quad_iou(points, corners),
            "turned": best != 0,
        }
    return CardScore(name, card, **score)


def inside(corners: Array, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Draw the part of a quadrilateral that lies in a frame (H, W), pixel centres counting."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    sides = np.roll(corners, -1, axis=0) - corners
    crosses = [
        side[0] * (y - corner[1]) - side[1] * (x - corner[0])
        for corner, side in zip(corners, sides, strict=True)
    ]
    return np.asarray(np.all([c >= 0 for c in crosses], axis=0))


def quad_iou(first: Array, second: Array) -> float:
    """Give the IoU of two convex quadrilaterals."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    common, _ = cv2.intersectConvexConvex(a, b)
    union = abs(cv2.contourArea(a)) + abs(cv2.contourArea(b)) - common
    return float(common / union) if union > 0 else 0.0


def summary(scores: list[CardScore], *, limit: float) -> dict[str, Any]:
    """Put the figures of many photographs together.

    Corner errors are of all photographs in which four sides were found, cropped or refused; the
    wrong crops are counted among all photographs.
    """
    measured = [score.corner_px for score in scores if score.corner_px is not None]
    wrong = [s for s in scores if s.cropped and s.quality >= limit and (s.quad_iou or 0) < 0.9]
    return {
        "photographs": len(scores),
        "mask_iou": _mean([score.mask_iou for score in scores]),
        "mask_accuracy": _mean([score.mask_accuracy for score in scores]),
        "measured": len(measured),
        "corner_px": float(np.median(measured)) if measured else float("inf"),
        "corner_px_90": float(np.quantile(measured, 0.9)) if measured else float("inf"),
        "cropped": _mean([float(score.cropped) for score in scores]),
        "cropped_whole": _mean([float(score.cropped) for score in scores if score.whole]),
        "wrong": len(wrong) / len(scores),
        "wrong_ids": [score.id for score in wrong],
        "turned": _mean([float(bool(s.turned)) for s in scores if s.cropped] or [0.0]),
    }


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
