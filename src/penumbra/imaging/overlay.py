"""Pictures for people: masks, errors and doubt drawn over an image.

Everything here takes arrays and gives (H, W, 3) uint8, and needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.palette import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    IGNORED,
    RGB,
    TRUE_POSITIVE,
    WRONG_CLASS,
    class_colour,
    heat,
    viridis,
)

_IGNORE = 255
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
Canvas = NDArray[np.float32]
Region = NDArray[np.bool_]


def to_display(
    image: NDArray[np.generic], *, percentiles: tuple[float, float] = (0.5, 99.5)
) -> NDArray[np.uint8]:
    """Turn an image into 8-bit RGB that a screen can show.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3). uint8 is taken as it is; booleans become 0 and 255;
            16-bit and float images are stretched so that the two percentiles of their finite
            values become black and white.
        percentiles: the two percentiles, taken over all channels together.

    Returns:
        (H, W, 3) uint8. Values that are not finite become black; a 16-bit or float image of one
        value becomes black.

    Raises:
        SettingsError: the array is not an image of one or three channels.

    Examples:
        >>> to_display(np.array([[0, 1000], [2000, 4000]], dtype=np.uint16))[..., 0].tolist()
        [[0, 63], [127, 255]]
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise SettingsError(
            expected("the image", "(H, W), (H, W, 1) or (H, W, 3)", image.shape, "one image")
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype != np.uint8:
        array = _stretched(array.astype(np.float32), percentiles)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array, dtype=np.uint8)


def _stretched(array: NDArray[np.float32], percentiles: tuple[float, float]) -> NDArray[np.uint8]:
    finite = np.isfinite(array)
    if not finite.any():
        return np.zeros(array.shape, dtype=np.uint8)
    low, high = np.percentile(array[finite], percentiles)
    if high <= low:
        # A few bright pixels on an empty ground fall outside the percentiles; show them still.
        low, high = float(array[finite].min()), float(array[finite].max())
    scaled = (np.where(finite, array, low) - low) / max(float(high - low), 1e-12)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0, dtype=np.uint8)


def line_width(shape: tuple[int, ...]) -> int:
    """Give the width in pixels of an outline that looks crisp on an image of this shape.

    Examples:
        >>> line_width((256, 256)), line_width((1024, 1024))
        (1, 2)
    """
    return max(1, round(min(shape[:2]) / 512))


def outline(region: Region, *, width: int = 1) -> Region:
    """Give the pixels of a region that lie within `width` pixels of its edge, inside it.

    Args:
        region: (H, W) bool. The frame of the image is no edge: a region that leaves the image
            has no line there.
        width: in pixels, counted in steps up, down, left and right.

    Returns:
        (H, W) bool, a part of `region`.

    Examples:
        >>> int(outline(np.pad(np.ones((3, 3), bool), 1)).sum())
        8
    """
    inside = np.asarray(region, dtype=np.bool_)
    core = inside
    for _ in range(width):
        padded = np.pad(core, 1, mode="edge")
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _same_size(canvas: Canvas, **maps: NDArray[np.generic]) -> None:
    for name, array in maps.items():
        if array.shape != canvas.shape[:2]:
            raise SettingsError(
                expected(
                    f"`{name}`",
                    f"of the image's size {canvas.shape[0]}×{canvas.shape[1]}",
                    "×".join(map(str, array.shape)),
                    "the mask that belongs to this image",
                )
            )


def _blend(canvas: Canvas, region: Region, colour: RGB, opacity: float) -> None:
    if opacity > 0:
        tint = np.array(colour, dtype=np.float32)
        canvas[region] = canvas[region] * (1.0 - opacity) + tint * opacity


def _draw(canvas: Canvas, region: Region, colour: RGB, opacity: float, line: int | None) -> None:
    _blend(canvas, region, colour, opacity)
    width = line_width(canvas.shape) if line is None else line
    _blend(canvas, outline(region, width=width), colour, 1.0)


def _finished(canvas: Canvas) -> NDArray[np.uint8]:
    return np.rint(np.clip(canvas, 0.0, 255.0)).astype(np.uint8)


