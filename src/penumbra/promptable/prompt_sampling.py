"""Prompts drawn from masks, as a person would give them: boxes, points, corrective clicks.

Coordinates are pixels (x, y); a box is xyxy with its far edge exclusive, and the centre of the
pixel in column c and row r is the point (c, r), as in Segment Anything. Every draw comes from a
generator that the caller keys by what it is for, so that it does not depend on the order of work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected

OBJECT, BACKGROUND, PADDING = 1, 0, -1
"""Labels of points."""

Masks = NDArray[np.bool_]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PromptSampling:
    """How prompts are drawn in training.

    Attributes:
        box_share: share of objects that are first shown by a box; the rest by a point.
        jitter: standard deviation of a box's edges as a share of its side.
        jitter_limit: largest shift of an edge as a share of the image's longest side; the
            20 pixels of 1024 of Segment Anything.
        mask_share: how often a corrective click comes with the previous mask as a prompt.
    """

    box_share: float = 0.5
    jitter: float = 0.1
    jitter_limit: float = 20 / 1024
    mask_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("box_share", "mask_share", "jitter", "jitter_limit"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(expected(f"`{name}`", "between 0 and 1", value, "0.5"))


@dataclass(frozen=True)
class SampledPrompts:
    """The first prompts of N objects; a row without a box has points, and the other way round.

    Attributes:
        boxes: (N, 4) float32 xyxy; what it holds where `has_box` is false means nothing.
        has_box: (N,) bool.
        points: (N, P, 2) float32.
        labels: (N, P) int8: 1 object, 0 background, −1 padding.
    """

    boxes: Boxes
    has_box: NDArray[np.bool_]
    points: NDArray[np.float32]
    labels: NDArray[np.int8]


def keyed_generator(
    seed: int, *keys: int | str | bytes | NDArray[np.generic]
) -> np.random.Generator:
    """Give a generator that depends on these values alone.

    Args:
        seed: of the run.
        keys: what the draw is for: a sample's id, a step, a mask. Arrays count by shape, type and
            content.

    Examples:
        >>> a, b = keyed_generator(0, "box", 7), keyed_generator(0, "box", 7)
        >>> bool(a.random() == b.random()), bool(a.random() == keyed_generator(1).random())
        (True, False)
    """
    digest = hashlib.sha256(str(int(seed)).encode())
    for key in keys:
        if isinstance(key, np.ndarray):
            part = repr((key.shape, key.dtype.str)).encode() + np.ascontiguousarray(key).tobytes()
        else:
            part = key if isinstance(key, bytes) else repr(key).encode()
        # Lengths between the parts: ("ab", "c") is not ("a", "bc").
        digest.update(len(part).to_bytes(8, "big") + part)
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "big"))


def tight_boxes(masks: Masks) -> Boxes:
    """Give the smallest box around each mask.

    Args:
        masks: (N, H, W) bool, none of them empty.

    Returns:
        (N, 4) float32 xyxy, far edge exclusive.

    Raises:
        SettingsError: a mask is empty.

    Examples:
        >>> mask = np.zeros((1, 5, 5), bool)
        >>> mask[0, 1:3, 2:5] = True
        >>> tight_boxes(mask).tolist()
        [[2.0, 1.0, 5.0, 3.0]]
    """
    masks = _checked(masks)
    boxes = np.empty((len(masks), 4), np.float32)
    for row, mask in enumerate(masks):
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[row] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes


def jittered_boxes(
    boxes: Boxes,
    size: tuple[int, int],
    generator: np.random.Generator,
    *,
    jitter: float = 0.1,
    limit: float | None = 20 / 1024,
) -> Boxes:
    """Shift every edge by normal noise of `jitter` × its side, at most `limit` × longest side.

    The limit is the training recipe's of Segment Anything. It cuts nearly all of the noise of a
    large box: of one half as wide as the image, 10 % becomes 3.5 %. Where the noise itself is what
    is measured, give ``None``.

    Boxes stay inside the image and at least one pixel wide and high.

    Args:
        boxes: (N, 4) xyxy.
        size: (H, W) of the image.
        generator: where the draws come from.
        jitter: standard deviation as a share of the box's width (x) or height (y).
        limit: largest shift as a share of the image's longest side; ``None`` for no limit.

    Returns:
        (N, 4) float32 xyxy.

    Examples:
        >>> box = np.array([[10, 10, 30, 20]], np.float32)
        >>> jittered_boxes(box, (64, 64), keyed_generator(0), jitter=0).tolist()
        [[10.0, 10.0, 30.0, 20.0]]
    """
    boxes = np.asarray(boxes, np.float32)
    height, width = size
    sides = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    shift = generator.standard_normal(boxes.shape) * jitter * np.tile(sides, 2)
    most = np.inf if limit is None else limit * max(size)
    moved = boxes + np.clip(shift, -most, most)
    out = np.empty_like(boxes)
    for axis, extent in ((0, width), (1, height)):
        near, far = np.sort(moved[:, [axis, axis + 2]], axis=1).T
        near = np.clip(near, 0, extent - 1)
        out[:, axis], out[:, axis + 2] = near, np.clip(np.maximum(far, near + 1), 1, extent)
    return out


def points_inside(masks: Masks, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw one pixel of each mask, all equally likely.

    Args:
        masks: (N, H, W) bool, none of them empty.
        generator: where the draws come from.

    Returns:
        (N, 2) float32, (x, y).

    Raises:
        SettingsError: a mask is empty.
    """
    masks = _checked(masks)
    shares = generator.random(len(masks))
    return np.array(
        [_pixel(mask, share) for mask, share in zip(masks, shares, strict=True)], np.float32
    ).reshape(-1, 2)


