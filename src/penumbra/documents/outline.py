"""From a probability map to cards: connected areas, and their outlines below a pixel.

Coordinates are (x, y) in pixels with the origin at the outer corner of the first pixel, so that the
centre of pixel (row, column) lies at ``(column + 0.5, row + 0.5)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """One connected area of foreground, holes filled.

    Attributes:
        inside: (H, W) uint8 of 0 and 1.
        pixels: how many are inside.
        solidity: pixels over those of the convex hull, in (0, 1].
        outline: (N, 2) points (x, y) where the probability crosses the threshold between two
            neighbouring pixels, by linear interpolation. Where the frame cuts the area there is
            no crossing, and hence no point.
    """

    inside: NDArray[np.uint8]
    pixels: int
    solidity: float
    outline: Points


def areas_of(
    probability: NDArray[np.floating], *, threshold: float, least_pixels: float
) -> list[Area]:
    """Find the connected areas (4 neighbours) of at least `threshold`, the largest first.

    Args:
        probability: (H, W) in [0, 1].
        threshold: least probability inside.
        least_pixels: areas of fewer pixels, holes filled, are left out.

    Returns:
        Areas, largest first; none where nothing is inside.
    """
    likely = np.asarray(probability, dtype=np.float32)
    binary = (likely >= threshold).astype(np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(binary, connectivity=4)
    found = []
    for label in range(1, count):
        # A ring's hole counts too, so the box decides what is worth a look.
        box = int(facts[label, cv2.CC_STAT_WIDTH]) * int(facts[label, cv2.CC_STAT_HEIGHT])
        if box < least_pixels:
            continue
        x, y, width, height = (int(value) for value in facts[label, :4])
        part = (labels[y : y + height, x : x + width] == label).astype(np.uint8)
        filled, solidity = _filled(part)
        pixels = int(filled.sum())
        if pixels < least_pixels:
            continue
        inside = np.zeros_like(binary)
        inside[y : y + height, x : x + width] = filled
        outline = crossings(likely, inside, threshold=threshold)
        found.append(Area(inside, pixels, solidity, outline))
    return sorted(found, key=lambda area: -area.pixels)


def _filled(part: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Fill the holes of one connected area and measure how convex it is."""
    rings, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(part)
    cv2.drawContours(filled, rings, -1, 1, thickness=cv2.FILLED)
    hull = np.zeros_like(part)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(rings)), 1)
    return filled, float(filled.sum() / max(int(hull.sum()), 1))


def crossings(
    probability: NDArray[np.float32],
    inside: NDArray[np.uint8],
    *,
    threshold: float,
    margin: float = 2.0,
) -> Points:
    """Find where the probability crosses the threshold between neighbouring pixels' centres.

    Between a pixel inside (probability a) and one outside (b), the point lies at the share
    (a − threshold) / (a − b) of the way, or half-way where the two do not enclose the threshold.
    Of a mask of 0 and 1 all points lie half-way, which on a straight side errs to both sides
    alike.

    Args:
        probability: (H, W) in [0, 1].
        inside: (H, W), 1 inside the area.
        threshold: that is crossed.
        margin: points nearer to the frame than this many pixels are left out: there the frame
            ends the area, not the card.

    Returns:
        (N, 2) points (x, y), in no order that matters.

    Examples:
        >>> mask = np.zeros((8, 8), dtype=np.float32)
        >>> mask[:, 4:] = 1
        >>> sorted(set(crossings(mask, mask.astype(np.uint8), threshold=0.5)[:, 0].tolist()))
        [4.0]
    """
    height, width = inside.shape
    along_x = _between(probability, inside, threshold)
    along_y = _between(probability.T, inside.T, threshold)[:, ::-1]
    points = np.concatenate([along_x, along_y])
    low, high = points.min(axis=1), np.array([width, height]) - points
    kept: Points = points[(low > margin) & (high.min(axis=1) > margin)]
    return kept


def _between(
    probability: NDArray[np.float32], inside: NDArray[np.uint8], threshold: float
) -> Points:
    """Give the crossings between neighbours in a row."""
    rows, columns = np.nonzero(inside[:, 1:] != inside[:, :-1])
    left = probability[rows, columns].astype(np.float64)
    right = probability[rows, columns + 1].astype(np.float64)
    encloses = (left >= threshold) != (right >= threshold)
    step = np.where(encloses, right - left, 1.0)
    share = np.where(encloses, (threshold - left) / step, 0.5)
    # A map of 0 and 1 knows no more than that the border lies between.
    bare = encloses & (np.abs(step) == 1.0)
    share = np.where(bare, 0.5, share)
    return np.stack([columns + 0.5 + share, rows + 0.5], axis=1)
