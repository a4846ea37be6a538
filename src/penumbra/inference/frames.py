"""Sizes that a network wants: whole frames cut or padded to multiples, and brought back.

Many encoders halve a size five times. A frame of 580×420 is then either cropped in its middle to
576×416, or padded to 608×448 and cropped back. Neither changes the resolution.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Edges = Literal["pad", "crop"]
"""What becomes of the pixels beyond the last multiple."""

Window = tuple[slice, slice]


def kept_window(size: tuple[int, int], *, multiple: int, edges: Edges) -> Window:
    """Give the part of a frame that the network sees: all of it, or its middle.

    Args:
        size: (H, W) of the frame.
        multiple: what the sides shall divide by.
        edges: ``"pad"`` keeps everything. ``"crop"`` leaves out at most `multiple` − 1 rows and
            columns, as many on either side, or one more below and right; a side that is shorter
            than `multiple` stays, to be padded.

    Examples:
        >>> kept_window((420, 580), multiple=32, edges="crop")
        (slice(2, 418, None), slice(2, 578, None))
    """
    rows, columns = (_span(side, multiple, edges) for side in size)
    return rows, columns


def _span(side: int, multiple: int, edges: Edges) -> slice:
    over = side % multiple if edges == "crop" and side >= multiple else 0
    return slice(over // 2, over // 2 + side - over)


def pad_to_multiple_of(
    array: NDArray[np.generic], multiple: int, *, fill: float | None = None
) -> NDArray[np.generic]:
    """Pad (…, h, w) right and below until its sides divide by `multiple`.

    Args:
        array: planes.
        multiple: what the sides shall divide by.
        fill: what to pad with; by default the nearest pixel is repeated.

    Examples:
        >>> pad_to_multiple_of(np.zeros((1, 420, 580)), 32).shape
        (1, 448, 608)
    """
    return pad_to_size(
        array, (array.shape[-2] + -array.shape[-2] % multiple,
                array.shape[-1] + -array.shape[-1] % multiple), fill=fill
    )  # fmt: skip


def pad_to_size(
    array: NDArray[np.generic], size: tuple[int, int], *, fill: float | None = None
) -> NDArray[np.generic]:
    """Pad (…, h, w) right and below to (…, H, W); see `pad_to_multiple_of`."""
    widths = [(0, 0)] * (array.ndim - 2)
    widths += [(0, size[0] - array.shape[-2]), (0, size[1] - array.shape[-1])]
    if fill is None:
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, constant_values=fill)


def to_frame(
    planes: NDArray[np.float32], size: tuple[int, int], window: Window
) -> NDArray[np.float32]:
    """Put planes (C, h, w) of a window back into the frame (C, H, W).

    The rim that was cropped away takes what the nearest pixel inside has: the network never saw
    it, and background there would cut every region that reaches the edge.

    Examples:
        >>> to_frame(np.ones((1, 2, 2), np.float32), (3, 4), (slice(0, 2), slice(1, 3))).shape
        (1, 3, 4)
    """
    rows, columns = window
    widths = [(0, 0), (rows.start, size[0] - rows.stop), (columns.start, size[1] - columns.stop)]
    return np.pad(planes, widths, mode="edge")
