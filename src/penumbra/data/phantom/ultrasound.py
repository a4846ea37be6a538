"""Ultrasound-like phantoms: a nerve-like oval in speckle, its rim missing in places."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import ndtr

from penumbra.data.phantom.field import (
    Array,
    Blob,
    Grid,
    either,
    random_blob,
    ridge,
    smooth_field,
    step_up,
)
from penumbra.data.phantom.latent import SHARPEST, Outline
from penumbra.data.phantom.scene import Scene, grey

_WIDEST = 0.045
_EMPTY = 0.15


def _tissue(grid: Grid, rng: np.random.Generator) -> Array:
    """Layered muscle: fine horizontal striation and a few bright fascia lines."""
    striation = smooth_field(rng, grid.size, (16.0, 2.5))
    patches = smooth_field(rng, grid.size, (4.0, 3.0))
    tissue = 0.42 + 0.07 * striation + 0.05 * patches
    for _ in range(int(rng.integers(3, 6))):
        depth, slope = rng.uniform(0.1, 0.95), rng.uniform(-0.18, 0.18)
        wave = rng.uniform(0.005, 0.025) * np.sin(
            rng.uniform(4, 9) * grid.x + rng.uniform(0, 6.283)
        )
        line = grid.y - depth - slope * (grid.x - 0.5) - wave
        tissue = tissue + rng.uniform(0.12, 0.3) * ridge(line, width=rng.uniform(0.006, 0.014))
    skin = ridge(grid.y - 0.02, width=0.02) + 0.5 * ridge(grid.y - 0.075, width=0.008)
    return np.asarray(tissue + 0.35 * skin)


def _vessel(grid: Grid, tissue: Array, rng: np.random.Generator, avoid: Blob) -> Array:
    """Paint an echo-free vessel beside the nerve: dark, round, brighter below."""
    side = -1.0 if avoid.centre[1] > 0.5 else 1.0
    centre = (
        float(np.clip(avoid.centre[0] + rng.uniform(-0.05, 0.12), 0.2, 0.85)),
        avoid.centre[1] + side * (avoid.radii[1] + rng.uniform(0.14, 0.2)),
    )
    radius = rng.uniform(0.05, 0.085)
    distance = Blob(centre=centre, radii=(radius, radius * 1.2)).distance(grid)
    lumen = step_up(distance, width=0.008)
    below = ridge(grid.x - centre[1], width=radius * 0.7) * step_up(
        grid.y - centre[0] - radius, width=0.02
    )
    wall = ridge(distance, width=0.007)
    return np.asarray((tissue + 0.07 * below) * (1 - lumen) + 0.1 * lumen + 0.14 * wall)


def _shadow(grid: Grid, rng: np.random.Generator, nerve: Blob) -> Array:
    """Weight (H, W) of an acoustic shadow that crosses one flank of the nerve."""
    flank = rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.1) * nerve.radii[1]
    centre = nerve.centre[1] + flank + rng.uniform(-0.12, 0.12) * grid.y
    half = rng.uniform(0.02, 0.055) + 0.05 * grid.y
    across = step_up(half - np.abs(grid.x - centre), width=0.028)
    return np.asarray(across * step_up(grid.y - rng.uniform(0.1, 0.25), width=0.03))


def _speckle(size: int, rng: np.random.Generator) -> Array:
    """Log-compressed Rayleigh speckle, wider across than along the beam, mean about 0."""
    scale = size / 128
    parts = rng.standard_normal((2, size, size)).astype(np.float32)
    real, imaginary = (
        cv2.GaussianBlur(part, (0, 0), sigmaX=0.95 * scale, sigmaY=0.6 * scale) for part in parts
    )
    envelope = np.hypot(real, imaginary).astype(np.float64)
    return np.asarray(np.log(envelope / envelope.mean() + 0.1))


def _nerve_texture(grid: Grid, rng: np.random.Generator) -> Array:
    """Dark fascicles in a brighter web."""
    web = smooth_field(rng, grid.size, 22.0)
    return np.asarray(0.27 + 0.055 * np.abs(web))


def ultrasound_scene(size: int, anatomy: np.random.Generator, frame: np.random.Generator) -> Scene:
    """Make one ultrasound-like image and its outline.

    Args:
        size: pixels per side.
        anatomy: draws what the frames of one patient share.
        frame: draws what differs from frame to frame.
    """
    grid = Grid.of(size)
    tissue = _tissue(grid, anatomy)
    centre = anatomy.uniform((0.38, 0.36), (0.62, 0.64)) + frame.uniform(-0.04, 0.04, 2)
    radii = anatomy.uniform((0.10, 0.17), (0.16, 0.26)) * frame.uniform(0.92, 1.08)
    nerve = random_blob(
        anatomy,
        centre=(float(centre[0]), float(centre[1])),
        radii=(float(radii[0]), float(radii[1])),
        turn=float(anatomy.uniform(-0.35, 0.35) + frame.uniform(-0.1, 0.1)),
        roughness=0.14,
    )
    tissue = _vessel(grid, tissue, anatomy, nerve)
    shadow = _shadow(grid, frame, nerve) * float(frame.uniform() < 0.7)
    faded = ndtr(3.0 * (smooth_field(frame, size, 3.0) - 0.35))
    outline = Outline.nothing(size)
    signal = tissue
    if frame.uniform() >= _EMPTY:
        doubt = either(shadow, faded)
        distance = nerve.distance(grid)
        spread = SHARPEST + (_WIDEST - SHARPEST) * doubt
        outline = Outline(distance, spread, np.ones((size, size), bool))
        inside = outline.probability()
        rim = ridge(distance - 0.004, width=0.009) * (1 - doubt) ** 2
        signal = tissue * (1 - inside) + _nerve_texture(grid, frame) * inside + 0.3 * rim
    depth = 1.06 - frame.uniform(0.2, 0.42) * grid.y
    lit = signal * depth * (1 - 0.72 * shadow)
    return Scene(image=grey(lit + 0.085 * _speckle(size, frame) * (0.45 + lit)), outline=outline)
