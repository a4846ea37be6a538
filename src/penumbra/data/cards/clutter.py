"""Things on the table, or over a corner of the card: pens, cables, paper, coins, devices."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import (
    Pixels,
    dark,
    ellipse,
    fill,
    mixed,
    pastel,
    rounded,
    trace,
    vivid,
)
from penumbra.data.cards.stage import Stage

Point = NDArray[np.float64]


def _turn(points: Point, angle: float, at: Point) -> Point:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + at)


def _slab(
    half: tuple[float, float], radius: float, angle: float, at: Point
) -> tuple[Point, Callable[[Point], Point]]:
    """Give a turned rounded box and the map from its own coordinates to the photograph."""
    box = rounded((-half[0], -half[1], half[0], half[1]), min(radius, *half))
    return _turn(box, angle, at), lambda points: _turn(points, angle, at)


def pen(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A pen, a pencil or a marker with a point, a band and a light along its back."""
    u = stage.unit
    long, thick = rng.uniform(28, 55) * u, rng.uniform(0.9, 3.2) * u
    colour, other = vivid(rng, 5, 245), vivid(rng)
    neck = long - 4 * thick
    half = [(-long, thick), (neck, thick), (long, 0.1 * thick)]
    shape = np.array([*half, *((x, -y) for x, y in reversed(half))]) / (2, 1)

    def marks(patch: Pixels, low: Point) -> None:
        for offset, share, white in ((-0.35, 0.35, 255.0), (0.75, 0.35, 0.0)):
            line = np.array([(-long / 2, offset * thick), (long / 2, offset * thick)])
            shade = mixed(colour, (white,) * 3, share)
            trace(patch, _turn(line, angle, at) - low, shade, max(1, int(thick * 0.4)))
        band = np.array([(-0.2, -1), (-0.05, -1), (-0.05, 1), (-0.2, 1)]) * (long, thick)
        fill(patch, _turn(band, angle, at) - low, other)

    stage.lay(_turn(shape, angle, at), colour, marks=marks, height=0.8)


def cable(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A cable in wide bends."""
    u, steps = stage.unit, 60
    bend = np.cumsum(np.cumsum(rng.normal(0, 0.012, steps))) + angle
    step = np.stack([np.cos(bend), np.sin(bend)], axis=1) * 2.6 * u
    middle = np.cumsum(step, axis=0)
    middle += at - middle[steps // 2]
    thick = rng.uniform(0.5, 1.1) * u
    across = np.stack([-np.sin(bend), np.cos(bend)], axis=1) * thick
    colour = mixed(vivid(rng, 10, 240), (20, 20, 20), 0.5 if rng.uniform() < 0.7 else 0)

    def marks(patch: Pixels, low: Point) -> None:
        light = mixed(colour, (255, 255, 255), 0.35)
        trace(patch, middle - 0.4 * across - low, light, max(1, int(0.4 * thick)))

    stage.lay(np.concatenate([middle - across, (middle + across)[::-1]]), colour, marks=marks)


def sheet(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A sheet of paper with lines of writing, or a note without."""
    half = tuple(rng.uniform(12, 45, 2) * stage.unit)
    outline, place = _slab((half[0], half[1]), 0.2 * stage.unit, angle, at)
    colour = pastel(rng, 170, 250) if rng.uniform() < 0.6 else vivid(rng, 90, 255)
    ink, lines = dark(rng), rng.uniform() < 0.6

    def marks(patch: Pixels, low: Point) -> None:
        for y in np.arange(-0.8, 0.85, 3 * stage.unit / half[1]) * half[1] if lines else ():
            ends = np.array([(-0.85 * half[0], y), (rng.uniform(0.1, 0.85) * half[0], y)])
            trace(patch, place(ends) - low, ink, max(1, int(0.5 * stage.unit)))

    stage.lay(outline, colour, marks=marks, height=0.25, shadow=0.35)


def coin(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A coin, a lid or a cup seen from above."""
    r = rng.uniform(3, 9) * stage.unit * (2.2 if rng.uniform() < 0.2 else 1)
    colour = ((190, 160, 90), (176, 176, 180), (150, 92, 62), vivid(rng))[int(rng.integers(4))]
    where = (float(at[0]), float(at[1]))

    def marks(patch: Pixels, low: Point) -> None:
        for share, white in ((0.86, 0.0), (0.8, 255.0), (0.45, 0.0)):
            ring = ellipse(where, (r * share, r * share * 0.97), angle) - low
            trace(patch, ring, mixed(colour, (white,) * 3, 0.3), max(1, int(r / 14)), closed=True)

    stage.lay(ellipse(where, (r, r * 0.97), angle), colour, marks=marks, height=0.4)


def device(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A telephone, a board with chips, or a book: a slab with rectangles on it."""
    u = stage.unit
    half = (rng.uniform(10, 32) * u, rng.uniform(8, 18) * u)
    outline, place = _slab(half, rng.uniform(0.3, 3) * u, angle, at)
    colour = vivid(rng, 5, 200) if rng.uniform() < 0.6 else (24.0, 24.0, 28.0)
    count, parts = int(rng.integers(1, 9)), rng.uniform(-0.8, 0.7, (9, 2))
    sizes, shades = rng.uniform(0.06, 0.3, (9, 2)), [vivid(rng, 5, 235) for _ in range(9)]

    def marks(patch: Pixels, low: Point) -> None:
        for (x, y), (w, h), shade in zip(parts[:count], sizes, shades, strict=False):
            box = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)]) * half
            fill(patch, place(box) - low, shade)

    stage.lay(outline, colour, marks=marks, height=rng.uniform(0.5, 1.4))


