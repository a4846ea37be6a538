"""The comparison image: every image as 256×256 greys, so that any two can be compared."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256
"""Pixels along a side of a comparison image."""

BLOCK = 8
"""Pixels along a side of a block, whose mean is one pixel of the thumbnail."""

GRID = SIDE // BLOCK
"""Pixels along a side of a thumbnail."""

VERSION = 1
"""Raised whenever the comparison image of some image changes, so that kept ones are not mixed."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_TAILS = (0.5, 99.5)

Grey = NDArray[np.uint8]


def comparison_image(image: NDArray[np.generic]) -> Grey:
    """Bring an image to 256×256 greys.

    Colours become luma (ITU-R BT.601). Then each of the 256×256 pixels is the mean over the area
    that it covers in the image, which is stretched where it is not square. Greys of 16 bits and
    floats are afterwards mapped from the window between the 0.5th and 99.5th percentile of those
    means to 0–255; where the two are equal, all is 0.

    Args:
        image: (H, W, C), C = 1 or 3, uint8, uint16 or float32.

    Returns:
        (256, 256) uint8.

    Examples:
        >>> image = np.full((512, 300, 3), (200, 100, 50), np.uint8)
        >>> np.unique(comparison_image(image)).tolist()  # 0.299·200 + 0.587·100 + 0.114·50
        [124]
    """
    if image.shape == (SIDE, SIDE, 1) and image.dtype == np.uint8:
        return np.ascontiguousarray(image[..., 0], dtype=np.uint8)
    grey = area_mean(_grey(image))
    if image.dtype != np.uint8:
        low, high = np.percentile(grey, _TAILS)
        grey = (grey - low) * (255.0 / (high - low)) if high > low else np.zeros_like(grey)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _grey(image: NDArray[np.generic]) -> NDArray[np.float32]:
    if image.shape[-1] == 1:
        return image[..., 0].astype(np.float32)
    # Channel by channel: a product over the last axis would first copy the image as floats.
    grey = np.zeros(image.shape[:2], np.float32)
    for channel, weight in enumerate(_LUMA):
        grey += image[..., channel] * weight
    return grey


def area_mean(grey: NDArray[np.float32], side: int = SIDE) -> NDArray[np.float32]:
    """Average over the area that each of `side` × `side` pixels covers, edges shared by their part.

    Args:
        grey: (H, W) float32.
        side: pixels along a side of what is returned.

    Returns:
        (side, side) float32.
    """
    height, width = grey.shape
    if height >= side and width >= side:
        # Shrinking both ways, OpenCV's "area" is this very mean, and many times faster.
        shrunk = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, dtype=np.float32)
    if side % height == 0 and side % width == 0:
        # Every pixel lies within one of the image's own.
        return np.repeat(np.repeat(grey, side // height, axis=0), side // width, axis=1)
    return np.asarray(_weights(height, side) @ grey @ _weights(width, side).T, dtype=np.float32)


@lru_cache(maxsize=64)
def _weights(length: int, side: int) -> NDArray[np.float32]:
    """Give (side, length): the part of each input pixel in each output pixel; rows sum to 1."""
    edges = np.arange(side + 1) * (length / side)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(length)
    covered = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True), dtype=np.float32)


def block_sums(grey: Grey) -> NDArray[np.uint16]:
    """Sum a comparison image over its 8×8 blocks; 64 × 255 fits into 16 bits, so this is exact.

    Args:
        grey: (256, 256) uint8.

    Returns:
        (32, 32) uint16.
    """
    rows = grey.reshape(GRID, BLOCK, SIDE).sum(axis=1, dtype=np.uint16)
    return np.asarray(rows.reshape(GRID, GRID, BLOCK).sum(axis=2, dtype=np.uint16))


def turned(array: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Turn an array by one of the eight symmetries of the square.

    Args:
        array: (..., S, S), turned over its last two axes.
        turn: 0–7: quarter turns anticlockwise, after a mirroring left to right from 4 on.

    Examples:
        >>> turned(np.array([[1, 2], [3, 4]]), 1).tolist()
        [[2, 4], [1, 3]]
        >>> turned(np.array([[1, 2], [3, 4]]), 4).tolist()
        [[2, 1], [4, 3]]
    """
    mirrored = array[..., ::-1] if turn >= 4 else array
    return np.rot90(mirrored, turn % 4, axes=(-2, -1))


def inverse_turn(turn: int) -> int:
    """Give the turn that takes a turn back.

    Examples:
        >>> [inverse_turn(turn) for turn in range(8)]
        [0, 3, 2, 1, 4, 5, 6, 7]
    """
    return -turn % 4 if turn < 4 else turn


def best_match(
    a: Grey, b: Grey, *, turns: bool = False, shifts: int = 0
) -> tuple[float, int, tuple[int, int]]:
    """Find how two comparison images fit best.

    b is turned, then moved by (dy, dx): pixel (y, x) of the turned b is compared with pixel
    (y + dy, x + dx) of a, over the pixels that both have::

        rms² = mean over the overlap of (a[y + dy, x + dx] - turned(b)[y, x])²

    Args:
        a: (256, 256) uint8.
        b: (256, 256) uint8.
        turns: whether all eight symmetries are tried, not only the first.
        shifts: most pixels of a move along either axis.

    Returns:
        The least rms, the turn and the move (dy, dx) it was found at; of equal ones the first,
        in the order of turns and, within each, of the smallest moves.

    Examples:
        >>> a = np.arange(65536, dtype=np.uint32).reshape(256, 256).astype(np.uint8)
        >>> best_match(a, np.rot90(a), turns=True)
        (0.0, 3, (0, 0))
    """
    best = (float("inf"), 0, (0, 0))
    for turn in range(8 if turns else 1):
        other = np.ascontiguousarray(turned(b, turn))
        for move in moves(shifts):
            rms = _rms(a, other, move)
            if rms < best[0]:
                best = (rms, turn, move)
    return best


@lru_cache(maxsize=8)
def moves(shifts: int) -> tuple[tuple[int, int], ...]:
    """List the moves (dy, dx) of at most `shifts` pixels along either axis, the smallest first.

    Examples:
        >>> moves(0)
        ((0, 0),)
        >>> len(moves(2))
        25
    """
    steps = range(-shifts, shifts + 1)
    every = [(dy, dx) for dy in steps for dx in steps]
    return tuple(sorted(every, key=lambda move: move[0] ** 2 + move[1] ** 2))


def _rms(a: Grey, b: Grey, move: tuple[int, int]) -> float:
    (rows_a, rows_b), (columns_a, columns_b) = (_overlap(step) for step in move)
    part, other = a[rows_a, columns_a], b[rows_b, columns_b]
    # OpenCV adds squares of bytes up in whole numbers, so that the sum does not depend on order.
    return float(np.sqrt(cv2.norm(part, other, cv2.NORM_L2SQR) / part.size))


def _overlap(step: int) -> tuple[slice, slice]:
    return slice(max(step, 0), SIDE + min(step, 0)), slice(max(-step, 0), SIDE - max(step, 0))
