"""Areas of classes as a network expects them, and the scales of their errors.

The area is A = Σ_x p_c(x), the expected one under the mean probabilities. The scale is
s = Σ_x p_c(x)(1 − p_c(x)) + 0.001 · H · W. Were pixels independent, the error of A would grow as
the square root of the first term. They are not: an outline drawn too wide is too wide all around,
so that the error grows with the whole area in doubt. The second term keeps the scale above 0
where the network doubts nothing; as it is a share of the image, intervals are the same share of
the image at any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected

FLOOR = 0.001
"""The part of the scale that does not depend on doubt, as a share of the image."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class AreaEstimate:
    """What an interval is made of; sums of these over images are the estimate of a volume.

    Attributes:
        area: (C − 1,) Σ p_c of the foreground classes, in pixels.
        scale: (C − 1,) above 0, in pixels.
        pixels: how many there are: no area is larger.
    """

    area: Doubles
    scale: Doubles
    pixels: int

    def __add__(self, other: AreaEstimate) -> AreaEstimate:
        """Add another image's: areas add up, and so do scales, as if errors went together."""
        return AreaEstimate(
            self.area + other.area, self.scale + other.scale, self.pixels + other.pixels
        )


@dataclass(frozen=True)
class AreaCase:
    """One validation image.

    Attributes:
        group: which images are not independent of it.
        estimate: over the pixels that are not ignored.
        truth: (C − 1,) pixels of the foreground classes.
    """

    group: str
    estimate: AreaEstimate
    truth: Doubles


def area_estimate(
    probabilities: NDArray[np.float32], where: NDArray[np.bool_] | None = None
) -> AreaEstimate:
    """Estimate the areas of the foreground classes and the scales of their errors.

    Args:
        probabilities: (C, H, W) mean probabilities, C ≥ 2.
        where: (H, W) pixels that count; by default all.

    Examples:
        >>> found = area_estimate(np.full((2, 10, 10), 0.5, dtype=np.float32))
        >>> found.area.tolist(), found.scale.round(3).tolist(), found.pixels
        ([50.0], [25.1], 100)
    """
    p = probabilities[1:].reshape(len(probabilities) - 1, -1).astype(np.float64)
    if where is not None:
        p = p[:, where.ravel()]
    pixels = p.shape[1]
    return AreaEstimate(p.sum(axis=1), (p * (1 - p)).sum(axis=1) + FLOOR * max(1, pixels), pixels)


def area_case(
    probabilities: NDArray[np.float32], truth: NDArray[np.uint8], *, group: str
) -> AreaCase:
    """Make a validation case.

    Args:
        probabilities: (C, H, W) mean probabilities.
        truth: (H, W) class indices; pixels of 255 are ignored on both sides.
        group: the image's group.
    """
    if truth.shape != probabilities.shape[1:]:
        raise SettingsError(
            expected("the truth", f"of shape {probabilities.shape[1:]}", truth.shape,
                     "the mask of the same image")
        )  # fmt: skip
    counts = np.bincount(truth.ravel(), minlength=IGNORE + 1)[1 : len(probabilities)]
    known = truth != IGNORE
    return AreaCase(
        group,
        area_estimate(probabilities, None if known.all() else known),
        counts.astype(np.float64),
    )
