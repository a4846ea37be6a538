"""Sample images: generated, so that nothing is shipped and nobody's image is shown."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.data.phantom import PhantomKind, phantom_sample

_SIDE = 256


@dataclass(frozen=True)
class SampleImage:
    """A generated image as a PNG file.

    Attributes:
        name: what a reader may call it.
        png: the file.
    """

    name: str
    png: bytes


_CHOSEN: tuple[tuple[str, PhantomKind, int], ...] = (
    ("Ultrasound A", "ultrasound", 1),
    ("Ultrasound B", "ultrasound", 9),
    ("Chest X-ray A", "xray", 0),
    ("Chest X-ray B", "xray", 6),
    ("Identity card", "card", 0),
)


def sample_names() -> tuple[str, ...]:
    """Give the names of the sample images.

    Examples:
        >>> sample_names()[0]
        'Ultrasound A'
    """
    return tuple(name for name, _, _ in _CHOSEN)


@functools.cache
def sample_image(name: str) -> SampleImage:
    """Make a sample image, the same at every call.

    Raises:
        KeyError: there is no sample of that name.
    """
    _, kind, index = {chosen[0]: chosen for chosen in _CHOSEN}[name]
    sample = phantom_sample(kind, size=_SIDE, seed=7, index=index, n_readers=0)
    return SampleImage(name, png_of(sample.image))


def png_of(picture: NDArray[np.uint8]) -> bytes:
    """Write (H, W), (H, W, 1) or (H, W, 3) uint8 as a PNG file.

    Examples:
        >>> png_of(np.zeros((2, 2, 1), np.uint8))[1:4]
        b'PNG'
    """
    held = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2:] == (1,) else picture).save(held, "PNG")
    return held.getvalue()
