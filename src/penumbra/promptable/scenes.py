"""Images with objects to be prompted for, as a network sees them in training: crops, varied.

The geometry is that of `Scaling` with ``fit="longest"``: a part of the image, scaled until its
longer side fills the square, with zeros right and below. How large the part is differs from scene
to scene, so that one object is seen at many sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.data.sample import IGNORE
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.inference.preprocess import with_channels
from penumbra.promptable.pixels import IMAGENET_MEAN, IMAGENET_STD, to_eight_bit

Symmetry = Literal["none", "horizontal", "dihedral"]

_TOUCHING = np.ones((3, 3), dtype=np.int8)
_TRIES = 4
_WHOLE_SHARE = 0.4
_INVERTED_SHARE = 0.1
_MEAN = np.array(IMAGENET_MEAN, np.float32) * 255
_STD = np.array(IMAGENET_STD, np.float32) * 255


@dataclass(frozen=True)
class Scene:
    """One image as the network gets it.

    Attributes:
        pixels: (3, S, S) float32, normalised, zeros where the image does not reach.
        masks: (N, S, S) bool, one per prompt, none empty; an object may come more than once, and
            N may be 0.
        valid: (S, S) bool, false beyond the image and where the mask says ignore.
    """

    pixels: NDArray[np.float32]
    masks: NDArray[np.bool_]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class PromptSet:
    """The images of one set in memory, each with its objects.

    Attributes:
        name: of the set, for the log.
        images: (H, W, 3) uint8 each.
        labels: (H, W) int16 each: 0 nothing, n the n-th object, −1 ignored.
        symmetry: which flips and turns leave the meaning as it is.
        prompts: how many objects are prompted for in one scene.
    """

    name: str
    images: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.int16], ...]
    symmetry: Symmetry = "horizontal"
    prompts: int = 8

    @classmethod
    def of(
        cls,
        source: Source,
        *,
        name: str,
        prompts: int = 8,
        symmetry: Symmetry = "horizontal",
        longest: int = 640,
    ) -> PromptSet:
        """Read a source: its connected areas of each class but the background are the objects.

        Args:
            source: samples with masks; what has no object in its mask is left out.
            name: for the log.
            prompts: how many objects are prompted for in one scene.
            symmetry: flips and turns that are allowed.
            longest: pixels that the longest side is scaled down to, to bound the memory.

        Raises:
            SourceError: no image has an object.
        """
        images, labels = [], []
        for index in range(len(source)):
            sample = source[index]
            if sample.mask is None:
                continue
            image, mask = _bounded(sample.image, sample.mask, longest)
            found = objects_in(mask, first=1 if source.has_background else 0)
            if found.max() > 0:
                images.append(image)
                labels.append(found)
        if not images:
            raise SourceError(
                expected(f"the source {source.name}", "images with objects in their masks", "none",
                         "another split or target")
            )  # fmt: skip
        return cls(name, tuple(images), tuple(labels), symmetry, prompts)

    def __len__(self) -> int:
        return len(self.images)


def objects_in(mask: NDArray[np.uint8], *, first: int = 1) -> NDArray[np.int16]:
    """Number the connected areas (by side or corner) of every class from `first` on.

    Args:
        mask: (H, W) class indices, 255 = ignore.
        first: the first class that holds objects.

    Returns:
        (H, W) int16: 0 nothing, n the n-th object, −1 ignored.

    Examples:
        >>> objects_in(np.array([[1, 0, 1, 255]], np.uint8)).tolist()
        [[1, 0, 2, -1]]
    """
    labels = np.zeros(mask.shape, np.int16)
    count = 0
    for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)):
        if first <= value < IGNORE:
            parts, found = ndimage.label(mask == value, structure=_TOUCHING)
            labels[parts > 0] = parts[parts > 0] + count
            count += found
    labels[mask == IGNORE] = -1
    return labels


def draw_scene(
    images: PromptSet, generator: np.random.Generator, *, side: int, least: int = 24
) -> Scene:
    """Draw an image, a part of it, a variation and the objects that are prompted for.

    Args:
        images: where from; every image is as likely.
        generator: where all draws come from.
        side: S of the network.
        least: pixels of the square that an object must have.

    Returns:
        A scene. It has an object, unless one after another image was drawn whose objects all
        vanish when it is scaled to the square.
    """
    for _ in range(_TRIES):
        small, square = _part(images, generator, side=side, least=least)
        if (square > 0).any():
            break
    numbers = _chosen(_usable(square, least), square, images.prompts, generator)
    return _scene(_varied(small, generator), square, numbers)


def _part(
    images: PromptSet, generator: np.random.Generator, *, side: int, least: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Draw an image and a part of it that has an object; after some tries, the whole."""
    index = int(generator.integers(len(images)))
    image, labels = _turned(images, index, generator)
    for attempt in range(_TRIES):
        whole = attempt == _TRIES - 1 or generator.random() < _WHOLE_SHARE
        window = (slice(None), slice(None)) if whole else _window(labels.shape, generator)
        stretch = np.exp(generator.uniform(-0.15, 0.15, 2))
        small, square = _placed(image[window], labels[window], side, stretch)
        if len(_usable(square, least)):
            break
    return small, square


