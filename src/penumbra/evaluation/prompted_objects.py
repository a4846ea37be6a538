"""The objects of a mask that a person would prompt for, one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected
from penumbra.promptable.prompt_sampling import keyed_generator

Objects = Literal["components", "class"]
"""What one object is: a connected area of a class, or all of a class in the image."""

LEAST_AREA = 16
"""Pixels; what is smaller is a speck of the annotation rather than something to click on."""

_TOUCHING = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class ObjectMap:
    """The objects of one image.

    Attributes:
        labels: (H, W) int32: 0 nothing, n the n-th object, −1 ignored: by the mask, or because the
            object there is too small or was left out.
        classes: class index of each object; objects are numbered from 1 in this order.
    """

    labels: NDArray[np.int32]
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """Pixels (H, W) that count neither way."""
        return np.asarray(self.labels == -1)

    @property
    def union(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of any object."""
        return np.asarray(self.labels > 0)

    def masks(self, numbers: Sequence[int]) -> NDArray[np.bool_]:
        """Give the masks (N, H, W) of these objects, counted from 1."""
        return np.asarray(self.labels[None] == np.asarray(numbers)[:, None, None])

    def batches(self, most: int) -> Iterator[range]:
        """Number the objects in batches of at most `most`."""
        for start in range(1, len(self) + 1, most):
            yield range(start, min(start + most, len(self) + 1))


def objects_of(
    mask: NDArray[np.uint8],
    *,
    n_classes: int,
    objects: Objects = "components",
    first: int = 1,
    least_area: int = LEAST_AREA,
    most: int | None = None,
    seed: int = 0,
) -> ObjectMap:
    """Find the objects of a mask.

    Args:
        mask: (H, W) class indices, 255 = ignore.
        n_classes: number of classes.
        objects: ``"components"``: pixels of one class that touch by a side or a corner are one
            object; ``"class"``: all pixels of a class are.
        first: the first class that holds objects.
        least_area: in pixels; smaller objects are left out, and their pixels ignored.
        most: objects of one image; where there are more, as many are drawn, each as likely, and
            the pixels of the others ignored.
        seed: of that draw, with the content of the mask.

    Raises:
        SettingsError: an option is not possible.

    Examples:
        >>> mask = np.zeros((8, 12), dtype=np.uint8)
        >>> mask[:4, :4], mask[:4, 6:], mask[7, 0] = 1, 1, 1
        >>> found = objects_of(mask, n_classes=2)
        >>> len(found), int(found.ignored.sum()), len(objects_of(mask, n_classes=2, least_area=1))
        (2, 1, 3)
    """
    _check(objects, least_area, most)
    labels = np.zeros(mask.shape, dtype=np.int32)
    classes: list[int] = []
    for index in range(first, n_classes):
        where = mask == index
        if objects == "components":
            parts, count = ndimage.label(where, structure=_TOUCHING)
        else:
            parts, count = where.astype(np.int32), int(where.any())
        labels[where] = parts[where] + len(classes)
        classes.extend([index] * count)
    areas = np.bincount(labels.ravel(), minlength=len(classes) + 1)[1:]
    kept = np.flatnonzero(areas >= least_area)
    if most is not None and len(kept) > most:
        digest = hashlib.sha256(np.ascontiguousarray(mask).tobytes()).digest()
        generator = keyed_generator(seed, "objects", digest)
        kept = np.sort(generator.choice(kept, size=most, replace=False))
    numbers = np.full(len(classes) + 1, -1, dtype=np.int32)
    numbers[0] = 0
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    chosen = numbers[labels]
    chosen[mask == IGNORE] = -1
    return ObjectMap(chosen, tuple(classes[index] for index in kept))


def _check(objects: str, least_area: int, most: int | None) -> None:
    if objects not in get_args(Objects):
        raise SettingsError(
            expected("`objects`", " or ".join(get_args(Objects)), repr(objects), "'components'")
        )
    if least_area < 1:
        raise SettingsError(expected("`least_area`", "at least 1 pixel", least_area, "16"))
    if most is not None and most < 1:
        raise SettingsError(expected("`most`", "at least 1 object", most, "leaving it out"))