def ruler(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """A ruler with marks and numbers."""
    u = stage.unit
    half = (rng.uniform(25, 60) * u, rng.uniform(2.5, 5) * u)
    outline, place = _slab(half, 0.5 * u, angle, at)
    colour = ((30, 30, 34), (222, 196, 130), (210, 220, 224))[int(rng.integers(3))]
    ink = (230.0,) * 3 if colour[0] < 100 else (30.0,) * 3

    def marks(patch: Pixels, low: Point) -> None:
        for number, x in enumerate(np.arange(-half[0], half[0], 1.4 * u)):
            long = 0.5 if number % 5 == 0 else 0.25
            ends = np.array([(x, -half[1]), (x, -half[1] * (1 - 2 * long))])
            trace(patch, place(ends) - low, ink, max(1, int(0.2 * u)))

    stage.lay(outline, colour, marks=marks, height=0.3)


def blot(stage: Stage, rng: np.random.Generator, at: Point, angle: float) -> None:
    """Something crumpled: a wrapper, a cloth, a leaf, with folds in two shades."""
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    r = rng.uniform(4, 14) * stage.unit * rng.uniform(0.6, 1.1, 14)
    points = at + np.stack([r * np.cos(turn + angle), r * np.sin(turn + angle)], axis=1)
    colour = vivid(rng, 10, 250)
    shades = [
        mixed(colour, (w,) * 3, s)
        for w, s in zip((255, 0) * 7, rng.uniform(0.1, 0.5, 14), strict=True)
    ]

    def marks(patch: Pixels, low: Point) -> None:
        for number, shade in enumerate(shades):
            side = np.array([at, points[number], points[(number + 1) % 14]])
            fill(patch, side - low, shade)

    stage.lay(points, colour, marks=marks, height=0.8)


THINGS: tuple[Callable[[Stage, np.random.Generator, Point, float], None], ...] = (
    pen, pen, cable, cable, sheet, sheet, coin, device, device, ruler, blot,
)  # fmt: skip
"""What may lie about; those named twice are drawn twice as often."""


def strew(stage: Stage, rng: np.random.Generator, count: int) -> None:
    """Lay `count` things anywhere in the frame."""
    height, width = stage.cover.shape
    for _ in range(count):
        at = rng.uniform(-0.05, 1.05, 2) * (width, height)
        thing = THINGS[int(rng.integers(len(THINGS)))]
        thing(stage, rng, at, float(rng.uniform(0, 2 * np.pi)))


def blur_ground(image: Pixels, sigma: float) -> Pixels:
    """Put a ground out of focus; a sigma below a third of a pixel leaves it as it is."""
    return image if sigma < 1 / 3 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))
