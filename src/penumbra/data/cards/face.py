"""The face of a card: a template that many people's cards share, and one person's entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import (
    Colour,
    Pixels,
    dark,
    ellipse,
    fill,
    mixed,
    pastel,
    rounded,
    soft_field,
    stream,
    trace,
    vivid,
)
from penumbra.data.cards.portrait import portrait
from penumbra.data.cards.words import label, machine_line, number_of, state, title, value

FACE = (638, 1012)
"""Rows and columns of a drawn face: 85.60 × 53.98 mm (ISO/IEC 7810 ID-1) at 300 to the inch."""

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


@dataclass(frozen=True)
class Template:
    """What the cards of one kind share.

    Attributes:
        ground: (638, 1012, 3) uint8, everything that is printed before a person is known.
        ink: colour of the entries.
        font: OpenCV's number of their font.
        portrait: (x, y, height) of the portrait in pixels.
        grey: whether the portrait is a grey print.
        ghost: (x, y) of the small second portrait, or ``None``.
        fields: (x, y, kind) of each entry.
        scale: size of the entries.
        zone: whether lines for machines stand at the bottom.
    """

    ground: Pixels
    ink: Colour
    font: int
    portrait: tuple[int, int, int]
    grey: bool
    ghost: tuple[int, int] | None
    fields: tuple[tuple[int, int, int], ...]
    scale: float
    zone: bool


def write(
    image: Pixels, text: str, at: tuple[int, int], scale: float, colour: Colour, font: int
) -> None:
    """Write a line of text from its lower left corner."""
    thick = max(1, round(2.0 * scale))
    cv2.putText(image, text, at, font, scale, colour, thick, cv2.LINE_AA)


@lru_cache(maxsize=64)
def template(seed: int, number: int) -> Template:
    """Draw the template `number` of a set; a function of both numbers alone."""
    rng = stream(seed, "template", number)
    ground = _paper(rng)
    ink = dark(rng)
    _guilloches(ground, rng)
    header = _header(ground, rng, ink)
    height = int(rng.integers(270, 340))
    zone = bool(rng.uniform() < 0.35)
    right = bool(rng.uniform() < 0.25)
    wide = int(height * 0.8)
    x = FACE[1] - wide - 50 if right else int(rng.integers(36, 70))
    y = int(np.clip(header + rng.integers(20, 70), 0, FACE[0] - height - (130 if zone else 40)))
    start = 50 if right else x + wide + 45
    scale = float(rng.uniform(0.85, 1.1))
    bottom = FACE[0] - (125 if zone else 45)
    fields = _places(rng, (start, header + 60), (FACE[1] - 50 if not right else x - 30, bottom))
    ghost = None
    if rng.uniform() < 0.55:
        ghost = (60 if right else FACE[1] - 175, int(rng.integers(header + 110, 400)))
    grey = bool(rng.uniform() < 0.4)
    _ornaments(ground, rng, start, room=not right)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    ground.setflags(write=False)
    return Template(ground, ink, font, (x, y, height), grey, ghost, fields, scale, zone)


def _places(
    rng: np.random.Generator, start: tuple[int, int], end: tuple[int, int]
) -> tuple[tuple[int, int, int], ...]:
    step, columns = int(rng.integers(64, 84)), int(rng.integers(1, 3))
    places, kind = [], 0
    for y in range(start[1], end[1] - 20, step):
        # A name takes the whole line.
        across = 1 if kind % 5 == 0 else columns
        for column in range(across):
            places.append((start[0] + column * (end[0] - start[0]) // 2, y, kind))
            kind += 1
    return tuple(places)


def _paper(rng: np.random.Generator) -> Pixels:
    """Paper of two or three pale colours that run into each other, seldom of one darker."""
    low = 100 if rng.uniform() < 0.12 else 185
    a, b, c = (np.array(pastel(rng, low, 252), np.float32) for _ in range(3))
    across = np.linspace(0, 1, FACE[1], dtype=np.float32)[None, :, None]
    paper = a * (1 - across) + b * across
    blob = np.clip(soft_field(rng, FACE, (3, 4)), 0, 1)[..., None]
    paper = paper * (1 - 0.7 * blob) + c * 0.7 * blob
    white = float(rng.uniform() < 0.3) * 0.7
    return np.asarray((paper * (1 - white) + 250 * white).clip(0, 255).astype(np.uint8))


def _guilloches(image: Pixels, rng: np.random.Generator) -> None:
    """Lay fine wound lines over the paper: bands of waves and rosettes, half transparent."""
    over = image.copy()
    x = np.linspace(0, FACE[1], 160)
    for _ in range(int(rng.integers(1, 4))):
        colour = vivid(rng, 60, 220)
        middle, swing = rng.uniform(60, 580), rng.uniform(20, 90)
        waves = rng.uniform(1.5, 7, 2) * 2 * np.pi / FACE[1]
        for line in np.linspace(0, 2 * np.pi, int(rng.integers(8, 18))):
            y = middle + swing * np.sin(waves[0] * x + line) * np.cos(waves[1] * x + line / 2)
            trace(over, np.stack([x, y], axis=1), colour)
    for _ in range(int(rng.integers(1, 3))):
        centre = (rng.uniform(150, 900), rng.uniform(120, 520))
        _rosette(over, rng, centre, rng.uniform(60, 170))
    share = rng.uniform(0.15, 0.5)
    cv2.addWeighted(over, share, image, 1 - share, 0, dst=image)


def _rosette(
    image: Pixels, rng: np.random.Generator, centre: tuple[float, float], radius: float
) -> None:
    """Wind a line r = R·(0.65 + 0.35·cos(kθ)) around a centre, several times with a shift."""
    angle = np.linspace(0, 2 * np.pi, 260)
    petals, colour = int(rng.integers(5, 14)), vivid(rng, 60, 220)
    for shift in np.linspace(0, 2 * np.pi / petals, int(rng.integers(4, 9))):
        r = radius * (0.65 + 0.35 * np.cos(petals * (angle + shift)))
        points = np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], axis=1)
        trace(image, points, colour)


def _header(image: Pixels, rng: np.random.Generator, ink: Colour) -> int:
    """Write the state and the card's name; give the row where the header ends."""
    height, colour = int(rng.integers(86, 130)), vivid(rng, 10, 170)
    style = int(rng.integers(3))
    text: Colour = (245, 245, 245) if style == 0 else colour if style == 1 else ink
    if style == 0:
        cv2.rectangle(image, (0, 0), (FACE[1], height), colour, -1)
    elif style == 1:
        cv2.line(image, (30, height), (FACE[1] - 30, height), colour, 3, cv2.LINE_AA)
    left = int(rng.integers(40, 200))
    font = _FONTS[int(rng.integers(1, 3))]
    write(image, state(rng), (left, 52), float(rng.uniform(1.1, 1.4)), text, font)
    write(image, title(rng), (left, 86), 0.75, text, cv2.FONT_HERSHEY_SIMPLEX)
    _emblem(image, rng, (FACE[1] - 90, 52))
    if left > 140:
        for band in range(3):
            cv2.rectangle(image, (44, 24 + 18 * band), (120, 42 + 18 * band), vivid(rng), -1)
    return height


