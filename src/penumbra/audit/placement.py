"""How the mask of one image is laid over another that shows the same, turned or moved.

A place is ``(turn, dy, dx)`` as `penumbra.audit.comparison` has it: turned by one of the eight
symmetries, then moved by (dy, dx) pixels of the comparison image, whose side is 256.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import SIDE, inverse_turn, turned
from penumbra.data.sample import IGNORE

Place = tuple[int, int, int]
HERE: Place = (0, 0, 0)


class Duplicate(NamedTuple):
    """Two samples whose images show the same.

    Attributes:
        a: id of the first.
        b: id of the second; its image, laid at `place`, is like that of `a`.
        level: ``"bytes"``, ``"pixels"`` or ``"near"``.
        rms: difference of the comparison images, 0–255.
        place: turn and move of `b`.
    """

    a: str
    b: str
    level: str = "near"
    rms: float = 0.0
    place: Place = HERE


def lay_over(mask: NDArray[np.uint8], size: tuple[int, int], place: Place) -> NDArray[np.uint8]:
    """Lay a mask over an image of another sample.

    Args:
        mask: (h, w) class indices.
        size: (H, W) of the other image; a mask of another size takes the nearest pixel.
        place: where.

    Returns:
        (H, W) uint8; 255 (ignore) where the mask does not reach.

    Examples:
        >>> mask = np.array([[1, 0], [0, 0]], np.uint8)
        >>> lay_over(mask, (2, 2), (4, 0, 0)).tolist()
        [[0, 1], [0, 0]]
    """
    turn, dy, dx = place
    there = np.ascontiguousarray(turned(mask, turn), dtype=np.uint8)
    height, width = size
    if there.shape != (height, width):
        nearest = cv2.resize(there, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        there = np.asarray(nearest, dtype=np.uint8)
    rows, columns = round(dy * height / SIDE), round(dx * width / SIDE)
    if not rows and not columns:
        return there
    laid = np.full(size, IGNORE, dtype=np.uint8)
    (to_y, from_y), (to_x, from_x) = _overlap(rows, height), _overlap(columns, width)
    laid[to_y, to_x] = there[from_y, from_x]
    return laid


def inverse(place: Place) -> Place:
    """Give the place of a over b where `place` is that of b over a.

    Examples:
        >>> inverse((1, 3, 0))
        (3, 0, 3)
    """
    turn, dy, dx = place
    back = inverse_turn(turn)
    moved_y, moved_x = _turned_move((dy, dx), back)
    return back, -moved_y, -moved_x


def compose(outer: Place, inner: Place) -> Place:
    """Give the place of c over a from that of b over a and that of c over b."""
    turn, dy, dx = outer
    moved_y, moved_x = _turned_move(inner[1:], turn)
    return _turn_after(turn, inner[0]), dy + moved_y, dx + moved_x


def places_of(samples: Sequence[str], pairs: Iterable[Duplicate]) -> dict[str, Place]:
    """Say how each sample is laid over the first, going from pair to pair.

    Args:
        samples: ids, each reached from the first by pairs; one that is not lies as it is.
        pairs: of these and of others.

    Returns:
        id → place, without those that lie as they are.
    """
    wanted = set(samples)
    beside: dict[str, list[tuple[str, Place]]] = {name: [] for name in samples}
    for pair in pairs:
        if pair.a in wanted and pair.b in wanted:
            beside[pair.a].append((pair.b, pair.place))
            beside[pair.b].append((pair.a, inverse(pair.place)))
    found: dict[str, Place] = {samples[0]: HERE}
    waiting = [samples[0]]
    # Breadth first: few steps add up few roundings of a move.
    for name in waiting:
        for other, place in beside[name]:
            if other not in found:
                found[other] = compose(found[name], place)
                waiting.append(other)
    return {name: place for name, place in found.items() if place != HERE}


def place_in(places: Mapping[str, Place], name: str) -> Place:
    """Give the place of a sample; those that are not named lie as they are."""
    return places.get(name, HERE)


def _overlap(step: int, length: int) -> tuple[slice, slice]:
    to = slice(min(max(step, 0), length), max(length + min(step, 0), 0))
    return to, slice(min(max(-step, 0), length), max(length - max(step, 0), 0))


def _turned_move(move: tuple[int, int], turn: int) -> tuple[int, int]:
    dy, dx = move
    dx = -dx if turn >= 4 else dx
    for _ in range(turn % 4):
        dy, dx = -dx, dy
    return dy, dx


def _turn_after(second: int, first: int) -> int:
    """Give the turn that does `first` and then `second`."""
    mirrors = (second >= 4) != (first >= 4)
    quarters = second % 4 + (-(first % 4) if second >= 4 else first % 4)
    return quarters % 4 + 4 * mirrors
