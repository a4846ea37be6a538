"""Regions of an image as run lengths: what everything-mode finds, light enough to hold many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.rle import compress, counts_of, decompress, mask_of_counts

MOST_LABELS = 65535
"""Most regions that a 16-bit map of labels can number."""


@dataclass(frozen=True)
class Region:
    """One region of an image.

    Attributes:
        size: (H, W) of the image.
        counts: COCO's compressed run lengths of the mask.
        box: (x0, y0, x1, y1), the tight box in pixels, the far edge exclusive.
        area: pixels.
        predicted_iou: what the model expects the IoU with the truth to be, in [0, 1].
        stability: IoU of the masks at a logit of +1 and −1, in [0, 1].
        point: (x, y) of the prompt it answers.
        layer: of the crop it was found in; 0 is the whole image.
    """

    size: tuple[int, int]
    counts: str
    box: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    layer: int = 0

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The region as (H, W) bool, decoded at each call."""
        pixels = self.size[0] * self.size[1]
        counts = decompress(self.counts, most=2 * pixels + 2)
        return mask_of_counts(counts, self.size, max_pixels=pixels)

    def to_json(self) -> dict[str, Any]:
        """Give plain values; ``segmentation`` is a COCO RLE object."""
        return {
            "box": list(self.box),
            "area": self.area,
            "predicted_iou": self.predicted_iou,
            "stability": self.stability,
            "point": list(self.point),
            "layer": self.layer,
            "segmentation": {"size": list(self.size), "counts": self.counts},
        }


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Give (x0, y0, x1, y1) around the pixels of a mask, far edge exclusive; ``None`` if empty.

    Examples:
        >>> tight_box(np.array([[0, 0, 0], [0, 1, 1]], dtype=bool))
        (1, 1, 3, 2)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def region_of(
    mask: NDArray[np.bool_],
    *,
    predicted_iou: float,
    stability: float,
    point: tuple[float, float],
    layer: int = 0,
) -> Region | None:
    """Make a region of a mask (H, W); ``None`` where the mask is empty."""
    box = tight_box(mask)
    if box is None:
        return None
    size = (int(mask.shape[0]), int(mask.shape[1]))
    counts = compress(counts_of(mask))
    area = int(np.count_nonzero(mask))
    return Region(size, counts, box, area, predicted_iou, stability, point, layer)


def without_specks(mask: NDArray[np.bool_], *, least: int) -> NDArray[np.bool_]:
    """Fill holes and remove islands that are smaller than `least` pixels.

    Pixels that touch at a corner belong to one island; so background that touches at corners
    alone is two holes (the two must differ, or a closed line would not close). Background that
    reaches the border of the image is no hole. The largest island stays, however small.

    Args:
        mask: (H, W) bool.
        least: pixels; up to 1 nothing changes.

    Returns:
        (H, W) bool, a new array.

    Examples:
        >>> ring = np.pad(np.ones((3, 3), bool), 1)
        >>> ring[2, 2] = False
        >>> int(without_specks(ring, least=2).sum())
        9
    """
    cleaned = np.array(mask, dtype=np.bool_)
    if least <= 1 or not cleaned.any():
        return cleaned
    return _without_islands(_without_holes(cleaned, least), least)


def _without_holes(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    # A frame of background joins all that reaches the border into one part, which is no hole.
    framed = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(framed, connectivity=4)
    small = facts[:, cv2.CC_STAT_AREA] < least
    small[[0, int(labels[0, 0])]] = False
    return np.asarray(mask | small[labels[1:-1, 1:-1]], dtype=np.bool_)


def _without_islands(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    _, labels, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = facts[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= least
    keep[int(areas.argmax())] = True
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)


def label_map(regions: Sequence[Region], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Draw regions as labels, the larger ones first, so that a part lies over its whole.

    Args:
        regions: of this size.
        size: (H, W).

    Returns:
        (H, W) uint16: 0 where there is no region, else 1 + the region's place in `regions`.

    Raises:
        SettingsError: there are more than 65,535, or a region is of another size.
    """
    if len(regions) > MOST_LABELS or any(region.size != size for region in regions):
        raise SettingsError(
            expected("the regions", f"at most {MOST_LABELS:,} of size {size}",
                     f"{len(regions):,} of {sorted({region.size for region in regions})}",
                     "the regions of one image")
        )  # fmt: skip
    labels = np.zeros(size, dtype=np.uint16)
    for index in sorted(range(len(regions)), key=lambda index: -regions[index].area):
        labels[regions[index].mask] = index + 1
    return labels
