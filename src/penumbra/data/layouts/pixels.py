"""The image readers that layouts share: a fixed number of channels for a whole source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.files import read_image

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def read_grey(path: Path) -> NDArray[np.generic]:
    """Read an image as (H, W, 1); colours become luma (ITU-R BT.601).

    For modalities that are grey by nature and only stored as RGB now and then, so that one source
    gives one number of channels.
    """
    image = read_image(path)
    if image.shape[-1] == 1:
        return image
    grey = image.astype(np.float32) @ _LUMA
    if image.dtype.kind == "u":
        grey = np.rint(grey)
    return np.asarray(grey.astype(image.dtype)[..., None])


def read_colour(path: Path) -> NDArray[np.generic]:
    """Read an image as (H, W, 3); a grey one is repeated."""
    image = read_image(path)
    return image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)
