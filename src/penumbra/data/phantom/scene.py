"""What every kind of phantom gives: an image and the outline it was painted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.phantom.field import Array
from penumbra.data.phantom.latent import Outline


@dataclass(frozen=True)
class Scene:
    """A painted image with the distribution of its masks.

    Attributes:
        image: (H, W, C) uint8, C = 1 or 3.
        outline: the random outline that the image shows.
    """

    image: NDArray[np.uint8]
    outline: Outline


def grey(brightness: Array) -> NDArray[np.uint8]:
    """Turn brightness (H, W), or colour (H, W, 3), in [0, 1] into 8-bit pixels (H, W, C)."""
    pixels = np.rint(np.clip(brightness, 0.0, 1.0) * 255.0).astype(np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels
