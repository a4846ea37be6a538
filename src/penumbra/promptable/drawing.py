"""Prompts and regions drawn over their image, for people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.overlay import line_width, overlay_mask
from penumbra.imaging.palette import RGB, rgb
from penumbra.promptable.prompts import OBJECT, PADDING, Prompts

PAPER, INK = rgb("#FAFAF7"), rgb("#15171A")
_COLOURS = 24


def draw_labels(image: NDArray[np.generic], labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Draw a map of labels (H, W), each with its own colour as long as there are colours.

    Returns:
        (H, W, 3) uint8.
    """
    # Beyond some number a colour comes again: 65,535 that nobody tells apart would be slower.
    indices = np.where(labels > 0, (labels - 1) % _COLOURS + 1, 0).astype(np.uint8)
    return overlay_mask(image, indices)


def draw_prompts(picture: NDArray[np.uint8], prompts: Prompts) -> NDArray[np.uint8]:
    """Draw boxes as light lines, points on the object as light discs, points beside it as dark.

    Args:
        picture: (H, W, 3), such as an overlay.
        prompts: on that image.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    drawn = np.ascontiguousarray(picture).copy()
    width = line_width(drawn.shape)
    for box in () if prompts.boxes is None else prompts.boxes:
        x0, y0 = (int(value) for value in np.floor(box[:2]))
        x1, y1 = (int(value) - 1 for value in np.ceil(box[2:]))
        # A dark line under the light one keeps it visible on white ground.
        cv2.rectangle(drawn, (x0, y0), (x1, y1), INK, 3 * width)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), PAPER, width)
    if prompts.points is not None and prompts.labels is not None:
        kept = prompts.labels != PADDING
        for (x, y), label in zip(prompts.points[kept], prompts.labels[kept], strict=True):
            _draw_point(drawn, (int(x), int(y)), on_object=label == OBJECT, width=width)
    return drawn


def _draw_point(
    drawn: NDArray[np.uint8], centre: tuple[int, int], *, on_object: bool, width: int
) -> None:
    inner, outer = (PAPER, INK) if on_object else (INK, PAPER)
    radius = max(2, 3 * width)
    _disc(drawn, centre, radius + width, outer)
    _disc(drawn, centre, radius, inner)


def _disc(drawn: NDArray[np.uint8], centre: tuple[int, int], radius: int, colour: RGB) -> None:
    cv2.circle(drawn, centre, radius, colour, thickness=-1, lineType=cv2.LINE_AA)
