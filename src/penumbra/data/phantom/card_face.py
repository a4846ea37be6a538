"""What a card-like phantom is made of: the face of the card and the table it lies on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.phantom.field import Array, Grid, smooth_field

_FACE = (126, 200)  # rows, columns of the drawn face, about 1 : 1.586


def _colour(rng: np.random.Generator, low: float, high: float) -> tuple[float, ...]:
    colour = rng.uniform(low, high, 3)
    muted = 0.55 * colour + 0.45 * colour.mean()  # real things are rarely in primary colours
    return tuple(float(value) for value in muted)


def _draw_portrait(face: NDArray[np.float32], rng: np.random.Generator) -> None:
    skin = float(rng.uniform(0.45, 0.9))
    cv2.rectangle(face, (12, 34), (60, 98), _colour(rng, 0.75, 0.9), -1)
    cv2.ellipse(face, (36, 98), (21, 24), 0, 180, 360, _colour(rng, 0.1, 0.5), -1)
    cv2.ellipse(face, (36, 62), (11, 15), 0, 0, 360, (skin, skin * 0.8, skin * 0.68), -1)
    cv2.ellipse(face, (36, 54), (12, 10), 0, 180, 360, _colour(rng, 0.05, 0.3), -1)


def _draw_text(face: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Bars of random lengths: at phantom sizes nothing tells them from print."""
    ink = _colour(rng, 0.05, 0.3)
    for row in range(38, 96, 11):
        column, end = 72, int(rng.integers(120, 186))
        while column < end:
            word = int(rng.integers(8, 30))
            cv2.rectangle(face, (column, row), (min(column + word, end), row + 4), ink, -1)
            column += word + 5
    for row in (106, 115):
        for column in range(12, 188, 7):
            if rng.uniform() < 0.8:
                cv2.rectangle(face, (column, row), (column + 4, row + 4), ink, -1)


def card_face(corners: Array, size: int, document: np.random.Generator) -> Array:
    """Paint the face of a card and lay it onto its corners.

    Args:
        corners: (4, 2) xy in units of the side: TL, TR, BR, BL.
        size: pixels per side of the image.
        document: draws what the photographs of one document share.

    Returns:
        (size, size, 3) float64 in [0, 1]; beyond the corners the card's edge colours go on, so
        that an edge out of focus mixes card and table, not card and black.
    """
    rows, columns = _FACE
    paper = np.array(_colour(document, 0.72, 0.95), dtype=np.float32)
    tint = np.linspace(0.92, 1.06, columns, dtype=np.float32)[None, :, None]
    face = np.ascontiguousarray(np.broadcast_to(paper, (rows, columns, 3)) * tint)
    waves = np.sin(np.arange(rows)[:, None] * 0.6 + 4 * np.sin(np.arange(columns)[None, :] / 18))
    face += 0.035 * waves[..., None].astype(np.float32)
    cv2.rectangle(face, (0, 0), (columns, 22), _colour(document, 0.1, 0.6), -1)
    cv2.rectangle(face, (12, 8), (90, 14), (0.95, 0.95, 0.95), -1)
    cv2.circle(face, (180, 11), 7, (0.93, 0.8, 0.3), -1)
    _draw_portrait(face, document)
    _draw_text(face, document)
    ends = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], dtype=np.float32)
    warp = cv2.getPerspectiveTransform(ends, (corners * size).astype(np.float32))
    # Smoothed before it shrinks, since the warp itself samples single points.
    shrink = float(columns / (size * np.hypot(*(corners[1] - corners[0]))))
    face = cv2.GaussianBlur(face, (0, 0), sigmaX=max(0.4 * shrink, 0.1))
    laid = cv2.warpPerspective(face, warp, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, dtype=np.float64)


def table_top(grid: Grid, document: np.random.Generator, frame: np.random.Generator) -> Array:
    """Paint a table with grain and clutter: sheets of paper, cables, a cup's ring.

    Returns:
        (H, W, 3) float64, about [0, 1].
    """
    size = grid.size
    base = np.array(_colour(document, 0.25, 0.62)) * (1.0, 0.88, 0.74)
    grain = smooth_field(document, size, (26.0, 2.0)) + 0.5 * smooth_field(document, size, 5.0)
    table = np.ascontiguousarray(base * (1 + 0.11 * grain[..., None]), dtype=np.float32)
    for _ in range(int(frame.integers(2, 5))):
        centre, reach = frame.uniform(0, size, 2), frame.uniform(0.15, 0.4) * size
        angles = np.sort(frame.uniform(0, 6.283, 4))
        sheet = centre + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(table, [np.rint(sheet).astype(np.int32)], _colour(frame, 0.2, 0.9))
    thick = max(1, size // 64)
    for _ in range(int(frame.integers(1, 4))):
        points = np.cumsum(frame.normal(0, 0.12 * size, (7, 2)), axis=0) + frame.uniform(0, size, 2)
        cable = [np.rint(points).astype(np.int32)]
        colour = _colour(frame, 0.0, 0.8)
        cv2.polylines(table, cable, isClosed=False, color=colour, thickness=thick)
    ring = np.rint(frame.uniform(0, size, 2)).astype(int)
    cv2.circle(table, (int(ring[0]), int(ring[1])), int(0.13 * size), (0.2, 0.13, 0.08), thick)
    return np.asarray(cv2.GaussianBlur(table, (0, 0), sigmaX=0.5 * size / 128), dtype=np.float64)
