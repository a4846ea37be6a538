"""Smooth random fields and shapes on the unit square, the material of every phantom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square image in units of its side.

    Attributes:
        size: pixels per side.
        y: (size, 1) row coordinate in (0, 1), downwards.
        x: (1, size) column coordinate in (0, 1), to the right.
    """

    size: int
    y: Array
    x: Array

    @classmethod
    def of(cls, size: int) -> Grid:
        """Make the grid of a `size` × `size` image."""
        centres = (np.arange(size) + 0.5) / size
        return cls(size=size, y=centres[:, None], x=centres[None, :])


def _basis(size: int, knots: float) -> Array:
    """Give (size, n) Gaussian bumps whose squares sum to one in every row."""
    step = 1.0 / knots
    centres = np.arange(-2 * step, 1 + 2.5 * step, step)
    at = (np.arange(size) + 0.5) / size
    bumps = np.exp(-0.5 * ((at[:, None] - centres[None, :]) / (0.7 * step)) ** 2)
    return np.asarray(bumps / np.sqrt((bumps**2).sum(axis=1, keepdims=True)))


def smooth_field(
    rng: np.random.Generator, size: int, knots: float | tuple[float, float] = 6.0
) -> Array:
    """Draw a smooth Gaussian field ξ with mean 0 and variance exactly 1 at every pixel.

    ξ = B_y Z B_xᵀ with independent standard normal Z and rows of unit length in both bases, hence
    Var ξ(y, x) = Σ_i B_y(y, i)² · Σ_j B_x(x, j)² = 1, with no estimate in between. That exactness
    is what lets a phantom know its foreground probability in closed form.

    Args:
        rng: where the draw comes from.
        size: pixels per side.
        knots: bumps per side, for rows and columns or as a pair; the field varies over about
            1/knots of the side.

    Returns:
        (size, size) float64.

    Examples:
        >>> field = smooth_field(np.random.default_rng(0), 32, 4.0)
        >>> field.shape
        (32, 32)
    """
    rows, columns = knots if isinstance(knots, tuple) else (knots, knots)
    along_y, along_x = _basis(size, rows), _basis(size, columns)
    weights = rng.standard_normal((along_y.shape[1], along_x.shape[1]))
    return np.asarray(along_y @ weights @ along_x.T)


@dataclass(frozen=True)
class Blob:
    """A rounded shape: an ellipse whose radius is bent by a few harmonics of the angle.

    Attributes:
        centre: (y, x) in units of the side.
        radii: half axes (along y, along x) before turning, in units of the side.
        turn: angle in radians.
        harmonics: rows (order, relative size, phase).
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    turn: float = 0.0
    harmonics: tuple[tuple[int, float, float], ...] = ()

    def distance(self, grid: Grid) -> Array:
        """Compute the signed distance to the outline, to first order, in units of the side.

        With the level function F = ρ/h(θ) − 1, where ρ is the elliptic radius, the distance is
        −F/|∇F|: exact on the outline, positive inside.
        """
        down, right = grid.y - self.centre[0], grid.x - self.centre[1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        v = (down * cos - right * sin) / self.radii[0]
        u = (down * sin + right * cos) / self.radii[1]
        angle = np.arctan2(v, u)
        bent = np.ones_like(angle)
        for order, relative, phase in self.harmonics:
            bent = bent + relative * np.cos(order * angle + phase)
        level = np.hypot(u, v) / bent - 1.0
        slope_y, slope_x = np.gradient(level, 1.0 / grid.size)
        slope = np.hypot(slope_y, slope_x)
        # At the centre the slope depends on the direction it is approached from; a mean slope
        # there keeps creases out of the probability.
        depth = np.clip(-level, 0.0, 1.0)
        slope = (1 - depth) * np.maximum(slope, 0.5 / max(self.radii)) + depth / np.mean(self.radii)
        return np.asarray(-level / slope)


def random_blob(
    rng: np.random.Generator,
    *,
    centre: tuple[float, float],
    radii: tuple[float, float],
    turn: float = 0.0,
    roughness: float = 0.1,
) -> Blob:
    """Make a blob with harmonics 2 to 4, weaker towards the higher ones."""
    harmonics = tuple(
        (order, roughness * float(rng.uniform(-1, 1)) / (order - 1), float(rng.uniform(0, 6.283)))
        for order in (2, 3, 4)
    )
    return Blob(centre=centre, radii=radii, turn=turn, harmonics=harmonics)


def step_up(at: Array, *, width: float) -> Array:
    """Rise smoothly from 0 to 1 around `at` = 0, over about `width`."""
    return np.asarray(0.5 + 0.5 * np.tanh(at / width))


def ridge(at: Array, *, width: float) -> Array:
    """Give a bell of height 1 at `at` = 0 with standard deviation `width`."""
    return np.asarray(np.exp(-0.5 * (at / width) ** 2))


def either(*weights: Array) -> Array:
    """Join weights in [0, 1] as if they were independent chances: 1 − Π (1 − w)."""
    rest = np.ones_like(weights[0])
    for weight in weights:
        rest = rest * (1.0 - weight)
    return np.asarray(1.0 - rest)
