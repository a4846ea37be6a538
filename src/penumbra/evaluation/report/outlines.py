"""Several samples of one image as outlines over each other.

Where samples agree their thin lines add up to one firm line; where they part, single faint lines
fan out over the glow of the doubt.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.palette import class_colour
from penumbra.inference.prediction import Samples
from penumbra.pages.panels import resized

MOST = 6
"""Samples that are drawn; more would hide each other."""
OPACITY = 0.5
"""Of one line: six that agree reach 98 %."""

_WIDTH = 2


def sample_masks(
    samples: Samples, size: tuple[int, int], *, threshold: float = 0.5
) -> Iterator[NDArray[np.uint8]]:
    """Give the class indices of the first samples at the size of the drawing.

    Probabilities are resized before a class is chosen, so that edges lie between pixels.

    Args:
        samples: what single passes said.
        size: (height, width) of the drawing.
        threshold: least foreground probability of two classes.
    """
    for index in range(min(len(samples), MOST)):
        drawn = np.stack([resized(plane, size) for plane in samples[index]])
        chosen = drawn[1] >= threshold if len(drawn) == 2 else drawn.argmax(axis=0)
        yield chosen.astype(np.uint8)


def draw_outlines(
    ground: NDArray[np.uint8],
    samples: Samples,
    *,
    threshold: float = 0.5,
    opacity: float = OPACITY,
) -> NDArray[np.uint8]:
    """Draw the outlines of samples over each other.

    Args:
        ground: (H, W, 3) to draw on.
        samples: what single passes said; the first six are drawn.
        threshold: least foreground probability of two classes.
        opacity: of each line.

    Returns:
        (H, W, 3) uint8.
    """
    canvas = ground.astype(np.float32)
    height, width = ground.shape[:2]
    for mask in sample_masks(samples, (height, width), threshold=threshold):
        for index in range(1, samples.planes.shape[1]):
            share = opacity * _lines(mask == index)[..., None]
            colour = np.array(class_colour(index), dtype=np.float32)
            canvas += share * (colour - canvas)
    return np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)


def _lines(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give how much of each pixel the outline covers, (H, W) in [0, 1]."""
    # A margin that repeats the edge keeps the picture's frame from counting as an outline.
    margin = 2 * _WIDTH
    wider = np.pad(region, margin, mode="edge").astype(np.uint8)
    found, _ = cv2.findContours(wider, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros(wider.shape, dtype=np.uint8)
    cv2.drawContours(drawn, found, -1, 255, _WIDTH, cv2.LINE_AA)
    return np.asarray(drawn[margin:-margin, margin:-margin] / 255, dtype=np.float32)
