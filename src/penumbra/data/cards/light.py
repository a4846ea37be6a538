"""What a camera makes of a scene: uneven light, shadows, reflections, blur, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import Field, Pixels, ellipse, fill, soft_field

_COARSE = 8  # light changes slowly: its maps are drawn eight times smaller


def _small(shape: tuple[int, int]) -> tuple[int, int]:
    return max(4, shape[0] // _COARSE), max(4, shape[1] // _COARSE)


def lighting(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Draw the factors (h, w, 3), at an eighth of the size, by which light differs over a frame.

    A slope, slow changes, a darker border, the light's colour, how long was exposed, and in
    two frames of five the shadow of something out of the frame.
    """
    small = _small(shape)
    y, x = np.mgrid[-1 : 1 : small[0] * 1j, -1 : 1 : small[1] * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.28) * (np.cos(angle) * x + np.sin(angle) * y)
    slow = 0.05 * soft_field(rng, small, (4, 3))
    border = -rng.uniform(0, 0.14) * (x**2 + y**2)
    factor = 1 + slope + slow + border
    if rng.uniform() < 0.4:
        factor = factor * (1 - rng.uniform(0.25, 0.62) * _shade(rng, small))
    warm = rng.normal(0, 0.07)
    tint = np.array([1 + warm, 1 + rng.normal(0, 0.015), 1 - warm], np.float32)
    exposed = float(np.exp(rng.normal(-0.03, 0.17)))
    return np.asarray(factor[..., None] * tint * exposed, dtype=np.float32)


def _shade(rng: np.random.Generator, small: tuple[int, int]) -> Field:
    """Draw the shadow (h, w) in [0, 1] of a hand, a telephone or a window frame."""
    image = np.zeros(small, np.uint8)
    centre = rng.uniform(0, 1, 2) * (small[1], small[0])
    reach = rng.uniform(0.3, 0.9) * small[1]
    if rng.uniform() < 0.5:
        outline = ellipse((centre[0], centre[1]), (reach, reach * rng.uniform(0.3, 0.8)),
                          rng.uniform(0, np.pi))  # fmt: skip
    else:
        angle = rng.uniform(0, np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        box = np.array([(-3, -0.4), (3, -0.4), (3, 0.4), (-3, 0.4)]) * reach
        outline = centre + box @ np.array([[cos, sin], [-sin, cos]])
    fill(image, outline, 255)
    soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 6) * small[1] / 80))
    return np.asarray(np.asarray(soft, dtype=np.float32) / np.float32(255))


def reflections(
    rng: np.random.Generator, shape: tuple[int, int], quad: NDArray[np.float64]
) -> Field:
    """Draw what a glossy card mirrors (h, w), at an eighth of the size, in units of white.

    Lamps are bright spots, windows pale boxes; both are cut off where the card ends, since they
    are multiplied by the card's share of each pixel later.
    """
    small = _small(shape)
    glare = np.zeros(small, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        share = rng.uniform(0, 1, 2)
        upper = quad[0] + (quad[1] - quad[0]) * share[0]
        lower = quad[3] + (quad[2] - quad[3]) * share[0]
        centre = (upper + (lower - upper) * share[1]) / _COARSE
        spot = np.zeros(small, np.uint8)
        long = rng.uniform(0.03, 0.22) * small[1]
        half = (long, long * rng.uniform(0.2, 1.0))
        fill(spot, ellipse((centre[0], centre[1]), half, rng.uniform(0, np.pi)), 255)
        soft = cv2.GaussianBlur(spot, (0, 0), float(rng.uniform(1.5, 6) * small[1] / 80))
        glare += soft.astype(np.float32) * np.float32(rng.uniform(0.2, 1.3) / 255)
    return glare


def enlarged(field: Field, shape: tuple[int, int]) -> Field:
    """Bring a map drawn at an eighth to the photograph's size."""
    return np.asarray(cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR))


def blurred(image: Pixels, sigma: float, motion: float, angle: float) -> Pixels:
    """Blur as a lens out of focus (`sigma` in pixels) and a moving hand (`motion` in pixels)."""
    if sigma > 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))
    if motion >= 1.5:
        side = 2 * int(np.ceil(motion / 2)) + 1
        kernel = np.zeros((side, side), np.uint8)
        reach = motion / 2 * np.array([np.cos(angle), np.sin(angle)]) * 256
        middle = side // 2 * 256
        ends = [tuple(int(v) for v in np.rint(middle + s * reach)) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 8)
        weights = kernel.astype(np.float32)
        image = np.asarray(cv2.filter2D(image, -1, weights / weights.sum()))
    return image


def noisy(rng: np.random.Generator, image: Pixels, level: float) -> Pixels:
    """Add what a sensor adds: grain of `level` grey values, coarser and weaker in the colours."""
    shape = image.shape[:2]
    fine = rng.standard_normal(shape, dtype=np.float32)
    coarse = rng.standard_normal((shape[0] // 3 + 1, shape[1] // 3 + 1, 3), dtype=np.float32)
    colours = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    grain = (colours * np.float32(0.6) + fine[..., None]) * np.float32(level)
    return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U))
