"""A photograph while things are laid into it: each with its shadow, and what it covers kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import Colour, Pixels, fill

Marks = Callable[[Pixels, NDArray[np.float64]], None]
"""Draws on a patch (h, w, 3) whose upper left corner lies at (x, y) of the photograph."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What has been laid so far.

    Attributes:
        image: (H, W, 3) uint8 RGB; changed in place.
        cover: (H, W) uint8, how much of each pixel things laid since it was cleared cover.
        unit: pixels of a hundredth of the frame's width, by which things are measured.
        light: (x, y) that shadows fall by, in units.
    """

    image: Pixels
    cover: NDArray[np.uint8]
    unit: float
    light: tuple[float, float]

    def lay(
        self,
        outline: NDArray[np.floating],
        colour: Colour,
        *,
        marks: Marks | None = None,
        height: float = 0.6,
        soft: float = 0.0,
        shadow: float = 0.45,
    ) -> None:
        """Lay a thing: its shadow first, then its area, then what is drawn on it.

        Args:
            outline: (N, 2) polygon in pixels; parts beyond the frame are cut off.
            colour: what the area is filled with.
            marks: draws on the filled patch; what falls outside the outline is not kept.
            height: how high it lies over the table, as a factor on the shadow's reach.
            soft: blur of its own edge in units.
            shadow: how dark its shadow is, in [0, 1].
        """
        reach = int(self.unit * (6 * height + 3 * soft + 1)) + 2
        low = np.floor(outline.min(axis=0)).astype(int) - reach
        high = np.ceil(outline.max(axis=0)).astype(int) + reach
        limits = np.array(self.cover.shape[::-1])
        low, high = np.clip(low, 0, limits), np.clip(high, 0, limits)
        if (high - low).min() < 1:
            return
        (x0, y0), (x1, y1) = low, high
        area = np.zeros((y1 - y0, x1 - x0), np.uint8)
        inside = np.asarray(outline, np.float64) - low
        fill(area, inside, 255)
        if soft:
            area = np.asarray(cv2.GaussianBlur(area, (0, 0), self.unit * soft))
        window = self.image[y0:y1, x0:x1]
        if shadow:
            self._shade(window, inside, height, shadow)
        patch = np.empty_like(window)
        patch[:] = np.clip(colour, 0, 255).astype(np.uint8)
        if marks is not None:
            marks(patch, low.astype(np.float64))
        blend(window, patch, area)
        np.maximum(self.cover[y0:y1, x0:x1], area, out=self.cover[y0:y1, x0:x1])

    def _shade(
        self, window: Pixels, outline: NDArray[np.float64], height: float, shadow: float
    ) -> None:
        fallen = np.zeros(window.shape[:2], np.uint8)
        fill(fallen, outline + np.array(self.light) * self.unit * height, 255)
        soft = cv2.GaussianBlur(fallen, (0, 0), max(0.5, self.unit * 1.2 * height))
        shade = cv2.convertScaleAbs(soft, alpha=shadow)
        blend(window, np.zeros_like(window), np.asarray(shade, np.uint8))


def blend(below: Pixels, above: Pixels, share: NDArray[np.uint8]) -> None:
    """Mix `above` into `below` (both (h, w, 3)) in place by (h, w) shares of 255."""
    weight = cv2.merge([share] * 3).astype(np.float32) * np.float32(1 / 255)
    mixed = below + (above.astype(np.float32) - below) * weight
    below[:] = (mixed + np.float32(0.5)).astype(np.uint8)
