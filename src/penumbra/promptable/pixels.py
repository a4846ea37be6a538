"""From a decoded image to the square that a promptable encoder sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from penumbra.errors import ImageFileError, expected
from penumbra.inference.preprocess import with_channels

WINDOW = (0.5, 99.5)
"""Percentiles that become black and white where an image has more than 8 bits."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Scaling:
    """How a family of models wants its input.

    Attributes:
        side: of the square input in pixels.
        fit: ``"longest"`` keeps the aspect ratio and fills up right and below with zeros;
            ``"stretch"`` scales both sides to the square.
        mean: of each channel, in [0, 1]; ignored by ``"minmax"``.
        std: of each channel, in [0, 1]; ignored by ``"minmax"``.
        values: ``"standard"``: (x / 255 − mean) / std; ``"minmax"``: each image from 0 to 1.
    """

    side: int
    fit: Literal["longest", "stretch"] = "longest"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    values: Literal["standard", "minmax"] = "standard"

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Give the (h, w) that an image of this (H, W) fills inside the square."""
        if self.fit == "stretch":
            return (self.side, self.side)
        scale = self.side / max(size)
        height, width = (max(1, int(n * scale + 0.5)) for n in size)
        return (height, width)

    def pixels(self, image: NDArray[np.generic]) -> tuple[Tensor, tuple[int, int]]:
        """Bring an image (H, W, C) to (1, 3, side, side) float32 and the (h, w) that it fills."""
        eight = np.asarray(with_channels(to_eight_bit(image), 3), dtype=np.uint8)
        height, width = self.resized((eight.shape[0], eight.shape[1]))
        # Pillow's filter widens when it shrinks, so that large images do not alias.
        scaled = Image.fromarray(eight).resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(scaled, dtype=np.float32)
        if self.values == "minmax":
            low, high = float(values.min()), float(values.max())
            values = (values - low) / max(high - low, 1e-8)
        else:
            mean, std = (np.array(one, dtype=np.float32) for one in (self.mean, self.std))
            values = (values * np.float32(1 / 255) - mean) / std
        square = torch.zeros(1, 3, self.side, self.side)
        square[0, :, :height, :width] = torch.from_numpy(values.transpose(2, 0, 1).copy())
        return square, (height, width)


def to_eight_bit(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring an image to 8 bits: uint8 stays; anything else is shown through a window.

    The window reaches from the 0.5th to the 99.5th percentile of the whole image, so that a few hot
    pixels of a 12-bit X-ray do not leave the rest black. A constant image becomes zeros.

    Args:
        image: (H, W, C), any integer, float or truth type. MONOCHROME1 images are already turned
            to white-is-high by `imaging.read_image`.

    Raises:
        ImageFileError: it is empty, not (H, W, 1) or (H, W, 3), or holds NaN or infinity.

    Examples:
        >>> ramp = np.linspace(0, 4095, 1000).astype(np.uint16).reshape(10, 100, 1)
        >>> to_eight_bit(ramp).min(), to_eight_bit(ramp).max()
        (np.uint8(0), np.uint8(255))
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise ImageFileError(
            expected("an image", "(H, W, 1) or (H, W, 3)", image.shape, "`imaging.read_image`")
        )
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageFileError(
            expected("an image", "finite everywhere", "NaN or infinity", "filling its gaps")
        )
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    if high <= low:
        # A few pixels on a flat ground: the percentiles meet although the image is not constant.
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(image.shape, dtype=np.uint8)
    shown = np.clip((values - low) / (high - low), 0, 1) * 255
    return np.asarray(np.rint(shown), dtype=np.uint8)