def whole_scene(
    images: PromptSet, index: int, generator: np.random.Generator, *, side: int, least: int = 24
) -> Scene:
    """Give an image whole and as it is, as it is prompted after training.

    At most `PromptSet.prompts` of its objects are drawn.
    """
    small, square = _placed(images.images[index], images.labels[index], side, np.ones(2))
    numbers = _usable(square, least)
    if len(numbers) > images.prompts:
        numbers = np.sort(generator.choice(numbers, images.prompts, replace=False))
    return _scene(small.astype(np.float32), square, numbers)


def _bounded(
    image: NDArray[np.generic], mask: NDArray[np.uint8], longest: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    eight = np.asarray(with_channels(to_eight_bit(image), 3), np.uint8)
    scale = longest / max(mask.shape)
    if scale >= 1:
        return eight, mask
    size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
    smaller = cv2.resize(eight, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8), np.asarray(
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8
    )


def _turned(
    images: PromptSet, index: int, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    image, labels = images.images[index], images.labels[index]
    across, down, swap = generator.random(3) < 0.5
    if images.symmetry != "none" and across:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if images.symmetry == "dihedral":
        if down:
            image, labels = image[::-1], labels[::-1]
        if swap:
            image, labels = image.swapaxes(0, 1), labels.T
    return image, labels


def _window(shape: tuple[int, ...], generator: np.random.Generator) -> tuple[slice, slice]:
    share = generator.uniform(0.3, 1.0) * np.exp(generator.uniform(-0.15, 0.15, 2))
    sizes = [max(16, min(n, round(n * s))) for n, s in zip(shape, share, strict=True)]
    starts = [int(generator.integers(n - m + 1)) for n, m in zip(shape, sizes, strict=True)]
    rows, columns = (slice(a, a + m) for a, m in zip(starts, sizes, strict=True))
    return rows, columns


def _placed(
    image: NDArray[np.uint8], labels: NDArray[np.int16], side: int, stretch: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Scale image and labels to fill the square one way; labels get −1 beyond the image."""
    extent = np.array(labels.shape, np.float64) * stretch
    height, width = (max(1, int(n + 0.5)) for n in extent * (side / extent.max()))
    how = cv2.INTER_AREA if max(labels.shape) > side else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how)
    square = np.full((side, side), -1, np.int16)
    square[:height, :width] = cv2.resize(
        np.ascontiguousarray(labels), (width, height), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(small, np.uint8), square


def _usable(square: NDArray[np.int16], least: int) -> NDArray[np.int64]:
    areas = np.bincount(square[square > 0])
    return np.flatnonzero(areas >= least)


def _chosen(
    numbers: NDArray[np.int64],
    square: NDArray[np.int16],
    count: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    if not len(numbers):
        # Objects too small to matter, in an image seen whole: the largest one all the same.
        areas = np.bincount(square[square > 0])
        numbers = np.array([np.argmax(areas)] if len(areas) else [], np.int64)
    if len(numbers) >= count:
        return generator.choice(numbers, count, replace=False)
    # Few objects: each is prompted for again, by another prompt, but not without end.
    repeated = np.tile(numbers, 3)[:count]
    return generator.permutation(repeated)


def _varied(small: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.float32]:
    """Vary contrast, brightness and sharpness, (h, w, 3) float32 in [0, 255]."""
    gamma, contrast, shift, blur, noise = generator.uniform(-1, 1, 5)
    values: NDArray[Any] = small.astype(np.float32) / 255
    values = values ** np.float32(np.exp(0.4 * gamma))
    values = (values - 0.5) * np.float32(np.exp(0.4 * contrast)) + np.float32(0.5 + 0.15 * shift)
    if generator.random() < _INVERTED_SHARE:
        values = 1 - values
    if blur > 0.5:
        values = cv2.GaussianBlur(values, (0, 0), 2 * (blur - 0.5) + 0.3)
    if noise > 0:
        white = generator.standard_normal((*values.shape[:2], 1), np.float32)
        values = values + white * np.float32(0.06 * noise)
    return np.asarray(np.clip(values, 0, 1) * 255, np.float32)


def _scene(
    values: NDArray[np.float32], square: NDArray[np.int16], numbers: NDArray[np.int64]
) -> Scene:
    side, (height, width) = len(square), values.shape[:2]
    pixels = np.zeros((3, side, side), np.float32)
    pixels[:, :height, :width] = ((values - _MEAN) / _STD).transpose(2, 0, 1)
    return Scene(pixels, square[None] == numbers[:, None, None], square >= 0)
