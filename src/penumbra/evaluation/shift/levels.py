"""Corruptions of what an image shows; its geometry stays.

Each takes levels (H, W, C) float32 in 0–1 and gives new ones, which may leave that range: whoever
calls clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.shift.catalogue import Kind

Levels = NDArray[np.float32]
Corrupt = Callable[[Levels, float, np.random.Generator], Levels]

_REFERENCE_SIDE = 256
_SOFT = 0.5  # share of a shadow's half width in which it fades
_ECHO = 1 / 3  # of the shadow's depth


def unit_of_length(levels: Levels) -> float:
    """Give 1/256 of the longest side in pixels, and at least 1."""
    return max(1.0, float(max(levels.shape[:2])) / _REFERENCE_SIDE)


def as_image(array: NDArray[np.generic], like: Levels) -> Levels:
    """Give back the channel axis that OpenCV drops where there is one channel."""
    return np.asarray(array, dtype=np.float32).reshape(like.shape)


def _blur(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    del rng
    sigma = strength * unit_of_length(levels)
    # The kernel ends at four standard deviations, and never beyond the image.
    radius = min(int(4 * sigma + 0.5), max(levels.shape[:2]))
    side = 2 * max(1, radius) + 1
    blurred = cv2.GaussianBlur(levels, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return as_image(blurred, levels)


def _contrast(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    del rng
    mean = np.float32(levels.mean(dtype=np.float64))
    return mean + np.float32(strength) * (levels - mean)


def _noise(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    drawn = rng.standard_normal(levels.shape, dtype=np.float32)
    return levels + np.float32(strength) * drawn


def _gamma(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    exponent = strength if rng.random() < 0.5 else 1 / strength
    return np.asarray(np.power(levels, np.float32(exponent)))


def _jpeg(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    """Encode and decode at 8 bits: a level of 16 bits or floats is rounded to one of 256 first."""
    del rng
    coarse = np.ascontiguousarray(np.rint(levels * 255).astype(np.uint8))
    _, file = cv2.imencode(".jpg", coarse, [cv2.IMWRITE_JPEG_QUALITY, int(strength)])
    mode = cv2.IMREAD_GRAYSCALE if levels.shape[2] == 1 else cv2.IMREAD_COLOR
    return as_image(np.asarray(cv2.imdecode(file, mode)), levels) / np.float32(255)


def _resolution(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    del rng
    height, width = levels.shape[:2]
    step = strength * unit_of_length(levels)
    size = (max(1, round(width / step)), max(1, round(height / step)))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    return as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), levels)


def _ghost(levels: Levels, strength: float, rng: np.random.Generator) -> Levels:
    """Cast a soft band of shadow at a random place and angle, and add an echo of the image."""
    height, width = levels.shape[:2]
    angle, middle = rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25)
    half_width = rng.uniform(0.15, 0.3)
    shift = rng.uniform(0.06, 0.12) * rng.choice([-1.0, 1.0])
    longest = max(height, width)
    rows = ((np.arange(height, dtype=np.float32) + 0.5) - height / 2) / longest
    columns = ((np.arange(width, dtype=np.float32) + 0.5) - width / 2) / longest
    across = (
        np.float32(np.cos(angle)) * columns[None, :] + np.float32(np.sin(angle)) * rows[:, None]
    )
    distance = np.abs(across - np.float32(middle)) / np.float32(half_width)
    soft = np.clip((1 - distance) / _SOFT, 0, 1)
    band = (soft * soft * (3 - 2 * soft)).astype(np.float32)[..., None]
    axis = 1 if width >= height else 0
    places = np.arange(longest) - round(float(shift) * longest)
    echo = np.take(levels, np.clip(places, 0, longest - 1), axis=axis)
    share = np.float32(strength * _ECHO)
    doubled = (1 - share) * levels + share * echo
    return np.asarray(doubled * (1 - np.float32(strength) * band))


CORRUPTIONS: Mapping[Kind, Corrupt] = {
    "blur": _blur,
    "contrast": _contrast,
    "noise": _noise,
    "gamma": _gamma,
    "jpeg": _jpeg,
    "resolution": _resolution,
    "ghost": _ghost,
}
