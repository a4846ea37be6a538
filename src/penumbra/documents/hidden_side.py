"""The fourth side of a card that the frame cuts off, from the other three and the card's ratio."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penumbra.documents.lines import Line, find_lines, fit_line
from penumbra.documents.outline import Area
from penumbra.documents.quad import Judge, Quad, is_convex, outward_lines, refined, shown_share

_OPEN = np.deg2rad(0.5)

FOCAL = 1.0
"""Focal length of a telephone's camera in units of its frame's longer side."""


def quads_of_three(found: Sequence[Line], size: tuple[int, ...], ratio: float) -> list[Quad]:
    """Build the quads of which three sides are lines and the fourth lies outside the frame.

    Two opposite sides meet in a vanishing point, which gives their direction in space; the side
    between them is at a right angle to it. So the plane of the card is known up to its distance,
    and its ratio says where it ends: that the middle side is the longer one must be ruled out, or
    that it is the shorter one, by the fourth side's being in the frame.

    Args:
        found: lines, their normals pointing outwards.
        size: (height, width) of the photograph.
        ratio: longer side of the card over its shorter one.

    Returns:
        Quads, clockwise on a screen; none where the fourth side would be in the frame, for there
        it would have been seen.
    """
    quads = []
    for three in itertools.combinations(found, 3):
        for middle in range(3):
            before, after = three[middle - 2], three[middle - 1]
            either = [
                _complete(before, three[middle], after, size, length)
                for length in (ratio, 1 / ratio)
            ]
            fitting = [quad for quad in either if quad is not None and _fits(quad, size)]
            # Where the middle side may be the longer or the shorter one, guessing would be wrong
            # as often as not.
            quads += fitting if len(fitting) == 1 else []
    return quads


def find_cut_quad(area: Area, ratio: float) -> Quad | None:
    """Fit a card of which the frame cuts off one whole side; ``None`` where no three sides fit."""
    size = area.inside.shape
    judge = Judge(area)
    best = _best(judge, quads_of_three(outward_lines(area, find_lines(area.outline)), size, ratio))
    for _ in range(2):
        if best is None:
            return None
        moved = refined(area, best)
        if moved is None:
            return None
        # The three sides that are seen are fitted anew, and the fourth follows from them.
        middle = moved.mean(axis=0)
        sides = [
            fit_line(moved[[side, (side + 1) % 4]], scale=1.0).turned_from(middle)
            for side in range(4)
            if shown_share(best, side, size) > 0
        ]
        best = _best(judge, quads_of_three(sides, size, ratio))
    return best


def placement_doubt(quad: Quad, assumed: int, size: tuple[int, ...], ratio: float) -> float:
    """Compute how far a side outside the frame moves when the one opposite turns by half a degree.

    The card's tilt is read off the angles at the side that is seen. Where that side passes near
    the middle of the frame they hardly depend on the tilt, and half a degree, which is what a good
    mask leaves open, sends the far corners anywhere.

    Args:
        quad: (4, 2) corners, clockwise on a screen.
        assumed: number of the side outside the frame; side k runs from corner k to corner k + 1.
        size: (height, width) of the photograph.
        ratio: longer side of the card over its shorter one.

    Returns:
        The farther of both corners' ways over the quad's diagonal, the larger of both turns, in
        [0, 1]; 1 also where no card is left.
    """
    before, middle, after = (
        np.roll(quad, -side, axis=0)[:2] for side in ((assumed + k) % 4 for k in (1, 2, 3))
    )
    inside = quad.mean(axis=0)
    sides = [fit_line(ends, scale=1.0).turned_from(inside) for ends in (before, after)]
    far = quad[[assumed, (assumed + 1) % 4]]
    worst = 0.0
    for angle in (-_OPEN, _OPEN):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = middle.mean(axis=0)
        turned = fit_line((middle - centre) @ turn.T + centre, scale=1.0).turned_from(inside)
        made = [_complete(sides[0], turned, sides[1], size, k) for k in (ratio, 1 / ratio)]
        ways = [_way(far, each) for each in made if each is not None]
        worst = max(worst, min(ways, default=np.inf))
    return min(worst / float(np.hypot(*(quad[2] - quad[0]))), 1.0)


def _way(far: NDArray[np.float64], quad: Quad) -> float:
    """Give the farther of two corners' ways to the nearest corners of a quad."""
    return float(np.hypot(*np.moveaxis(far[:, None] - quad, -1, 0)).min(axis=1).max())


def _best(judge: Judge, quads: Sequence[Quad]) -> Quad | None:
    best = max(quads, key=judge, default=None)
    return best if best is not None and judge(best) > 0 else None


def _fits(quad: Quad, size: tuple[int, ...]) -> bool:
    shown = [shown_share(quad, side, size) for side in range(4)]
    return is_convex(quad) and shown.count(0.0) == 1


def _complete(
    before: Line, middle: Line, after: Line, size: tuple[int, ...], length: float
) -> Quad | None:
    """Go `length` times the middle side along the other two, in space."""
    scale = max(size) * FOCAL
    centre = np.array([size[1], size[0]]) / 2
    planes = [
        np.array([*line.normal, (line.normal @ centre - line.offset) / scale])
        for line in (before, middle, after)
    ]
    along = np.cross(planes[0], planes[2])
    down = np.cross(planes[1], along)
    start, end = np.cross(planes[0], planes[1]), np.cross(planes[1], planes[2])
    card = np.cross(along, down)
    depths = (start[2], end[2], card @ end, np.linalg.norm(along), np.linalg.norm(down))
    if min(map(abs, depths)) < 1e-9:
        return None
    start = start / start[2]
    end = end * (card @ start) / (card @ end)
    step = along / np.linalg.norm(along) * length * np.linalg.norm(end - start)
    # Inwards is away from where the middle side's normal points.
    if _below(start + step, planes[1]) > _below(start, planes[1]):
        step = -step
    corners = np.array([start, end, end + step, start + step])
    if (corners[:, 2] <= 1e-3).any():
        return None
    quad: NDArray[np.float64] = corners[:, :2] / corners[:, 2:] * scale + centre
    return quad if is_convex(quad) else quad[::-1]


def _below(point: NDArray[np.float64], plane: NDArray[np.float64]) -> float:
    return float(point @ plane / point[2])
