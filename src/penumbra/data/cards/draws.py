"""Small things that every part of a drawn photograph is made of: streams, colours, soft fields."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]
Colour = tuple[float, float, float]

_FRACTION = 4  # OpenCV's coordinates in sixteenths of a pixel


def stream(seed: int, what: str, *numbers: int) -> np.random.Generator:
    """Give the generator of one thing, a function of its arguments alone."""
    return np.random.default_rng((seed, zlib.crc32(what.encode()), *numbers))


def pastel(rng: np.random.Generator, low: float = 175, high: float = 250) -> Colour:
    """Draw a light colour (R, G, B) in 0 … 255."""
    return _muted(rng.uniform(low, high, 3), 0.7)


def vivid(rng: np.random.Generator, low: float = 20, high: float = 230) -> Colour:
    """Draw a colour that may be strong; most things are duller than that."""
    return _muted(rng.uniform(low, high, 3), float(rng.beta(2.0, 2.5)))


def dark(rng: np.random.Generator) -> Colour:
    """Draw a colour that text is printed in."""
    return _muted(rng.uniform(10, 90, 3), 0.5)


def _muted(colour: NDArray[np.float64], share: float) -> Colour:
    red, green, blue = share * colour + (1 - share) * colour.mean()
    return float(red), float(green), float(blue)


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """Give (1 − share)·a + share·b."""
    red, green, blue = (x + (y - x) * share for x, y in zip(a, b, strict=True))
    return red, green, blue


def soft_field(
    rng: np.random.Generator, shape: tuple[int, int], knots: tuple[float, float]
) -> Field:
    """Draw a smooth field (H, W) float32 of about unit spread with `knots` bumps per side."""
    rows, columns = (max(2, round(knot)) for knot in knots)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC))


def fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Give points (N, 2) in OpenCV's fixed-point coordinates for ``shift=FRACTION``."""
    return np.asarray(np.rint((points - 0.5) * 2**_FRACTION).astype(np.int32))


def fill(image: NDArray[np.uint8], points: NDArray[np.floating], colour: Colour | int) -> None:
    """Fill a polygon (N, 2), in pixels from the outer corner of the first, smooth at its edge."""
    cv2.fillPoly(image, [fixed(points)], colour, lineType=cv2.LINE_AA, shift=_FRACTION)


def trace(
    image: NDArray[np.uint8],
    points: NDArray[np.floating],
    colour: Colour | int,
    thickness: int = 1,
    *,
    closed: bool = False,
) -> None:
    """Draw a line through points (N, 2), smooth at its edge."""
    cv2.polylines(
        image, [fixed(points)], closed, colour, thickness, lineType=cv2.LINE_AA, shift=_FRACTION
    )


def rounded(box: tuple[float, float, float, float], radius: float) -> NDArray[np.float64]:
    """Give the outline (N, 2) of an upright box (x0, y0, x1, y1) with rounded corners."""
    x0, y0, x1, y1 = box
    angles = np.linspace(0, np.pi / 2, 9)
    arcs = []
    for number, (x, y) in enumerate(
        ((x1 - radius, y1 - radius), (x0 + radius, y1 - radius), (x0 + radius, y0 + radius),
         (x1 - radius, y0 + radius))
    ):  # fmt: skip
        turn = angles + number * np.pi / 2
        arcs.append(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1))
    return np.concatenate(arcs)


def ellipse(
    centre: tuple[float, float], half: tuple[float, float], angle: float = 0.0
) -> NDArray[np.float64]:
    """Give the outline (N, 2) of an ellipse turned by `angle` radians."""
    round_ = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = half[0] * np.cos(round_), half[1] * np.sin(round_)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], axis=1)
