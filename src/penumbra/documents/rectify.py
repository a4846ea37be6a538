"""From a photograph and its prediction to a straight crop, or to reasons why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.documents.corners import Corners, checked_map, corners_of_area, large_areas
from penumbra.documents.outline import Area
from penumbra.documents.quality import (
    Quality,
    border_doubt,
    measure_crop,
    measure_shape,
    quality_of,
)
from penumbra.documents.settings import RectifySettings
from penumbra.documents.warp import (
    Matrix,
    crop_size,
    homography,
    known_pixels,
    samples_per_pixel,
    warp,
)
from penumbra.errors import SettingsError, expected
from penumbra.inference.prediction import Prediction, entropy


@dataclass(frozen=True)
class Rectified:
    """A card, straight.

    Attributes:
        image: (h, w, C) the crop, in the photograph's type; 0 where the photograph does not reach.
        uncertainty: (h, w) float32 entropy in nats, warped alike; ln C where it does not reach.
        corners: in the photograph.
        homography: (3, 3) from the photograph's pixels to the crop's.
        quality: how far to trust it, at or above the limit.
        most_uncertainty: ln C.
        further: how many more areas of a card's size the photograph shows and nobody asked for.
    """

    image: NDArray[np.generic]
    uncertainty: NDArray[np.float32]
    corners: Corners
    homography: Matrix
    quality: Quality
    most_uncertainty: float = math.log(2)
    further: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give all but the pixels."""
        height, width = self.uncertainty.shape
        return {
            "refused": False,
            "corners": self.corners.to_json(),
            "ratio": self.corners.ratio,
            "assumed_sides": list(self.corners.assumed),
            "size": {"height": height, "width": width},
            "homography": self.homography.tolist(),
            "quality": self.quality.to_json(),
            "further_cards": self.further,
            "rotation": {"known": False, "candidates": list(self.corners.rotations)},
        }


@dataclass(frozen=True)
class Refused:
    """No crop, and why.

    Attributes:
        reasons: sentences, the gravest first; at least one.
        corners: where four sides were found nevertheless.
        quality: what was measured, where four sides were found.
        assumable: whether `RectifySettings.assume_sides` would crop it all the same.
    """

    reasons: tuple[str, ...]
    corners: Corners | None = None
    quality: Quality | None = None
    assumable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give the reasons, and what was measured."""
        return {
            "refused": True,
            "reasons": list(self.reasons),
            "corners": None if self.corners is None else self.corners.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "assumable": self.assumable,
        }


def rectify(
    image: NDArray[np.generic],
    prediction: Prediction,
    *,
    settings: RectifySettings | None = None,
) -> Rectified | Refused:
    """Crop the largest card in a photograph and make it straight.

    Args:
        image: (H, W, C) the photograph.
        prediction: of it, at its size; whatever is not class 0 is card.
        settings: what the crop shall be, and below which quality it is refused.

    Returns:
        The crop, or why there is none: a wrong crop is worse than none.

    Raises:
        SettingsError: image and prediction are not of one size.
    """
    return rectify_all(image, prediction, settings=settings, most=1)[0]


def rectify_all(
    image: NDArray[np.generic],
    prediction: Prediction,
    *,
    settings: RectifySettings | None = None,
    most: int = 16,
) -> list[Rectified | Refused]:
    """Crop every card in a photograph, the largest first.

    Args:
        image: (H, W, C) the photograph.
        prediction: of it, at its size.
        settings: see `RectifySettings`; ``further_share`` says how small a further card may be.
        most: how many are given.

    Returns:
        One entry per card, and at least one: a refusal where there is no card.

    Raises:
        SettingsError: image and prediction are not of one size.
    """
    settings = settings or RectifySettings()
    _check(image, prediction)
    if prediction.emptied:
        return [Refused(("no card is in the frame, says the run's presence rule",))]
    foreground = checked_map(np.clip(prediction.foreground, 0, 1))
    areas = large_areas(foreground, settings)
    if not areas:
        return [Refused((_nothing(foreground, settings),))]
    largest = areas[0].pixels
    kept = [area for area in areas if area.pixels >= settings.further_share * largest]
    found = [_one(image, prediction, area, settings) for area in kept[:most]]
    left = max(0, len(kept) - most)
    return [replace(card, further=left) if isinstance(card, Rectified) else card for card in found]


def _check(image: NDArray[np.generic], prediction: Prediction) -> None:
    if image.ndim != 3 or image.shape[:2] != prediction.mask.shape:
        raise SettingsError(
            expected(
                "`image`",
                f"of shape (H, W, C) with the prediction's size {prediction.mask.shape}",
                f"shape {image.shape}",
                "the photograph that was predicted",
            )
        )


def _nothing(foreground: NDArray[np.float32], settings: RectifySettings) -> str:
    highest = float(foreground.max())
    if highest < settings.threshold:
        return (
            f"no card is in the frame: no pixel is card with a probability of "
            f"{settings.threshold:g} (the highest is {highest:.2f})"
        )
    pixels = int((foreground >= settings.threshold).sum())
    return f"what looks like a card is too small: {pixels} pixels in all"


def _one(
    image: NDArray[np.generic], prediction: Prediction, area: Area, settings: RectifySettings
) -> Rectified | Refused:
    corners = corners_of_area(area, settings)
    if corners is None:
        return Refused(("no four straight sides of it are in the frame",))
    sides = np.hypot(*(np.roll(corners.points, -1, axis=0) - corners.points).T)
    if sides.min() < settings.least_side:
        return Refused(
            (f"it is too small: its shortest side has {sides.min():.0f} pixels",), corners
        )
    measured = measure_shape(area, corners, settings)
    doubt, most = _doubt(prediction)
    measured["certainty"] = border_doubt(doubt, corners.points, most=most)
    shape = quality_of(measured)
    if min(shape.parts["inside"], shape.parts["agreement"]) == 0:
        # Such a quad may be of any size, and its crop too.
        return Refused(shape.reasons(max(settings.limit, 1e-9)), corners, shape)
    if corners.assumed and not settings.assume_sides:
        # Whether it would be cropped is found out, not foretold: the crop may be blurred, too.
        assuming = settings.model_copy(update={"assume_sides": True})
        fits = isinstance(_one(image, prediction, area, assuming), Rectified)
        cut = f"its {corners.assumed[0]} side is outside the frame"
        return Refused((cut, *shape.reasons(settings.limit)), corners, shape, assumable=fits)
    size = crop_size(corners.points, settings)
    matrix = homography(corners.points, size)
    known = known_pixels(matrix, size, prediction.mask.shape)
    finer = samples_per_pixel(corners.points, size)
    crop = warp(image, matrix, size, finer=finer)
    crop[~known] = 0
    quality = quality_of(measured | measure_crop(crop, known))
    if quality.score < settings.limit:
        return Refused(quality.reasons(settings.limit), corners, quality)
    unsure = np.where(known, warp(doubt, matrix, size, finer=finer), most).astype(np.float32)
    return Rectified(crop, np.clip(unsure, 0, most), corners, matrix, quality, most)


def _doubt(prediction: Prediction) -> tuple[NDArray[np.float32], float]:
    found = prediction.uncertainty.get("entropy")
    doubt = entropy(prediction.probabilities) if found is None else found
    return doubt, math.log(prediction.n_classes)
