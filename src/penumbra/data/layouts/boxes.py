"""Boxes as a data set's tables have them: kept with the record, read as xyxy, filled on demand.

A box says where something is, not which pixels it covers: a filled box calls its corners
foreground, which they mostly are not. So a set that ships boxes alone has no masks
(target ``none``), and only who asks for the weak label (target ``boxes``) gets it. The boxes
travel with the samples either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Record
from penumbra.data.source import NO_MASKS
from penumbra.errors import ImageFileError, MissingExtraError, SourceError, expected
from penumbra.imaging.files import read_size

TARGETS = (NO_MASKS, "boxes")
"""The targets of a set that ships boxes and no masks, the default first."""

_KEY = "boxes"
_LOOK = 8
_TOLERANCE = 1.0


@dataclass(frozen=True)
class Box:
    """One box as its table has it.

    Attributes:
        left: x of its left edge in pixels; pixel c covers c to c + 1.
        top: y of its upper edge.
        width: in pixels, above 0.
        height: in pixels, above 0.
        class_index: the class that it encloses.
    """

    left: float
    top: float
    width: float
    height: float
    class_index: int = 1

    @classmethod
    def of(cls, numbers: Sequence[float], class_index: int = 1) -> Box:
        """Make a box of its left edge, upper edge, width and height, in this order."""
        left, top, width, height = numbers
        return cls(left, top, width, height, class_index)

    @property
    def is_valid(self) -> bool:
        """Whether all four are finite, the corner is not negative and the sides are above 0."""
        numbers = (self.left, self.top, self.width, self.height)
        return all(map(math.isfinite, numbers)) and min(numbers[:2]) >= 0 < min(numbers[2:])

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def boxes_as_detail(boxes: Iterable[Box]) -> tuple[str, str]:
    """Write boxes as a detail of a record; no box at all is an answer too.

    Examples:
        >>> boxes_as_detail([Box(1, 2.5, 3, 4)])
        ('boxes', '1 1.0 2.5 3.0 4.0')
    """
    rows = (
        f"{b.class_index} {float(b.left)} {float(b.top)} {float(b.width)} {float(b.height)}"
        for b in boxes
    )
    return _KEY, ";".join(rows)


def boxes_in(record: Record) -> tuple[Box, ...] | None:
    """Read the boxes of a record back; ``None`` where none are known."""
    text = dict(record.details).get(_KEY)
    if text is None:
        return None
    rows = (row.split() for row in text.split(";") if row)
    return tuple(Box.of([*map(float, numbers)], int(index)) for index, *numbers in rows)


@dataclass(frozen=True)
class BoxReader:
    """Reads the boxes that lie in the records' details.

    Attributes:
        frame: side of the square images that the boxes were drawn on, where the images at hand
            are copies of another size; ``None`` where boxes are in the images' own pixels.
    """

    frame: int | None = None

    def boxes(self, record: Record, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Give (N, 4) float32 xyxy in the pixels of an image of `size` (H, W), or ``None``.

        Raises:
            SourceError: a box leaves the image by more than a pixel.
        """
        boxes = boxes_in(record)
        if boxes is None:
            return None
        height, width = size
        scale = (1.0, 1.0) if self.frame is None else (width / self.frame, height / self.frame)
        edges = np.array([box.xyxy for box in boxes], dtype=np.float64).reshape(-1, 4)
        edges *= np.tile(scale, 2)
        most = np.array([width, height, width, height], dtype=np.float64)
        if (edges > most + _TOLERANCE * max(*scale, 1.0)).any():
            worst = edges[np.argmax((edges - most).max(axis=1))]
            raise SourceError(
                expected(
                    f"every box of {record.id!r}",
                    f"inside its image of {width}×{height} (width × height)",
                    f"one to x = {worst[2]:g}, y = {worst[3]:g}",
                    "the original images, which the boxes were drawn on, instead of smaller copies",
                )
            )
        return np.minimum(edges, most).astype(np.float32)

    def filled(self, record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Fill the boxes, a weak label: (H, W) uint8 of class indices, or ``None``.

        A pixel belongs to a box that holds its centre; of several boxes to the smallest, of
        equally large ones to the last.
        """
        edges = self.boxes(record, size) if record.masks else None
        if edges is None:
            return None
        mask = np.zeros(size, dtype=np.uint8)
        areas = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
        classes = [box.class_index for box in boxes_in(record) or ()]
        for index in np.argsort(-areas, kind="stable"):
            left, top, right, bottom = np.ceil(edges[index] - 0.5).astype(int)
            mask[top:bottom, left:right] = classes[index]
        return mask


def no_mask(_record: Record, _size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Give no mask: the reader of a set whose boxes are not filled."""
    return None


def common_side(images: Sequence[Path]) -> int | None:
    """Give the side that a look at a few images finds, where all are squares of one size.

    Headers alone are read; a file that cannot be read says nothing here.
    """
    places = np.unique(np.linspace(0, len(images) - 1, _LOOK).astype(int)) if images else ()
    sizes = set()
    for place in places:
        try:
            sizes.add(read_size(images[int(place)]))
        except (ImageFileError, MissingExtraError):
            continue
    sides = {side for size in sizes for side in size}
    return sides.pop() if len(sides) == 1 else None
