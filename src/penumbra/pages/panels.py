"""One drawing as the page carries it: fitted to a size, encoded, with the scale below it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """The bar below a map: which gradient, and the numbers along it."""

    kind: str
    ticks: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One drawing of one image."""

    kind: str
    title: str
    uri: str
    width: int
    height: int
    scale: Scale | None = None


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Give (height, width) with the longer one at `side`, at least 1 each.

    Small images grow too, so that outlines are drawn as fine as the screen allows.

    Examples:
        >>> fitted(256, 128, 640), fitted(4000, 3, 640)
        ((640, 320), (640, 1))
    """
    factor = side / max(height, width)
    return max(round(height * factor), 1), max(round(width * factor), 1)


def resized(array: NDArray[np.uint8] | NDArray[np.float32], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an image or a map to (height, width)."""
    shrinks = size[0] < array.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    if array.dtype != np.uint8:
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(array, (size[1], size[0]), interpolation=how))


def resized_mask(mask: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize class indices by the share of each class, so that edges stay where they are."""
    values = np.unique(mask)
    shares = [resized((mask == value).astype(np.float32), size) for value in values]
    return np.asarray(values[np.argmax(np.stack(shares), axis=0)], dtype=np.uint8)


# Full colour resolution: halved, as is usual, it would smear the coloured outlines.
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    88,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)


def _uri(picture: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], _JPEG)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def panel(kind: str, title: str, picture: NDArray[np.uint8], scale: Scale | None = None) -> Panel:
    """Make a panel of a picture (H, W, 3)."""
    return Panel(kind, title, _uri(picture), picture.shape[1], picture.shape[0], scale)