def centre_points(masks: Masks) -> NDArray[np.float32]:
    """Give the pixel of each mask that is farthest from its edge: where a person would click.

    Args:
        masks: (N, H, W) bool, none of them empty.

    Returns:
        (N, 2) float32, (x, y).

    Raises:
        SettingsError: a mask is empty.

    Examples:
        >>> mask = np.zeros((1, 7, 9), bool)
        >>> mask[0, 1:6, 2:7] = True
        >>> centre_points(mask).tolist()
        [[4.0, 3.0]]
    """
    return np.array([_deepest(mask) for mask in _checked(masks)], np.float32).reshape(-1, 2)


def corrective_points(
    predicted: Masks,
    target: Masks,
    generator: np.random.Generator | None = None,
    *,
    valid: Masks | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Give the click that would correct each mask, out of where it is wrong.

    With a generator, any wrong pixel, all equally likely, as in training. Without one, the pixel
    farthest from the edge of the largest wrong region, as a person would, and as the interactive
    evaluation of Segment Anything does.

    Args:
        predicted: (N, H, W) bool.
        target: (N, H, W) bool, none of them empty.
        generator: where the draws come from.
        valid: (N, H, W) or (H, W) bool, false where nobody knows what is right: ignored pixels and
            padding. No click lands there, and nothing is wrong there. By default all of it counts.

    Returns:
        Points (N, 2) float32 and labels (N,) int8: 1 where the object was missed, 0 where
        background was taken for it. A mask without an error gets a point in the object.

    Raises:
        SettingsError: shapes differ, or a target is empty where it is valid.

    Examples:
        >>> said = np.ones((1, 1, 4), bool)
        >>> true = known = np.array([[[False, True, True, True]]])
        >>> points, labels = corrective_points(said, true, valid=known)
        >>> points.tolist(), labels.tolist()
        ([[1.0, 0.0]], [1])
    """
    target = np.asarray(target, np.bool_)
    predicted = np.asarray(predicted, np.bool_)
    if predicted.shape != target.shape:
        raise SettingsError(
            expected("the predicted masks", f"of shape {target.shape}", predicted.shape,
                     "resizing one of them")
        )  # fmt: skip
    if valid is not None:
        target, predicted = target & valid, predicted & valid
    target = _checked(target)
    points = np.empty((len(target), 2), np.float32)
    shares = np.zeros(len(target)) if generator is None else generator.random(len(target))
    for row, (wrong, mask) in enumerate(zip(predicted ^ target, target, strict=True)):
        region = wrong if wrong.any() else mask
        points[row] = (
            _deepest(_largest_part(region)) if generator is None else _pixel(region, shares[row])
        )
    columns, rows = points.astype(np.int64).T
    hit = target[np.arange(len(target)), rows, columns]
    return points, np.where(hit, OBJECT, BACKGROUND).astype(np.int8)


def sample_prompts(
    masks: Masks, generator: np.random.Generator, settings: PromptSampling | None = None
) -> SampledPrompts:
    """Draw the first prompt of each object: a jittered box or one point inside.

    Args:
        masks: (N, H, W) bool, none of them empty.
        generator: where the draws come from; each object takes the same number of them.
        settings: how.

    Returns:
        Boxes and points (N, 1, 2); an object with a box has the label −1 at its point.

    Raises:
        SettingsError: a mask is empty.
    """
    settings = PromptSampling() if settings is None else settings
    masks = _checked(masks)
    has_box = generator.random(len(masks)) < settings.box_share
    boxes = jittered_boxes(
        tight_boxes(masks), masks.shape[1:], generator,
        jitter=settings.jitter, limit=settings.jitter_limit,
    )  # fmt: skip
    points = points_inside(masks, generator)[:, None]
    labels = np.where(has_box, PADDING, OBJECT).astype(np.int8)[:, None]
    return SampledPrompts(boxes, has_box, points, labels)


def _checked(masks: Masks) -> Masks:
    masks = np.asarray(masks, np.bool_)
    if masks.ndim != 3:
        raise SettingsError(
            expected("the masks", "of shape (N, H, W)", masks.shape, "adding the first axis")
        )
    empty = np.flatnonzero(~masks.any((1, 2)))
    if len(empty):
        raise SettingsError(
            expected("every mask", "of at least one pixel", f"none in mask {int(empty[0])}",
                     "leaving empty masks out")
        )  # fmt: skip
    return masks


def _pixel(mask: NDArray[np.bool_], share: float) -> tuple[int, int]:
    where = np.flatnonzero(mask)
    row, column = divmod(int(where[int(share * len(where))]), mask.shape[1])
    return column, row


def _deepest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    # The frame counts as an edge: a click at the border of the image is hard to place.
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = divmod(int(np.argmax(depth)), mask.shape[1])
    return column, row


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.bool_)
