"""Two grey values apart: Otsu's threshold, and one that follows the surroundings."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Grey = NDArray[np.float32]
"""(H, W) in [0, 1], the foreground bright."""

_BINS = 256
_NORMAL = 1.702
"""σ(1.702 z) stays within 0.01 of the normal distribution function at every z."""
_LEAST_SPREAD = 1 / 256


class Modes(NamedTuple):
    """The two classes of grey that Otsu's threshold parts.

    Attributes:
        threshold: between them.
        low: mean of what is darker.
        high: mean of what is not.
        spread: pooled standard deviation within the classes, at least 1/256.
    """

    threshold: float
    low: float
    high: float
    spread: float


def modes(grey: Grey) -> Modes | None:
    """Part grey values in two classes of the largest variance between them (Otsu, 1979).

    Args:
        grey: (H, W) in [0, 1].

    Returns:
        The classes, or ``None`` where all values are alike.

    Examples:
        >>> found = modes(np.array([[0.1, 0.1, 0.9, 0.9]], dtype=np.float32))
        >>> round(found.low, 2), round(found.high, 2), 0.1 < found.threshold < 0.9
        (0.1, 0.9, True)
        >>> modes(np.full((2, 2), 0.5, dtype=np.float32)) is None
        True
    """
    low, high = float(grey.min()), float(grey.max())
    if high - low < 1e-6:
        return None
    counts, edges = np.histogram(grey, bins=_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    # The last bin is never alone below a threshold: that would leave nothing above it.
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = grey.size - below
    total = np.cumsum(counts * centres)
    between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    best = np.flatnonzero(between == between.max())
    # Between modes with nothing in the valley every threshold is as good; the middle is fair.
    threshold = float(edges[1:][best].mean())
    dark, bright = grey[grey < threshold], grey[grey >= threshold]
    variance = dark.var(dtype=np.float64) * dark.size + bright.var(dtype=np.float64) * bright.size
    spread = max(float(np.sqrt(variance / grey.size)), _LEAST_SPREAD)
    return Modes(threshold, float(dark.mean()), float(bright.mean()), spread)


def otsu(grey: Grey) -> Grey:
    """Compute p = σ((μ₁ − μ₀) (x − t) / s²) with Otsu's threshold t.

    That is how sure one may be of the class of a grey value where both classes are normal with
    the same spread s and means μ₀ < μ₁, and t is where they are equally likely. It knows nothing
    of neighbours, and nobody has calibrated it.

    Args:
        grey: (H, W) in [0, 1], not constant.

    Returns:
        (H, W) in [0, 1].
    """
    found = modes(grey)
    if found is None:
        return np.zeros_like(grey)
    slope = (found.high - found.low) / found.spread**2
    return np.asarray(expit(slope * (grey - found.threshold)), dtype=np.float32)


def adaptive(grey: Grey, *, block: int, offset: float) -> Grey:
    """Compute p = σ(1.702 (x − m − offset) / s) with mean m and spread s of the surroundings.

    About the share of a normal distribution as wide as the surroundings that is darker than the
    pixel: a rank among neighbours rather than a chance of being foreground. In flat surroundings
    s is held at 0.02.

    Args:
        grey: (H, W) in [0, 1].
        block: side of the surroundings in pixels; odd.
        offset: how much brighter than its surroundings the foreground is.

    Returns:
        (H, W) in [0, 1].
    """

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = cv2.boxFilter(
            values, -1, (block, block), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        return np.asarray(found, dtype=np.float64).reshape(values.shape)

    x = grey.astype(np.float64)
    # What is beyond the image is no surroundings: sums are divided by the pixels there are.
    count = summed(np.ones_like(x))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return summed(values) / count

    centre = mean(x)
    spread = np.sqrt(np.maximum(mean(x**2) - centre**2, 0.02**2))
    return np.asarray(expit(_NORMAL * (x - centre - offset) / spread), dtype=np.float32)
