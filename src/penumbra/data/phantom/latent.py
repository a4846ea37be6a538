"""The latent outline of a phantom: a distribution over masks whose marginals are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from penumbra.data.phantom.field import Array, smooth_field

SHARPEST = 0.003
"""Standard deviation of the outline where the image shows it clearly, in units of the side."""


@dataclass(frozen=True)
class Outline:
    """A random outline: a mask is {x : d(x) + s(x)·ξ(x) > 0} within a known region.

    d is the signed distance to the mean outline (positive inside), s > 0 how far the outline
    wanders there (large where the image is blurred, shadowed or faded), and ξ a smooth Gaussian
    field of unit variance. So the probability that pixel x is foreground is exactly Φ(d(x)/s(x)).

    Attributes:
        distance: (H, W) d, in units of the side.
        spread: (H, W) s, in units of the side.
        within: (H, W) bool, where the object can be at all.
        knots: how many times ξ bends along a side.
    """

    distance: Array
    spread: Array
    within: NDArray[np.bool_]
    knots: float = 6.0

    @classmethod
    def nothing(cls, size: int) -> Outline:
        """Make the outline of an image that holds no object: every mask is empty."""
        flat = np.ones((size, size))
        return cls(distance=-flat, spread=flat * SHARPEST, within=np.zeros((size, size), bool))

    def probability(self) -> Array:
        """Compute the probability (H, W) in [0, 1] that each pixel is foreground."""
        return np.asarray(ndtr(self.distance / self.spread) * self.within)

    def draw(self, rng: np.random.Generator, *, bias: float = 0.0) -> NDArray[np.uint8]:
        """Draw one mask (H, W) of 0 and 1.

        Args:
            rng: where the draw comes from.
            bias: how much larger (or, negative, smaller) than the mean this reader draws, in
                units of the local spread: where the outline is clear, readers agree.
        """
        wander = smooth_field(rng, self.distance.shape[0], self.knots)
        inside = self.distance + self.spread * (wander + bias) > 0
        return (inside & self.within).astype(np.uint8)