def _emblem(image: Pixels, rng: np.random.Generator, centre: tuple[int, int]) -> None:
    colour, points = vivid(rng, 80, 240), int(rng.integers(4, 10))
    angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False) - np.pi / 2
    r = np.where(np.arange(2 * points) % 2 == 0, 38.0, rng.uniform(14, 26))
    star = np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], axis=1)
    fill(image, star, colour)
    trace(image, ellipse(centre, (42, 42)), mixed(colour, (0, 0, 0), 0.4), 2, closed=True)


def _ornaments(image: Pixels, rng: np.random.Generator, start: int, *, room: bool) -> None:
    """Add what some cards have: a chip, a bar code, a band along an edge."""
    if rng.uniform() < 0.25:
        x, y = (
            int(np.clip(start + rng.integers(250, 420), 0, FACE[1] - 170)),
            int(rng.integers(200, 380)),
        )
        fill(image, rounded((x, y, x + 120, y + 96), 14), (206, 172, 96))
        for row in range(1, 4):
            cv2.line(image, (x, y + 24 * row), (x + 120, y + 24 * row), (130, 104, 52), 2)
        cv2.line(image, (x + 60, y), (x + 60, y + 96), (130, 104, 52), 2)
    if rng.uniform() < 0.15 and room:
        x = FACE[1] - 130
        for row in range(180, 560, 6):
            cv2.rectangle(
                image, (x, row), (x + 80, row + int(rng.integers(1, 5))), (20, 20, 20), -1
            )
    if rng.uniform() < 0.3:
        cv2.rectangle(image, (0, FACE[0] - 26), (FACE[1], FACE[0]), vivid(rng), -1)


def card_face(made: Template, rng: np.random.Generator) -> Pixels:
    """Print one person's entries on a template.

    Returns:
        (638, 1012, 3) uint8 RGB.
    """
    image = made.ground.copy()
    x, y, height = made.portrait
    drawn = portrait(rng, grey=made.grey)
    size = (int(height * 0.8), height)
    _paste(
        image,
        np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8),
        (x, y),
        0.95,
    )
    if made.ghost is not None:
        small = np.asarray(cv2.resize(drawn, (96, 120), interpolation=cv2.INTER_AREA), np.uint8)
        _paste(image, small, made.ghost, 0.4)
    small_ink = mixed(made.ink, (128, 128, 128), 0.35)
    for left, base, kind in made.fields:
        write(image, label(kind), (left, base - 30), 0.48, small_ink, cv2.FONT_HERSHEY_SIMPLEX)
        write(image, value(rng, kind), (left, base), made.scale, made.ink, made.font)
    _signature(image, rng, (made.fields[-1][0] + 40, min(made.fields[-1][1] + 48, 560)))
    if made.zone:
        cv2.rectangle(image, (0, 540), (FACE[1], FACE[0]), (236, 236, 232), -1)
        for row in (578, 618):
            line = machine_line(rng, 44)
            write(image, line, (34, row), 1.05, (20, 20, 24), cv2.FONT_HERSHEY_SIMPLEX)
    else:
        write(image, number_of(rng), (x, min(y + height + 34, 625)), 0.8, made.ink, made.font)
    return image


def _paste(image: Pixels, part: Pixels, at: tuple[int, int], share: float) -> None:
    x, y = at
    window = image[y : y + part.shape[0], x : x + part.shape[1]]
    part = part[: window.shape[0], : window.shape[1]]
    window[:] = cv2.addWeighted(part, share, window, 1 - share, 0)


def _signature(image: Pixels, rng: np.random.Generator, at: tuple[int, int]) -> None:
    steps = rng.normal(0, 1, (40, 2)) * (3, 14) + (5.5, 0)
    walk: NDArray[np.float64] = np.cumsum(steps, axis=0)
    walk[:, 1] = 0.6 * np.diff(walk[:, 1], prepend=0.0)
    smooth = np.stack([np.convolve(walk[:, axis], np.ones(3) / 3, "valid") for axis in (0, 1)], 1)
    trace(image, smooth + at, (28, 30, 74), 2)
