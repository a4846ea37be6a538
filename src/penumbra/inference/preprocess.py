"""From a decoded image to what a network sees, and back.

One settings object travels with the weights, so that training, prediction and export prepare an
image in exactly the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from penumbra.errors import ImageFileError, SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.inference.frames import Edges, Window, kept_window

Fit = Literal["crop", "resize", "scale", "whole"]


class Preprocess(BaseModel):
    """How an image is prepared.

    Attributes:
        size: side of a training crop and of a tile in pixels (``crop``), or the longest side
            that an image is scaled to (``resize`` and ``scale``), or up to which an image is taken
            at once (``whole``; a longer one is seen in parts of that side).
        fit: ``"crop"`` keeps the resolution; ``"resize"`` scales the whole image, aspect ratio
            kept, and fills up to a square with the image's mean; ``"scale"`` scales alike, but
            fills up to a `multiple` alone, which is faster the further images are from square;
            ``"whole"`` keeps the resolution and takes the image at once, its sides brought to a
            `multiple`.
        multiple: what the sides divide by with ``scale`` and ``whole``.
        edges: with ``whole``, how they are brought there: ``"pad"`` repeats the border and crops
            the answer back; ``"crop"`` leaves out less than `multiple` rows and columns around the
            middle.
        channels: 1 (grey) or 3 (RGB); 3 where a filter of ``mode: channels`` makes three.
        filters: applied to the whole image at the resolution that the network works at, after
            `fit` and before any tile is cut; see `FilterChain`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=256, ge=16, le=4096)
    fit: Fit = "crop"
    channels: Literal[1, 3] = 1
    filters: FilterChain = FilterChain()
    multiple: int = Field(default=32, ge=1, le=256)
    edges: Edges = "pad"

    @property
    def scales(self) -> bool:
        """Whether images change their resolution."""
        return self.fit in ("resize", "scale")

    @property
    def oblong(self) -> bool:
        """Whether a network sees images at once, padded to a multiple and not to a square."""
        return self.fit in ("scale", "whole")

    def window(self, size: tuple[int, int]) -> Window:
        """Give the part of an image (H, W) that the network sees; all of it but where cropped."""
        edges: Edges = self.edges if self.fit == "whole" else "pad"
        return kept_window(size, multiple=self.multiple, edges=edges)

    def model_post_init(self, _context: Any) -> None:
        """Check that the filters suit a network that sees pixels alone.

        Raises:
            SettingsError: a filter has ``mode: prompt``, or makes three channels for a network of
                one; or `size` does not divide by `multiple` with ``fit: whole`` or ``scale``.
        """
        if self.oblong and self.size % self.multiple:
            raise SettingsError(
                expected("`size`", f"a multiple of {self.multiple} with fit: {self.fit}", self.size,
                         f"{self.multiple * -(-self.size // self.multiple)}")
            )  # fmt: skip
        if self.filters.prompt is not None:
            raise SettingsError(
                expected("the filters of this network", "without mode: prompt, since it takes no "
                         "prompts", self.filters.label, "mode: replace, blend or channels")
            )  # fmt: skip
        if self.filters.stacks and self.channels != 3:
            raise SettingsError(
                expected("`channels`", "3 with a filter of mode: channels", self.channels,
                         "image.channels=3 or auto")
            )  # fmt: skip


@dataclass(frozen=True)
class WorkingImage:
    """An image at the resolution the network works at.

    Attributes:
        pixels: (h, w, C) in the image's own type.
        mean: of all its pixels and channels.
        std: of all its pixels and channels, at least a 10⁻⁶ of the value range.
        original_size: (H, W) before any scaling.
    """

    pixels: NDArray[np.generic]
    mean: float
    std: float
    original_size: tuple[int, int]

    def normalised(self) -> NDArray[np.float32]:
        """Compute (pixels − mean) / std as (C, h, w) float32."""
        scaled = (self.pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def with_channels(image: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    """Give (H, W, C) with the wanted channels: grey is repeated, RGB becomes luma (BT.601).

    Raises:
        ImageFileError: the image is not (H, W, 1) or (H, W, 3).

    Examples:
        >>> with_channels(np.zeros((4, 5, 1), np.uint8), 3).shape
        (4, 5, 3)
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ImageFileError(
            expected("an image", "(H, W, 1) or (H, W, 3)", image.shape, "`imaging.read_image`")
        )
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    if np.issubdtype(image.dtype, np.integer):
        grey = np.rint(grey)
    return grey.astype(image.dtype)[..., None]


def resize_longest(
    image: NDArray[np.generic], size: int, *, nearest: bool = False
) -> NDArray[np.generic]:
    """Scale (H, W) or (H, W, C) so that the longest side is `size`, aspect ratio kept.

    Areas are averaged when shrinking and interpolated bilinearly when enlarging; `nearest` is
    for masks.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    how = cv2.INTER_NEAREST_EXACT if nearest else smooth
    resized = np.asarray(cv2.resize(np.ascontiguousarray(image), target, interpolation=how))
    return resized if resized.ndim == image.ndim else resized[..., None]


def to_working(image: NDArray[np.generic], preprocess: Preprocess) -> WorkingImage:
    """Bring an image to the network's resolution and channels, filter it, measure its statistics.

    Filters and statistics are those of the whole image, so that every tile of it is treated alike;
    where its edges are cropped, the statistics are those of what remains.

    Args:
        image: (H, W, C), uint8, uint16 or float32, C = 1 or 3.
        preprocess: the settings that the network was trained with.

    Raises:
        ImageFileError: the shape is another, a side is empty, or a value is not finite.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    if min(size) < 1:
        raise ImageFileError(expected("an image", "at least 1×1", size, "another file"))
    if image.dtype not in (np.uint8, np.uint16):
        image = image.astype(np.float32)
        if not np.isfinite(image).all():
            raise ImageFileError(
                expected("an image", "finite everywhere", "NaN or infinity", "filling its gaps")
            )
    pixels = with_channels(image, preprocess.channels)
    if preprocess.scales:
        pixels = resize_longest(pixels, preprocess.size)
    pixels = preprocess.filters.apply(pixels)
    pixels = pixels[preprocess.window((pixels.shape[0], pixels.shape[1]))]
    mean, std = float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
    # A constant image has no spread; it becomes zeros rather than a division by zero.
    return WorkingImage(pixels, mean, max(std, 1e-6), size)


def mask_to_working(mask: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    """Bring a mask (H, W) to the network's resolution; classes are never mixed."""
    if not preprocess.scales:
        return mask[preprocess.window((mask.shape[0], mask.shape[1]))]
    return np.asarray(resize_longest(mask, preprocess.size, nearest=True), dtype=np.uint8)


def pad_square(array: NDArray[np.generic], size: int, fill: float) -> NDArray[np.generic]:
    """Pad (C, h, w) or (h, w) right and below to `size` × `size` with `fill`."""
    bottom, right = size - array.shape[-2], size - array.shape[-1]
    widths = [(0, 0)] * (array.ndim - 2) + [(0, bottom), (0, right)]
    return np.pad(array, widths, constant_values=fill)


def probabilities_to_original(
    probabilities: NDArray[np.float32], original_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Scale probabilities (C, h, w) back to (C, H, W) bilinearly.

    Bilinear weights are a convex combination, so the classes still sum to one.
    """
    height, width = original_size
    if probabilities.shape[1:] == original_size:
        return probabilities
    planes = [
        cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        for plane in probabilities
    ]
    return np.stack(planes).astype(np.float32)
