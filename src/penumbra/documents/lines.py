"""Straight lines through an outline: found by voting, fitted robustly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penumbra.documents.outline import Points

_ANGLES = 180
_BINS = 0.006
_MOST_VOTERS = 2000
_TUKEY = 4.685


class Line(NamedTuple):
    """The points p with normal · p = offset; the normal has length 1."""

    normal: NDArray[np.float64]
    offset: float

    def distances(self, points: Points) -> NDArray[np.float64]:
        """Give signed distances, positive where the normal points."""
        distances: NDArray[np.float64] = points @ self.normal - self.offset
        return distances

    def turned_from(self, point: NDArray[np.float64]) -> Line:
        """Give the same line with the normal pointing away from a point."""
        return self if self.normal @ point < self.offset else Line(-self.normal, -self.offset)

    def meets(self, other: Line) -> NDArray[np.float64] | None:
        """Give the point on both lines, or ``None`` where they are as good as parallel."""
        both = np.stack([self.normal, other.normal])
        if abs(np.linalg.det(both)) < 1e-3:
            return None
        return np.asarray(np.linalg.solve(both, [self.offset, other.offset]))


def fit_line(points: Points, *, scale: float, rounds: int = 8) -> Line:
    """Fit a line by total least squares with Tukey's biweight.

    Weights are w = (1 − (d / 4.685 s)²)² for distances d below 4.685 s, else 0, where s is
    1.4826 times the median distance, and no less than `scale`. (Beaton and Tukey, 1974.)

    Args:
        points: (N, 2), N ≥ 2.
        scale: least s, in pixels: the spread that points of a good side have.
        rounds: how often weights are computed anew.

    Returns:
        The line; points far from most others have no say.

    Examples:
        >>> along = np.stack([np.arange(9.0), np.full(9, 2.0)], axis=1)
        >>> along[4] = (4.0, 7.0)
        >>> abs(round(fit_line(along, scale=0.5).offset, 6))
        2.0
    """
    weights = np.ones(len(points))
    line = _least_squares(points, weights)
    for _ in range(rounds):
        distances = np.abs(line.distances(points))
        spread = max(1.4826 * float(np.median(distances)), scale)
        weights = np.clip(1 - (distances / (_TUKEY * spread)) ** 2, 0, None) ** 2
        if weights.sum() < 1e-9:
            break
        line = _least_squares(points, weights)
    return line


def _least_squares(points: Points, weights: NDArray[np.float64]) -> Line:
    centre = weights @ points / weights.sum()
    away = points - centre
    _, vectors = np.linalg.eigh((away * weights[:, None]).T @ away)
    normal = vectors[:, 0]
    return Line(normal, float(normal @ centre))


def find_lines(outline: Points, *, most: int = 8, least_share: float = 0.04) -> list[Line]:
    """Find the straight parts of an outline by voting (Duda and Hart, 1972), strongest first.

    Every point votes for the lines through it, 180 directions; the strongest line takes its points
    away and is fitted to them, and the rest vote again. No draw is involved.

    Args:
        outline: (N, 2) points.
        most: how many lines are given.
        least_share: of all points that a line must hold.

    Returns:
        Lines, strongest first; none where there are fewer than 8 points.
    """
    if len(outline) < 8:
        return []
    low, high = outline.min(axis=0), outline.max(axis=0)
    size = max(float(np.hypot(*(high - low))), 1.0)
    # Thinned all around: rows hold points of opposite sides in turn, and every second one of
    # those would be a side without points.
    around = np.arctan2(*(outline - (low + high) / 2).T)
    step = -(-len(outline) // _MOST_VOTERS)
    left = outline[np.argsort(around, kind="stable")][::step]
    fewest = max(4.0, least_share * len(left))
    width = max(_BINS * size, 1.0)
    found: list[Line] = []
    while len(found) < most and len(left) >= fewest:
        line = _strongest(left, centre=(low + high) / 2, width=width)
        for _ in range(2):
            near = np.abs(line.distances(left)) < 1.5 * width
            if near.sum() < 2:
                break
            line = fit_line(left[near], scale=width / 4)
        near = np.abs(line.distances(left)) < 2 * width
        if near.sum() < fewest:
            break
        found.append(line)
        left = left[~near]
    return found


def _strongest(points: Points, *, centre: NDArray[np.float64], width: float) -> Line:
    """Give the line with the most votes; neighbouring bins count together."""
    angles = np.arange(_ANGLES) * (np.pi / _ANGLES)
    normals = np.stack([np.cos(angles), np.sin(angles)])
    offsets = (points - centre) @ normals
    lowest = offsets.min()
    bins = ((offsets - lowest) / width).astype(np.int64)
    count = int(bins.max()) + 2
    votes = np.bincount((bins + np.arange(_ANGLES) * count).ravel(), minlength=_ANGLES * count)
    votes = votes.reshape(_ANGLES, count)
    pairs = votes[:, :-1] + votes[:, 1:]
    angle, start = np.unravel_index(int(pairs.argmax()), pairs.shape)
    normal = normals[:, angle]
    return Line(normal, float(lowest + (start + 1) * width + normal @ centre))
