"""Fingers: behind a card that is held, over its edge, or on a corner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import Colour, Pixels, ellipse, fill, mixed, trace
from penumbra.data.cards.stage import Stage

Point = NDArray[np.float64]

_SKINS: tuple[Colour, ...] = (
    (236, 196, 168), (222, 170, 138), (198, 142, 106), (156, 104, 74), (104, 68, 50)
)  # fmt: skip


def skin_colour(rng: np.random.Generator) -> Colour:
    """Draw the colour of a hand."""
    return mixed(
        _SKINS[int(rng.integers(len(_SKINS)))], (210, 120, 90), float(rng.uniform(0, 0.25))
    )


def finger(
    stage: Stage,
    rng: np.random.Generator,
    tip: Point,
    root: Point,
    half: float,
    skin: Colour,
    *,
    nail: bool,
) -> None:
    """Lay one finger from its tip to its root, rounder at the tip and wider at the root.

    Args:
        stage: what it is laid into.
        rng: draws its knuckle and shade.
        tip: (x, y) of the foremost point.
        root: (x, y) where it leaves the frame or goes into the hand.
        half: half of its width at the tip, in pixels.
        skin: its colour.
        nail: whether the nail is seen.
    """
    axis = (root - tip) / max(1e-6, float(np.hypot(*(root - tip))))
    across = np.array([-axis[1], axis[0]])
    long = float(np.hypot(*(root - tip)))
    centre = tip + axis * half * 1.25
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 24)
    cap = centre + half * (1.25 * np.cos(turn)[:, None] * axis + np.sin(turn)[:, None] * across)
    knuckle = tip + axis * min(0.45 * long, 4.2 * half)
    wide = half * rng.uniform(1.05, 1.2)
    sides = [knuckle - wide * across, root - 1.35 * half * across, root + 1.35 * half * across,
             knuckle + wide * across]  # fmt: skip
    light = rng.uniform(-0.5, 0.1)

    def marks(patch: Pixels, low: Point) -> None:
        # Rounded by stripes from both edges inwards, from dark to light.
        for step in range(1, 9):
            inner = 1 - step / 8
            shade = mixed(mixed(skin, (70, 30, 20), 0.5), skin, min(1.0, 0.25 + step / 7))
            shift = light * (1 - inner) * half * across
            stripe = [tip + axis * half * (1 - inner), root]
            left = [point - across * half * 1.25 * inner + shift for point in stripe]
            right = [point + across * half * 1.25 * inner + shift for point in stripe]
            outline = np.array(
                [left[0] + axis * half * 0.4, left[1], right[1], right[0] + axis * half * 0.4]
            )
            fill(patch, outline - low, shade)
            fill(patch, ellipse(_pair(centre + shift), (half * 1.25 * inner, half * inner),
                                float(np.arctan2(axis[1], axis[0]))) - low, shade)  # fmt: skip
        for offset in (-0.12, 0.0, 0.14):
            fold = knuckle + axis * offset * 2 * half
            line = np.array(
                [fold - 0.5 * half * across, fold + 0.2 * half * axis, fold + 0.5 * half * across]
            )
            trace(patch, line - low, mixed(skin, (90, 40, 30), 0.4), max(1, int(half / 9)))
        if nail:
            angle = float(np.arctan2(axis[1], axis[0]))
            at = tip + axis * half * 0.95
            pale = mixed(skin, (255, 226, 220), 0.55)
            fill(patch, ellipse(_pair(at), (half * 0.72, half * 0.55), angle) - low, pale)
            trace(patch, ellipse(_pair(at), (half * 0.72, half * 0.55), angle) - low,
                  mixed(skin, (110, 50, 40), 0.4), 1, closed=True)  # fmt: skip

    outline = np.concatenate([cap, [sides[0], sides[1], sides[2], sides[3]]])
    # The cap runs from +across over the tip to -across; the sides go on from there.
    stage.lay(outline, skin, marks=marks, height=0.7, soft=0.08, shadow=0.5)


def _pair(point: Point) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _out_of(quad: Point, side: int, where: float) -> tuple[Point, Point]:
    """Give a point on one side of a quadrilateral and the direction out of it."""
    start, end = quad[side], quad[(side + 1) % 4]
    edge = (end - start) / max(1e-6, float(np.hypot(*(end - start))))
    return start + (end - start) * where, np.array([edge[1], -edge[0]])


def thumb_over(stage: Stage, rng: np.random.Generator, quad: Point, skin: Colour) -> None:
    """Lay a thumb from outside over one edge, or over a corner, of the card."""
    side = int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25]))
    where = float(rng.uniform(-0.02, 0.12) if rng.uniform() < 0.5 else rng.uniform(0.15, 0.95))
    on_edge, out = _out_of(quad, side, where)
    half = float(np.hypot(*(quad[2] - quad[3]))) * rng.uniform(0.075, 0.105)
    lean = np.array([-out[1], out[0]]) * rng.uniform(-0.6, 0.6)
    direction = (out + lean) / np.hypot(*(out + lean))
    tip = on_edge - direction * half * rng.uniform(0.8, 2.6)
    root = on_edge + direction * half * rng.uniform(14, 22)
    finger(stage, rng, tip, root, half, skin, nail=bool(rng.uniform() < 0.7))


def hand_behind(stage: Stage, rng: np.random.Generator, quad: Point, skin: Colour) -> None:
    """Lay the fingers that hold a card from behind: their tips show beyond one edge."""
    side = int(rng.choice([1, 3]))
    opposite = (side + 2) % 4
    half = float(np.hypot(*(quad[1] - quad[0]))) * rng.uniform(0.07, 0.09)
    for where in np.linspace(0.1, 0.85, 4)[: int(rng.integers(2, 5))]:
        shown, out = _out_of(quad, opposite, float(where))
        tip = shown + out * half * rng.uniform(0.3, 1.6)
        root = _out_of(quad, side, 1 - float(where))[0]
        root = root + (root - shown) * 1.2
        finger(stage, rng, tip, root, half, skin, nail=False)
