"""Ordered corners of a card: where they are, and which of them comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penumbra.documents.hidden_side import FOCAL, find_cut_quad
from penumbra.documents.outline import Area, areas_of
from penumbra.documents.quad import Quad, find_quad, shown_share
from penumbra.documents.settings import RectifySettings
from penumbra.errors import SettingsError, expected

_CLEARLY_LONGER = 0.15
"""Of |ln(ratio)|: below it nobody can say which sides are the longer ones."""


@dataclass(frozen=True)
class Corners:
    """The four corners of a card, ordered for its crop.

    Attributes:
        points: (4, 2) float64 (x, y) in pixels: the crop's top left, top right, bottom right and
            bottom left, clockwise on the screen. They may lie outside the frame. The origin is
            the outer corner of the first pixel.
        ratio: true width over height of the crop's content, the perspective taken out.
        rotations: clockwise turns of the crop in degrees after which the card may be the right
            way up; geometry alone cannot say which.
        assumed: the side that lies outside the frame and was placed by the card's ratio, as
            ``("right",)``; mostly none.
    """

    points: Quad
    ratio: float
    rotations: tuple[int, ...] = (0, 180)
    assumed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the corners by name."""
        names = ("top_left", "top_right", "bottom_right", "bottom_left")
        return {name: point.tolist() for name, point in zip(names, self.points, strict=True)}


def corners_of(mask: ArrayLike, *, settings: RectifySettings | None = None) -> Corners | None:
    """Find the corners of the largest card in a mask or a map of probabilities.

    The outline's subpixel crossings vote for lines; the best four are fitted robustly, each to its
    own stretch of outline without the corners, and meet in the corners. So a covered or rounded
    corner is where its sides would meet, be it outside the frame. A side that lies outside the
    frame as a whole is placed by the card's ratio.

    Args:
        mask: (H, W) bool, of 0 and 1, or probabilities in [0, 1].
        settings: threshold, least size, and whether the crop lies or stands.

    Returns:
        The corners, or ``None`` where nothing is large enough or no four lines enclose it.

    Raises:
        SettingsError: another shape, or values outside [0, 1].

    Examples:
        >>> mask = np.zeros((60, 90))
        >>> mask[10:50, 10:74] = 1
        >>> corners_of(mask).points.round(2).tolist()
        [[10.0, 10.0], [74.0, 10.0], [74.0, 50.0], [10.0, 50.0]]
    """
    settings = settings or RectifySettings()
    probability = checked_map(mask)
    for area in large_areas(probability, settings):
        return corners_of_area(area, settings)
    return None


def checked_map(mask: ArrayLike) -> NDArray[np.float32]:
    """Check a mask or map and give it as (H, W) float32.

    Raises:
        SettingsError: another shape, or values outside [0, 1].
    """
    probability = np.asarray(mask, dtype=np.float32)
    low, high = np.min(probability, initial=0), np.max(probability, initial=0)
    if probability.ndim != 2 or not probability.size or not (low >= 0 and high <= 1 + 1e-5):
        raise SettingsError(
            expected(
                "`mask`",
                "of shape (H, W) with values in [0, 1]",
                f"shape {probability.shape}, values {low:g} to {high:g}",
                "a mask of 0 and 1, or the foreground's probability",
            )
        )
    return probability


def large_areas(probability: NDArray[np.float32], settings: RectifySettings) -> list[Area]:
    """Give the areas that are large enough for a card, largest first."""
    least = max(settings.least_share * probability.size, settings.least_side**2)
    return areas_of(probability, threshold=settings.threshold, least_pixels=least)


def corners_of_area(area: Area, settings: RectifySettings) -> Corners | None:
    """Fit and order the corners of one area; ``None`` where no four lines enclose it."""
    quad = find_quad(area)
    if quad is None:
        quad = find_cut_quad(area, settings.ratio)
    return None if quad is None else order_corners(quad, area.inside.shape, settings)


def order_corners(quad: Quad, size: tuple[int, ...], settings: RectifySettings) -> Corners:
    """Choose the first corner, so that the crop lies (or stands, where its size does).

    **The rule.** The pair of opposite sides that is longer on the card itself, the perspective
    taken out, becomes the crop's top and bottom, however the photographer held the camera; where a
    size taller than wide is asked for, its left and right. Of the two ways left the one is taken
    whose top is higher in the photograph; where both are as high, whose top is further right. What
    is printed on the card has no say in this, so half a turn stays open, and all four turns where
    neither pair is clearly longer.

    Args:
        quad: (4, 2) corners, clockwise on a screen.
        size: (height, width) of the photograph.
        settings: for whether the crop stands.
    """
    first, second = _candidates(quad, size, upright=settings.upright)
    start = min((first, second), key=lambda index: _height_of_top(quad, index))
    points = np.roll(quad, -start, axis=0)
    ratio = true_ratio(points, size)
    clear = abs(np.log(ratio)) >= _CLEARLY_LONGER
    sides = enumerate(("top", "right", "bottom", "left"))
    assumed = tuple(name for side, name in sides if shown_share(points, side, size) == 0)
    return Corners(points, ratio, (0, 180) if clear else (0, 90, 180, 270), assumed)


def _candidates(quad: Quad, size: tuple[int, ...], *, upright: bool) -> tuple[int, int]:
    lies = true_ratio(quad, size) >= 1
    return (0, 2) if lies != upright else (1, 3)


def _height_of_top(quad: Quad, start: int) -> tuple[float, float]:
    """Tell how far the middle of a side lies below the opposite one's, then how far left."""
    middles = (quad + np.roll(quad, -1, axis=0)) / 2
    away = middles[start] - middles[(start + 2) % 4]
    # A tenth of a pixel is nothing that the order should hang on.
    return (round(float(away[1]), 1), -float(away[0]))


def true_ratio(quad: Quad, size: tuple[int, ...]) -> float:
    """Compute width over height of the rectangle whose photograph a quad is.

    By Zhang and He (2007), with square pixels, the optical axis through the frame's middle, and a
    focal length of `FOCAL` times the frame's longer side. Their focal length from two vanishing
    points is not used: of a card that is photographed nearly from above it is mostly noise, and
    between 0.8 and 1.5 times the longer side, where telephones lie, the ratio hardly depends on it.

    Args:
        quad: (4, 2) top left, top right, bottom right, bottom left.
        size: (height, width) of the photograph in pixels.

    Returns:
        A ratio above 0.

    Examples:
        >>> true_ratio(np.array([[0.0, 0], [80, 0], [80, 50], [0, 50]]), (100, 100))
        1.6
    """
    longest = float(max(size))
    middle = np.array([size[1], size[0]]) / 2
    top_left, top_right, bottom_right, bottom_left = np.column_stack(
        [(quad - middle) / longest, np.ones(4)]
    )
    across = np.cross(top_left, bottom_right)
    right = across @ bottom_left / (np.cross(top_right, bottom_right) @ bottom_left)
    below = across @ top_right / (np.cross(bottom_left, bottom_right) @ top_right)
    along, down = right * top_right - top_left, below * bottom_left - top_left
    lengths = [float(np.hypot(*side[:2]) / FOCAL) for side in (along, down)]
    return float(np.hypot(lengths[0], along[2]) / np.hypot(lengths[1], down[2]))
