"""What a promptable model is asked: boxes, points and masks on one image.

**Coordinates.** A point names a pixel: (c, r) is the centre of the pixel in column c and row r, as
in Segment Anything, whose prompt encoder itself adds the half pixel from there to the corner that
its positions count from. Whatever makes points, from masks, edges or a grid, follows this. A box
counts from the corners of pixels, its far edge exclusive, so that (0, 0, W, H) is the whole image
and x1 − x0 its width. The centre of a box is therefore the point ((x0 + x1 − 1) / 2, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected

PromptKind = Literal["box", "point", "mask"]

OBJECT, BACKGROUND, PADDING = 1, 0, -1
"""Labels of points."""


@dataclass(frozen=True)
class Prompts:
    """N prompts on one image, in that image's own pixels.

    A prompt may hold a box, points and a mask together; all N hold the same kinds. Build it by
    `of`, which checks.

    Attributes:
        size: (H, W) of the image.
        boxes: (N, 4) float32 xyxy, the far edge exclusive, or ``None``.
        points: (N, P, 2) float32 (x, y), whole numbers at the centres of pixels, or ``None``.
        labels: (N, P) int8: 1 object, 0 background, -1 padding; ``None`` without points.
        masks: (N, H, W) float32 probabilities, or low-resolution logits (N, h, w) as a model gave
            them; ``None`` where there are none.
        masks_are_logits: which of the two.
    """

    size: tuple[int, int]
    boxes: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int8] | None = None
    masks: NDArray[np.float32] | None = None
    masks_are_logits: bool = False

    @classmethod
    def of(
        cls,
        *,
        size: tuple[int, int],
        boxes: Any = None,
        points: Any = None,
        labels: Any = None,
        mask: Any = None,
        low: int | None = None,
    ) -> Prompts:
        """Check prompts and bring them to their arrays.

        Args:
            size: (H, W) of the image.
            boxes: (N, 4) or one (4,), xyxy in pixels; what leaves the image is cut off.
            points: (N, P, 2); (P, 2) are the points of one prompt; a list of N arrays (P_i, 2) may
                differ in length, and is filled up.
            labels: (N, P) or (P,) of 1 (object), 0 (background) and -1 (padding, not a point);
                by default all 1.
            mask: (N, H, W) or (H, W), truth values or probabilities in [0, 1]; or logits of an
                earlier prediction, (N, low, low) or (low, low) floats that are not all in [0, 1].
                Where the image is of that size too, logits are known by a value below 0.
            low: side of the model's low-resolution logits (`PromptableSegmenter.low`); without it
                no logits are taken.

        Raises:
            SettingsError: there is no prompt; a box is inverted or wholly outside the image, a
                point is outside; a number is not finite; the shapes do not belong together; labels
                without points; a mask is of another size, or has values that no mask has.

        Examples:
            >>> prompts = Prompts.of(boxes=[4, 4, 90, 20], size=(64, 64))
            >>> prompts.boxes.tolist(), len(prompts)
            ([[4.0, 4.0, 64.0, 20.0]], 1)
            >>> Prompts.of(points=[[3, 5], [9, 9]], labels=[1, 0], size=(64, 64)).points.shape
            (1, 2, 2)
        """
        if points is None and labels is not None:
            raise _bad("`labels`", "given with `points`", "labels alone", "points for them")
        checked_points, checked_labels = (None, None)
        if points is not None:
            checked_points, checked_labels = _points(points, labels, size)
        checked_boxes = None if boxes is None else _boxes(boxes, size)
        masks, logits = (None, False) if mask is None else _masks(mask, size, low)
        prompts = cls(size, checked_boxes, checked_points, checked_labels, masks, logits)
        prompts._check()
        return prompts

    def __len__(self) -> int:
        first = next(array for array in (self.boxes, self.points, self.masks) if array is not None)
        return len(first)

    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.intp]) -> Prompts:
        """Give some of the prompts."""

        def some(array: Any) -> Any:
            return None if array is None else array[index]

        return replace(
            self,
            boxes=some(self.boxes),
            points=some(self.points),
            labels=some(self.labels),
            masks=some(self.masks),
        )

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """Which kinds of prompt are given."""
        named: tuple[tuple[PromptKind, object], ...] = (
            ("box", self.boxes), ("point", self.points), ("mask", self.masks),
        )  # fmt: skip
        return frozenset(name for name, array in named if array is not None)

    @property
    def n_points(self) -> NDArray[np.intp]:
        """How many points each prompt has, padding not counted; (N,)."""
        if self.labels is None:
            return np.zeros(len(self), dtype=np.intp)
        return np.asarray((self.labels != PADDING).sum(axis=1), dtype=np.intp)

    def _check(self) -> None:
        counts = {
            name: len(array)
            for name, array in (
                ("boxes", self.boxes),
                ("points", self.points),
                ("mask", self.masks),
            )
            if array is not None
        }
        if not counts or not all(counts.values()):
            raise _bad("the prompts", "at least one", "none", "a box, a point or a mask")
        if len(set(counts.values())) > 1:
            got = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise _bad("boxes, points and masks", "of one number of prompts", got,
                       "points (N, P, 2) beside boxes (N, 4)")  # fmt: skip
        bare = self.boxes is None and self.masks is None and (self.n_points == 0)
        if np.any(bare):
            raise _bad("each prompt", "at least one point", "labels of padding alone",
                       "a label of 1 or 0")  # fmt: skip


def _bad(what: str, to_be: str, got: object, try_: str) -> SettingsError:
    return SettingsError(expected(what, to_be, got, try_))


def _numbers(values: Any, name: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise _bad(f"`{name}`", "an array of numbers", f"{type(values).__name__} ({error})",
                   "lists of one length") from error  # fmt: skip
    if not np.isfinite(array).all():
        raise _bad(f"`{name}`", "finite numbers", "NaN or infinity", "leaving that prompt out")
    return array


def _boxes(values: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    boxes = _numbers(values, "boxes")
    if boxes.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise _bad("`boxes`", "(N, 4) xyxy", boxes.shape, "x0, y0, x1, y1 for each box")
    height, width = size
    for number, box in enumerate(boxes):
        x0, y0, x1, y1 = (float(value) for value in box)
        if x1 <= x0 or y1 <= y0:
            raise _bad(f"box {number}", "x0 < x1 and y0 < y1", f"{x0:g}, {y0:g}, {x1:g}, {y1:g}",
                       "the top left corner first, then the bottom right one")  # fmt: skip
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise _bad(f"box {number}", f"inside the image of {width}×{height}",
                       f"{x0:g}, {y0:g}, {x1:g}, {y1:g}", "pixels of this very image")  # fmt: skip
    edge = np.array([width, height, width, height], dtype=np.float32)
    return np.asarray(np.clip(boxes, 0, edge), dtype=np.float32)


def _points(
    values: Any, labels: Any, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    parts = _prompts_of_points(values)
    given = _labels_of(labels, parts)
    longest = max((len(part) for part in parts), default=0)
    points = np.zeros((len(parts), longest, 2), dtype=np.float32)
    signs = np.full((len(parts), longest), PADDING, dtype=np.int8)
    for number, (part, sign) in enumerate(zip(parts, given, strict=True)):
        points[number, : len(part)], signs[number, : len(part)] = part, sign
    points[signs == PADDING] = 0
    outside = (signs != PADDING) & (
        (points < 0).any(axis=2) | (points >= np.array(size[::-1], dtype=np.float32)).any(axis=2)
    )
    if outside.any():
        x, y = points[outside][0]
        raise _bad("each point", f"inside the image of {size[1]}×{size[0]}", f"{x:g}, {y:g}",
                   "x before y, in pixels of this very image")  # fmt: skip
    return points, signs


def _prompts_of_points(values: Any) -> list[NDArray[np.float32]]:
    ragged = isinstance(values, (list, tuple)) and bool(values) and np.ndim(values[0]) == 2
    array = None if ragged else _numbers(values, "points")
    if array is not None and array.size == 0:
        return []
    if array is not None and array.ndim <= 2:
        array = array.reshape(1, 1, 2) if array.shape == (2,) else array[None]
    parts = [_numbers(part, "points") for part in (values if array is None else array)]
    for part in parts:
        if part.ndim != 2 or part.shape[1] != 2:
            raise _bad("`points`", "(N, P, 2)", np.shape(values) if array is not None
                       else f"a part of shape {part.shape}", "x, y for each point")  # fmt: skip
    return parts


def _labels_of(labels: Any, parts: list[NDArray[np.float32]]) -> list[NDArray[np.int8]]:
    if labels is None:
        return [np.ones(len(part), dtype=np.int8) for part in parts]
    nested = isinstance(labels, (list, tuple)) and bool(labels) and np.ndim(labels[0]) == 1
    whole = list(labels) if nested else np.atleast_1d(_numbers(labels, "labels"))
    rows = [whole] if len(parts) == 1 and np.ndim(whole[0]) == 0 else list(whole)
    found = [np.atleast_1d(_numbers(row, "labels")) for row in rows]
    if [len(row) for row in found] != [len(part) for part in parts]:
        raise _bad("`labels`", "one for each point", f"{[len(row) for row in found]} for "
                   f"{[len(part) for part in parts]} points", "1 or 0 for each point")  # fmt: skip
    for row in found:
        if not np.isin(row, (OBJECT, BACKGROUND, PADDING)).all():
            raise _bad("`labels`", "1 (object), 0 (background) or -1 (padding)",
                       sorted({float(value) for value in row}), "1 and 0")  # fmt: skip
    return [row.astype(np.int8) for row in found]


def _masks(values: Any, size: tuple[int, int], low: int | None) -> tuple[NDArray[np.float32], bool]:
    masks = _numbers(values, "mask")
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3:
        raise _bad("`mask`", "(H, W) or (N, H, W)", masks.shape, "one plane for each prompt")
    if 0 in masks.shape:
        return np.zeros((0, *size), dtype=np.float32), False
    least, most = float(masks.min()), float(masks.max())
    inside = least >= 0 and most <= 1
    fits = masks.shape[1:] == tuple(size)
    if fits and inside:
        return masks, False
    # Masks of other programs are 0 and 255, or small: neither may pass for logits in silence.
    as_logits = np.asarray(values).dtype.kind == "f" and not inside and (least < 0 or not fits)
    if as_logits and masks.shape[1:] == (low, low):
        return masks, True
    logits = "" if low is None else f", or logits of {low}×{low}"
    raise _bad("`mask`", f"{size[0]}×{size[1]} with values from 0 to 1{logits}",
               f"{masks.shape[1]}×{masks.shape[2]} from {least:g} to {most:g}",
               "a mask of the image's own size, foreground 1" if low is not None else
               "a mask of the image's own size, foreground 1, or `low=segmenter.low` for logits of "
               "an earlier answer")  # fmt: skip
