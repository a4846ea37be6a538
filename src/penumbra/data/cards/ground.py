"""What a card lies on or is held in front of: tables, cloth, paper, tiles, keyboards, rooms."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from penumbra.data.cards.draws import (
    Field,
    Pixels,
    mixed,
    pastel,
    rounded,
    soft_field,
    trace,
    vivid,
)
from penumbra.data.cards.draws import fill as fill_area

Shape = tuple[int, int]

_WOODS = ((176, 112, 62), (196, 144, 92), (122, 78, 48), (212, 176, 132), (84, 56, 40))


def _pixels(image: Field) -> Pixels:
    return np.asarray(np.clip(image, 0, 255).astype(np.uint8))


def _tinted(grain: Field, colour: tuple[float, ...], depth: float) -> Pixels:
    """Give a colour that a field (H, W) makes lighter and darker by `depth` of it."""
    return _pixels(np.array(colour, np.float32) * (1 + np.float32(depth) * grain[..., None]))


def wood(rng: np.random.Generator, shape: Shape) -> Pixels:
    """Boards or veneer: fibres along one direction, slow rings across them."""
    along = shape[0] > shape[1]
    size = shape if along else shape[::-1]
    rows, columns = size
    wander = soft_field(rng, size, (5, 4))
    across = np.linspace(0, rng.uniform(12, 45), columns, dtype=np.float32)[None]
    rings = np.sin(across + 2.2 * wander)
    fibre = soft_field(rng, size, (rows / 70, columns / 3)) + soft_field(
        rng, size, (rows / 14, columns / 2)
    )
    grain = rng.uniform(0.2, 0.6) * rings + 0.6 * fibre
    if rng.uniform() < 0.4:
        boards = np.floor(np.linspace(0, rng.integers(2, 6), columns, endpoint=False))
        grain = grain + 1.2 * np.sin(boards * 37).astype(np.float32)[None]
        grain[:, np.flatnonzero(np.diff(boards))] -= 5
    colour = tuple(rng.uniform(0.85, 1.1, 3) * _WOODS[int(rng.integers(len(_WOODS)))])
    image = _tinted(grain, colour, rng.uniform(0.05, 0.11))
    return image if along else np.ascontiguousarray(image.transpose(1, 0, 2))


def plain(rng: np.random.Generator, shape: Shape) -> Pixels:
    """A painted or laminated top, with specks, from white to black."""
    light = rng.uniform(25, 240)
    colour = mixed((light, light, light), vivid(rng, 20, 235), rng.uniform(0, 0.5))
    specks = rng.standard_normal((shape[0] // 2, shape[1] // 2), dtype=np.float32)
    specks = np.asarray(cv2.resize(specks, shape[::-1]))
    grain = specks * rng.uniform(0.1, 1.0) + soft_field(rng, shape, (5, 4))
    return _tinted(grain, colour, rng.uniform(0.015, 0.06))


def cloth(rng: np.random.Generator, shape: Shape) -> Pixels:
    """Woven cloth with folds, sometimes checked or striped."""
    step = rng.uniform(3, 6) * shape[1] / 640
    rows = np.sin(np.arange(shape[0], dtype=np.float32) * (2 * np.pi / step))[:, None]
    columns = np.sin(np.arange(shape[1], dtype=np.float32) * (2 * np.pi / step))[None]
    folds = soft_field(rng, shape, (6, 4))
    grain = (
        0.5 * rows * columns
        + 0.8 * folds
        + 0.3 * soft_field(rng, shape, (shape[0] / 5, shape[1] / 5))
    )
    image = _tinted(grain, vivid(rng, 30, 220), 0.1)
    if rng.uniform() < 0.5:
        wide, colour = int(rng.integers(20, 90) * shape[1] / 640), np.array(vivid(rng), np.float32)
        share = ((np.arange(shape[1]) // wide) % 2 * 0.4).astype(np.float32)[None, :, None]
        if rng.uniform() < 0.5:
            share = (
                share + ((np.arange(shape[0]) // wide) % 2 * 0.3).astype(np.float32)[:, None, None]
            )
        image = _pixels(image * (1 - share) + colour * share)
    return image


def stone(rng: np.random.Generator, shape: Shape) -> Pixels:
    """Marble or granite: veins where a winding field crosses zero, and grains."""
    wind = soft_field(rng, shape, (8, 6)) + 0.4 * soft_field(rng, shape, (40, 26))
    veins = np.exp(-((wind / np.float32(0.12)) ** 2))
    grains = soft_field(rng, shape, (shape[0] / 3, shape[1] / 3))
    grain = -rng.uniform(0.5, 3) * veins + rng.uniform(0.2, 1.5) * grains
    return _tinted(grain, pastel(rng, 60, 240), 0.07)


def tiles(rng: np.random.Generator, shape: Shape) -> Pixels:
    """Tiles with joints, each of its own shade."""
    side = int(rng.uniform(90, 260) * shape[1] / 640)
    counts = (shape[0] // side + 1, shape[1] // side + 1)
    shades = rng.normal(0, 1, counts).astype(np.float32)
    grain = np.kron(shades, np.ones((side, side), np.float32))[: shape[0], : shape[1]]
    grain = grain + 0.5 * soft_field(rng, shape, (shape[0] / 8, shape[1] / 8))
    image = _tinted(grain, vivid(rng, 60, 235), 0.06)
    joint, wide = vivid(rng, 40, 220), max(2, side // 40)
    for row in range(0, shape[0], side):
        cv2.line(image, (0, row), (shape[1], row), joint, wide)
    for column in range(0, shape[1], side):
        cv2.line(image, (column, 0), (column, shape[0]), joint, wide)
    return image


def keyboard(rng: np.random.Generator, shape: Shape) -> Pixels:
    """A keyboard from above: rows of caps with letters."""
    bright = bool(rng.uniform() < 0.4)
    body = rng.uniform(150, 220) if bright else rng.uniform(15, 60)
    image = np.full((*shape, 3), np.uint8(body))
    cap_shade = min(255.0, body + (25 if bright else rng.uniform(5, 30)))
    ink = (30.0, 30.0, 30.0) if bright else (225.0, 225.0, 225.0)
    side = rng.uniform(70, 115) * shape[1] / 640
    gap, y, row = 0.1 * side, -rng.uniform(0, side), 0
    while y < shape[0]:
        x = -rng.uniform(0.2, 1.0) * side
        while x < shape[1]:
            wide = side * (1 if rng.uniform() < 0.9 else rng.uniform(1.5, 3))
            box = (x + gap, y + gap, x + wide - gap, y + side - gap)
            fill_area(image, rounded(box, 0.14 * side), (cap_shade - 14,) * 3)
            top = (box[0] + gap, box[1] + gap * 0.5, box[2] - gap, box[3] - 1.5 * gap)
            fill_area(image, rounded(top, 0.12 * side), (cap_shade,) * 3)
            letter = chr(int(rng.integers(65, 91)))
            at = (int(x + 0.32 * side), int(y + 0.6 * side))
            cv2.putText(
                image, letter, at, cv2.FONT_HERSHEY_SIMPLEX, side / 90, ink, 1 + int(side // 70),
                cv2.LINE_AA,
            )  # fmt: skip
            x += wide
        y += side
        row += 1
    return image


def room(rng: np.random.Generator, shape: Shape) -> Pixels:
    """A room far behind, out of focus: areas of colour and lights without edges."""
    small = (max(8, shape[0] // 8), max(8, shape[1] // 8))
    image = np.empty((*small, 3), np.uint8)
    image[:] = np.array(vivid(rng, 40, 200), np.uint8)
    for _ in range(int(rng.integers(12, 40))):
        x, y = rng.uniform(0, small[1]), rng.uniform(0, small[0])
        w, h = rng.gamma(2.0, 7.0, 2) * shape[1] / 640
        if rng.uniform() < 0.2:
            cv2.circle(image, (int(x), int(y)), max(2, int(w / 5)), pastel(rng, 200, 255), -1)
        else:
            fill_area(image, rounded((x - w, y - h, x + w, y + h), 1), vivid(rng, 10, 240))
    blurred = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1.0, 3.0) * shape[1] / 640))
    return np.asarray(cv2.resize(blurred, shape[::-1], interpolation=cv2.INTER_CUBIC))


def print_(rng: np.random.Generator, shape: Shape) -> Pixels:
    """A page of print or a form: lines of words, rules, boxes."""
    image = _tinted(soft_field(rng, shape, (4, 4)), pastel(rng, 205, 250), 0.02)
    ink = (rng.uniform(20, 90),) * 3
    scale = shape[1] / 640
    step = int(rng.uniform(14, 30) * scale)
    for row in range(step, shape[0], step):
        if rng.uniform() < 0.1:
            continue
        column, end = int(rng.uniform(10, 60) * scale), shape[1] * rng.uniform(0.5, 0.97)
        while column < end:
            long = int(rng.uniform(8, 50) * scale)
            cv2.line(image, (column, row), (column + long, row), ink, max(1, int(0.28 * step)))
            column += long + int(6 * scale)
    if rng.uniform() < 0.4:
        x, y = rng.uniform(0.1, 0.6, 2) * shape[::-1]
        box = np.array([(x, y), (x + 0.4 * shape[1], y), (x + 0.4 * shape[1], y + 60), (x, y + 60)])
        trace(image, box, ink, 2, closed=True)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8 * scale))


GROUNDS: tuple[Callable[[np.random.Generator, Shape], Pixels], ...] = (
    wood, wood, plain, plain, cloth, stone, tiles, keyboard, print_, room,
)  # fmt: skip
"""What a ground is drawn by; those named twice are drawn twice as often."""
