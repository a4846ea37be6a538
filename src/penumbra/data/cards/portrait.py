"""A portrait of nobody: a head, hair and shoulders drawn from ellipses."""

from __future__ import annotations

import cv2
import numpy as np

from penumbra.data.cards.draws import (
    Colour,
    Pixels,
    dark,
    ellipse,
    fill,
    mixed,
    pastel,
    soft_field,
    trace,
    vivid,
)

_SIZE = (300, 240)  # rows, columns
_SKINS: tuple[Colour, ...] = (
    (244, 214, 190), (229, 184, 150), (205, 152, 112), (160, 108, 74), (112, 74, 52), (84, 56, 42)
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (28, 24, 22), (60, 40, 28), (110, 74, 44), (176, 140, 88), (150, 148, 146), (96, 44, 26)
)  # fmt: skip


def portrait(rng: np.random.Generator, *, grey: bool) -> Pixels:
    """Draw a portrait (300, 240, 3) on a pale ground, in colour or as a grey print."""
    rows, columns = _SIZE
    image = np.empty((rows, columns, 3), np.uint8)
    image[:] = np.array(pastel(rng, 190, 245), np.uint8)
    skin = _SKINS[int(rng.integers(len(_SKINS)))]
    hair = mixed(_HAIRS[int(rng.integers(len(_HAIRS)))], dark(rng), 0.25)
    middle = columns / 2 + rng.uniform(-8, 8)
    eyes = rng.uniform(125, 140)
    width, height = rng.uniform(50, 61), rng.uniform(70, 82)
    long = bool(rng.uniform() < 0.5)
    if long:
        _hair_behind(image, middle, eyes, width, hair, rng)
    _shoulders(image, middle, skin, rng)
    _head(image, middle, eyes, (width, height), skin)
    _features(image, middle, eyes, width, skin, hair, rng)
    _hair_over(image, middle, eyes, (width, height), hair, long=long)
    light = 1 + 0.10 * soft_field(rng, _SIZE, (3, 3))[..., None]
    dim, bright = rng.uniform(0.82, 1.12, 2)
    side = np.linspace(dim, bright, columns, dtype=np.float32)
    shaded = np.clip(image * light * side[None, :, None], 0, 255).astype(np.uint8)
    shaded = np.asarray(cv2.GaussianBlur(shaded, (0, 0), 1.6))
    if grey:
        shaded = np.asarray(cv2.merge([cv2.cvtColor(shaded, cv2.COLOR_RGB2GRAY)] * 3))
    return shaded


def _hair_behind(
    image: Pixels, x: float, y: float, width: float, hair: Colour, rng: np.random.Generator
) -> None:
    fill(image, ellipse((x, y - 4), (width * 1.28, 88)), hair)
    low = rng.uniform(190, 270)
    sides = [(x - 1.28 * width, y), (x + 1.28 * width, y), (x + 1.2 * width, low)]
    fill(image, np.array([*sides, (x - 1.2 * width, low)]), mixed(hair, (0, 0, 0), 0.15))


def _shoulders(image: Pixels, x: float, skin: Colour, rng: np.random.Generator) -> None:
    cloth = vivid(rng, 20, 200)
    fill(image, ellipse((x, 315), (rng.uniform(98, 118), 82)), cloth)
    fill(image, np.array([(x - 26, 175), (x + 26, 175), (x + 30, 250), (x - 30, 250)]),
         mixed(skin, (40, 20, 10), 0.18))  # fmt: skip
    collar = mixed(cloth, (255, 255, 255) if rng.uniform() < 0.5 else (0, 0, 0), 0.6)
    for side in (-1, 1):
        fill(
            image,
            np.array([(x + side * 34, 232), (x + side * 4, 262), (x + side * 40, 275)]),
            collar,
        )


def _head(image: Pixels, x: float, y: float, half: tuple[float, float], skin: Colour) -> None:
    ear = mixed(skin, (90, 30, 10), 0.15)
    for side in (-1, 1):
        fill(image, ellipse((x + side * half[0], y + 8), (9, 17)), ear)
    fill(image, ellipse((x, y + 6), half), skin)
    fill(image, ellipse((x, y + half[1] * 0.55), (half[0] * 0.72, half[1] * 0.5)), skin)


def _features(
    image: Pixels,
    x: float,
    y: float,
    width: float,
    skin: Colour,
    hair: Colour,
    rng: np.random.Generator,
) -> None:
    shade, brow = mixed(skin, (60, 20, 10), 0.35), mixed(hair, (20, 10, 10), 0.3)
    gap, mouth = width * rng.uniform(0.38, 0.46), y + rng.uniform(46, 54)
    if rng.uniform() < 0.25:
        fill(image, ellipse((x, mouth + 6), (width * 0.72, 30)), mixed(skin, hair, 0.7))
    for side in (-1, 1):
        eye = (x + side * gap, y)
        fill(image, ellipse(eye, (12, 6)), (236, 232, 228))
        fill(image, ellipse(eye, (5.5, 5.5)), (50, 36, 28))
        arc = np.array([(-15, 2), (-6, -4), (6, -5), (15, -1)]) * (side, 1)
        trace(image, arc + np.array([eye[0], y - 15]), brow, int(rng.integers(3, 6)))
    trace(image, np.array([(x + 2, y + 6), (x + 9, y + 30), (x - 5, y + 32)]), shade, 3)
    lips = mixed(skin, (170, 40, 50), 0.5)
    fill(image, ellipse((x, mouth), (width * 0.36, 5.5)), lips)
    trace(image, np.array([(x - width * 0.36, mouth), (x + width * 0.36, mouth)]), shade, 2)
    if rng.uniform() < 0.22:
        frame = dark(rng)
        for side in (-1, 1):
            trace(image, ellipse((x + side * gap, y + 1), (20, 15)), frame, 3, closed=True)
        trace(image, np.array([(x - gap + 20, y), (x + gap - 20, y)]), frame, 3)


def _hair_over(
    image: Pixels,
    x: float,
    y: float,
    half: tuple[float, float],
    hair: Colour,
    *,
    long: bool,
) -> None:
    top, out = y - half[1] * 0.98, half[0] * 1.08
    brow = y - half[1] * 0.42
    side = y + (30 if long else -8)
    cap = ellipse((x, y - half[1] * 0.35), (out, half[1] * 0.72))
    upper = cap[cap[:, 1] < brow + 6]
    upper = upper[np.argsort(upper[:, 0])]
    parting = np.array(
        [(x + out, side), (x + half[0] * 0.86, brow + 8), (x + half[0] * 0.2, brow - 8)]
    )
    low = np.array([(x - half[0] * 0.6, brow + 2), (x - half[0] * 0.9, brow + 10), (x - out, side)])
    fill(image, np.concatenate([upper, parting, low]), hair)
    trace(
        image,
        np.array([(x - 20, top + 8), (x + 8, top + 2), (x + 30, top + 10)]),
        mixed(hair, (255, 255, 255), 0.2),
        2,
    )