def overlay_mask(
    image: NDArray[np.generic],
    mask: NDArray[np.generic],
    *,
    opacity: float = 0.35,
    line: int | None = None,
) -> NDArray[np.uint8]:
    """Draw a mask over its image: a light fill and a solid line for each class.

    Args:
        image: see `to_display`.
        mask: (H, W) class indices; 0 is left alone, 255 (ignore) is filled grey without a line.
        opacity: of the fill, in [0, 1].
        line: width of the outline in pixels; by default `line_width` of the image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SettingsError: mask and image differ in size.

    Examples:
        >>> mask = np.pad(np.ones((4, 4), np.uint8), 2)
        >>> overlay_mask(np.zeros((8, 8), np.uint8), mask)[[0, 2, 4], 4].tolist()
        [[0, 0, 0], [18, 165, 148], [6, 58, 52]]
    """
    canvas = to_display(image).astype(np.float32)
    _same_size(canvas, mask=mask)
    for index in np.unique(mask):
        if index == _IGNORE:
            _blend(canvas, mask == index, IGNORED, opacity)
        elif index != 0:
            _draw(canvas, mask == index, class_colour(int(index)), opacity, line)
    return _finished(canvas)


def _outcomes(
    predicted: NDArray[np.generic], truth: NDArray[np.generic]
) -> Iterator[tuple[Region, RGB, bool]]:
    """Give region, colour and whether it is an error, later ones drawn over earlier ones."""
    counted = truth != _IGNORE
    found, there = predicted != 0, truth != 0
    yield counted & found & there & (truth == predicted), TRUE_POSITIVE, False
    yield counted & found & there & (truth != predicted), WRONG_CLASS, True
    yield counted & found & ~there, FALSE_POSITIVE, True
    yield counted & ~found & there, FALSE_NEGATIVE, True


def evaluation_overlay(
    image: NDArray[np.generic],
    predicted: NDArray[np.generic],
    truth: NDArray[np.generic],
    *,
    opacity: float = 0.35,
    line: int | None = None,
) -> NDArray[np.uint8]:
    """Draw a predicted mask against the truth.

    Purple is found (true positive), yellow is missed (false negative), green is too much (false
    positive). With more than two classes, foreground that was given another class is light blue.
    Pixels that the truth ignores are grey.

    Args:
        image: see `to_display`.
        predicted: (H, W) class indices.
        truth: (H, W) class indices, 255 = ignore.
        opacity: of the fill of what was found; errors are drawn twice as strong, since they are
            what the picture is for and are often only a few pixels wide.
        line: width of the outlines in pixels; by default `line_width` of the image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SettingsError: a mask and the image differ in size.

    Examples:
        >>> image = np.zeros((1, 3), np.uint8)
        >>> drawn = evaluation_overlay(image, np.array([[1, 1, 0]]), np.array([[1, 0, 1]]))
        >>> drawn[0].tolist()
        [[142, 78, 198], [48, 164, 108], [255, 214, 10]]
    """
    canvas = to_display(image).astype(np.float32)
    _same_size(canvas, predicted=predicted, truth=truth)
    _blend(canvas, truth == _IGNORE, IGNORED, opacity)
    for region, colour, is_error in _outcomes(predicted, truth):
        _draw(canvas, region, colour, min(1.0, 2 * opacity) if is_error else opacity, line)
    return _finished(canvas)


def heatmap(
    image: NDArray[np.generic],
    doubt: NDArray[np.floating],
    *,
    maximum: float,
    dim: float = 0.6,
) -> NDArray[np.uint8]:
    """Draw doubt as a glow over the darkened grey image.

    Args:
        image: see `to_display`.
        doubt: (H, W), from 0 (certain) to `maximum`; NaN is drawn as certain.
        maximum: the doubt that is drawn white-hot, for example ln C for entropy. Fixed, not taken
            from the map, so that two pictures can be compared.
        dim: brightness that the grey image keeps, in [0, 1]; white paper would hide a white glow.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SettingsError: map and image differ in size, or the maximum is not above 0.

    Examples:
        >>> heatmap(np.zeros((1, 2), np.uint8), np.array([[0.0, 0.7]]), maximum=0.7).tolist()
        [[[0, 0, 0], [255, 250, 240]]]
    """
    if not maximum > 0:
        raise SettingsError(expected("`maximum`", "above 0", maximum, "ln C, the largest entropy"))
    grey = (to_display(image).astype(np.float32) @ _GREY) * np.float32(dim)
    canvas = np.repeat(grey[..., None], 3, axis=2)
    _same_size(canvas, doubt=doubt)
    colour, opacity = heat(np.asarray(doubt, dtype=np.float32) / np.float32(maximum))
    share = opacity[..., None]
    return _finished(canvas * (1.0 - share) + colour * share)


__all__ = [
    "evaluation_overlay",
    "heatmap",
    "line_width",
    "outline",
    "overlay_mask",
    "to_display",
    "viridis",
]
