"""Card-like phantoms: an identity card on a cluttered table, its edge partly out of sight."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import ndtr

from penumbra.data.phantom.card_face import card_face, table_top
from penumbra.data.phantom.field import Array, Grid, either, smooth_field, step_up
from penumbra.data.phantom.latent import SHARPEST, Outline
from penumbra.data.phantom.scene import Scene, grey

_WIDEST = 0.042
_ASPECT = 1.586  # ISO/IEC 7810 ID-1, the format of identity and bank cards
_ROUNDING = 0.02


def _corners(frame: np.random.Generator) -> Array:
    """Corners (4, 2) xy of the card in units of the side: TL, TR, BR, BL."""
    width = frame.uniform(0.58, 0.74)
    flat = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, width / 2 / _ASPECT)
    angle = frame.uniform(-0.5, 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = flat @ np.array([[cos, sin], [-sin, cos]])
    jitter = frame.uniform(-0.03, 0.03, (4, 2))
    return np.asarray(turned + jitter + 0.5 + frame.uniform(-0.06, 0.06, 2))


def _quad_distance(grid: Grid, corners: Array) -> Array:
    """Signed distance to a convex quadrilateral with rounded corners, positive inside.

    The distance to a smaller quadrilateral, plus what it was made smaller by: outside, points at
    one distance from a corner lie on an arc.
    """
    centre = corners.mean(axis=0)
    short = np.hypot(*(corners[0] - corners[3])) / 2
    inner = centre + (corners - centre) * (1 - _ROUNDING / short)
    nearest = np.full((grid.size, grid.size), np.inf)
    inside = np.ones((grid.size, grid.size), bool)
    for start, end in zip(inner, np.roll(inner, -1, axis=0), strict=True):
        edge, right, down = end - start, grid.x - start[0], grid.y - start[1]
        along = np.clip((right * edge[0] + down * edge[1]) / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.hypot(right - along * edge[0], down - along * edge[1]))
        inside &= edge[0] * down - edge[1] * right > 0
    return np.asarray(np.where(inside, nearest, -nearest) + _ROUNDING)


def _finger(grid: Grid, corners: Array, frame: np.random.Generator) -> Array:
    """Signed distance to a finger that reaches in over one edge of the card."""
    side = int(frame.integers(4))
    edge = corners[side], corners[(side + 1) % 4]
    where = frame.uniform(0.2, 0.8)
    on_edge = edge[0] * where + edge[1] * (1 - where)
    centre = corners.mean(axis=0)
    tip = on_edge + (centre - on_edge) * frame.uniform(0.12, 0.3)
    root = on_edge + (on_edge - centre) * 2.5 + frame.uniform(-0.15, 0.15, 2)
    axis = root - tip
    along = ((grid.x - tip[0]) * axis[0] + (grid.y - tip[1]) * axis[1]) / (axis @ axis)
    along = np.clip(along, 0, 1)
    gap = np.hypot(grid.x - tip[0] - along * axis[0], grid.y - tip[1] - along * axis[1])
    return np.asarray(frame.uniform(0.045, 0.065) - gap)


def _cast_shadow(grid: Grid, frame: np.random.Generator) -> Array:
    """Weight (H, W) of a soft shadow that falls in from one side."""
    angle, bend = frame.uniform(0, 6.283), smooth_field(frame, grid.size, 2.0)
    across = np.cos(angle) * (grid.x - 0.5) + np.sin(angle) * (grid.y - 0.5)
    return step_up(across - frame.uniform(0.14, 0.26) + 0.05 * bend, width=0.06)


def _paint_finger(image: Array, distance: Array, frame: np.random.Generator) -> Array:
    """Lay a shaded finger over the image (H, W, 3), with its contact shadow."""
    skin = frame.uniform(0.35, 0.95) * np.array([0.95, 0.74, 0.62])
    contact = 1 - 0.45 * step_up(distance + 0.02, width=0.02)
    shade = 0.55 + 0.45 * np.clip(distance / 0.05, 0, 1) ** 0.5
    cover = step_up(distance, width=0.006)[..., None]
    return np.asarray(image * contact[..., None] * (1 - cover) + shade[..., None] * skin * cover)


def card_scene(size: int, document: np.random.Generator, frame: np.random.Generator) -> Scene:
    """Make one photograph of a card-like document and the outline of the whole card.

    The mask is the card with its hidden parts: under a finger, in the shadow or out of focus the
    edge is a guess, and its spread is large.

    Args:
        size: pixels per side.
        document: draws what the photographs of one document share.
        frame: draws what differs from photograph to photograph.
    """
    grid = Grid.of(size)
    corners = _corners(frame)
    distance = _quad_distance(grid, corners)
    shadow = _cast_shadow(grid, frame) * float(frame.uniform() < 0.75)
    defocus = ndtr(2.5 * (smooth_field(frame, size, 2.0) - 0.7))
    finger = _finger(grid, corners, frame)
    covered = step_up(finger, width=0.01) * float(frame.uniform() < 0.6)
    spread = SHARPEST + (_WIDEST - SHARPEST) * either(0.8 * shadow, defocus, 0.7 * covered)
    outline = Outline(distance, spread, np.ones((size, size), bool))

    image = table_top(grid, document, frame)
    fall = step_up(_quad_distance(grid, corners + frame.uniform(-0.02, 0.02, 2)), width=0.02)
    image = image * (1 - 0.35 * fall[..., None])
    inside = outline.probability()[..., None]
    image = image * (1 - inside) + card_face(corners, size, document) * inside
    image = image * (1 - 0.78 * shadow[..., None])
    blurred = cv2.GaussianBlur(image, (0, 0), sigmaX=0.022 * size)
    image = image + (blurred - image) * defocus[..., None]
    if covered.any():
        image = _paint_finger(image, finger, frame)
    light = 0.95 + 0.12 * smooth_field(frame, size, 1.0)[..., None]
    noise = 0.012 * frame.standard_normal((size, size, 3))
    return Scene(image=grey(image * light + noise), outline=outline)
