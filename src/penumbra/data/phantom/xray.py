"""Chest-X-ray-like phantoms: an opacity whose margin fades into the lung."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import ndtr

from penumbra.data.phantom.field import Array, Blob, Grid, random_blob, ridge, smooth_field, step_up
from penumbra.data.phantom.latent import SHARPEST, Outline
from penumbra.data.phantom.scene import Scene, grey

_WIDEST = 0.045
_EMPTY = 0.15


def _lungs(grid: Grid, anatomy: np.random.Generator) -> tuple[Array, Array]:
    """Signed distances (2, H, W) to both lungs, and the heart's weight (H, W)."""
    middle = 0.5 + anatomy.uniform(-0.02, 0.02)
    height, width = anatomy.uniform(0.30, 0.36), anatomy.uniform(0.145, 0.175)
    lungs = []
    for side in (-1.0, 1.0):
        lung = random_blob(
            anatomy,
            centre=(0.47, middle + side * anatomy.uniform(0.205, 0.225)),
            radii=(height, width),
            turn=side * anatomy.uniform(0.08, 0.16),
            roughness=0.07,
        )
        dome = grid.y - anatomy.uniform(0.74, 0.79) - 2.2 * (grid.x - lung.centre[1]) ** 2
        lungs.append(np.minimum(lung.distance(grid), -dome))
    heart = Blob(
        centre=(0.66, middle + 0.065),
        radii=(anatomy.uniform(0.12, 0.14), anatomy.uniform(0.16, 0.2)),
        turn=-0.6,
        harmonics=((3, 0.06, 1.0),),
    )
    covered = step_up(heart.distance(grid), width=0.02)
    lungs[1] = np.minimum(lungs[1], -heart.distance(grid))
    return np.stack(lungs), covered


def _bones(grid: Grid, anatomy: np.random.Generator) -> Array:
    """Ribs, collar bones and spine as added density (H, W)."""
    off = grid.x - 0.5
    bones = 0.16 * ridge(off, width=0.035) * (1 + 0.15 * np.sin(grid.y * anatomy.uniform(70, 85)))
    start, gap = anatomy.uniform(0.1, 0.15), anatomy.uniform(0.082, 0.095)
    for rib in range(9):
        back = grid.y - start - gap * rib - 1.1 * off**2 + 0.05 * ridge(off, width=0.1)
        front = grid.y - start - gap * rib - 0.22 + 0.5 * np.abs(off)
        bones = bones + 0.07 * ridge(back, width=0.013) + 0.03 * ridge(front, width=0.011)
    collar = grid.y - anatomy.uniform(0.13, 0.17) + 0.2 * np.abs(off) + 0.02 * np.sin(12 * off)
    return np.asarray(bones + 0.11 * ridge(collar, width=0.015))


def _vessels(size: int, anatomy: np.random.Generator, frame: np.random.Generator) -> Array:
    """Fine branching marks: the zero lines of a smooth field look like vessels."""
    branches = ridge(smooth_field(anatomy, size, 14.0), width=0.12)
    return np.asarray(0.045 * branches + 0.012 * smooth_field(frame, size, 30.0))


def _opacity(grid: Grid, lungs: Array, frame: np.random.Generator) -> Outline:
    """An opacity in one lung, sometimes with a second focus; clear only in places."""
    side = int(frame.integers(2))
    weight = np.clip(lungs[side] - 0.03, 0, None).ravel()
    foci = []
    for _ in range(1 + int(frame.uniform() < 0.35)):
        row, column = np.divmod(int(frame.choice(weight.size, p=weight / weight.sum())), grid.size)
        radii = frame.uniform(0.09, 0.16, 2)
        focus = random_blob(
            frame,
            centre=((row + 0.5) / grid.size, (column + 0.5) / grid.size),
            radii=(float(radii[0]), float(radii[1])),
            turn=float(frame.uniform(0, 3.14)),
            roughness=0.2,
        )
        foci.append(focus.distance(grid))
    soft = ndtr(2.2 * (smooth_field(frame, grid.size, 3.0) + 0.2))
    spread = 2.5 * SHARPEST + (_WIDEST - 2.5 * SHARPEST) * soft
    # A soft maximum joins two foci without a crease between them.
    distance = 0.03 * np.logaddexp.reduce(np.stack(foci) / 0.03, axis=0)
    return Outline(distance, spread, lungs[side] > 0, knots=8.0)


def xray_scene(size: int, anatomy: np.random.Generator, frame: np.random.Generator) -> Scene:
    """Make one chest-X-ray-like image and the outline of its opacity.

    Args:
        size: pixels per side.
        anatomy: draws what the images of one patient share.
        frame: draws what differs from image to image.
    """
    grid = Grid.of(size)
    lungs, heart = _lungs(grid, anatomy)
    air = step_up(lungs.max(axis=0), width=0.009)
    body = random_blob(anatomy, centre=(0.62, 0.5), radii=(0.68, 0.56), roughness=0.03)
    torso = step_up(body.distance(grid), width=0.02)
    density = 0.08 + torso * (0.58 + 0.05 * smooth_field(anatomy, size, 2.0))
    density = density - 0.40 * air * torso + 0.06 * heart
    density = density + torso * _bones(grid, anatomy) + air * _vessels(size, anatomy, frame)
    outline = Outline.nothing(size)
    if frame.uniform() >= _EMPTY:
        outline = _opacity(grid, lungs, frame)
        mottled = 1 + 0.16 * smooth_field(frame, size, 16.0)
        density = density + frame.uniform(0.2, 0.32) * outline.probability() * mottled
    sharp = cv2.GaussianBlur(density, (0, 0), sigmaX=0.5 * size / 128)
    gain = frame.uniform(0.92, 1.1)
    noise = 0.016 * frame.standard_normal((size, size))
    return Scene(image=grey(sharp * gain + frame.uniform(-0.03, 0.03) + noise), outline=outline)
