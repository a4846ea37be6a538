"""What a segmenter says about one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """What a segmenter says about one image.

    Attributes:
        probabilities: (C, H, W) float32, C ≥ 2, summing to 1 over C at every pixel.
        mask: (H, W) uint8 class indices.
        uncertainty: maps (H, W) float32 by name; ``"entropy"`` is the predictive entropy
            −Σ_c p_c ln p_c in nats, between 0 and ln C.
        seed: the seed that any draw was made from.
        timings: seconds by stage.
        class_names: one name per class.
    """

    probabilities: NDArray[np.float32]
    mask: NDArray[np.uint8]
    uncertainty: Mapping[str, NDArray[np.float32]]
    seed: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return int(self.probabilities.shape[0])

    @property
    def foreground(self) -> NDArray[np.float32]:
        """Probability of anything but class 0, (H, W) float32."""
        return np.asarray(1.0 - self.probabilities[0], dtype=np.float32)


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the predictive entropy −Σ_c p_c ln p_c in nats.

    Args:
        probabilities: (C, H, W) in [0, 1], summing to 1 over C. Both terms of a binary problem
            count, so the maximum is ln 2 at p = ½.

    Returns:
        (H, W) float32 between 0 and ln C; 0 · ln 0 counts as 0.

    Examples:
        >>> half = np.full((2, 1, 1), 0.5, dtype=np.float32)
        >>> round(float(entropy(half)[0, 0]), 4)
        0.6931
    """
    p = np.asarray(probabilities, dtype=np.float32)
    safe = np.where(p > 0, p, 1.0)
    summed = -(p * np.log(safe)).sum(axis=0, dtype=np.float32)
    return np.asarray(np.maximum(summed, 0.0), dtype=np.float32)
