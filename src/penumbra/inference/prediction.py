"""What a segmenter says about one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penumbra.inference.preprocess import probabilities_to_original


@dataclass(frozen=True)
class Samples:
    """What each pass said about an image, kept at the resolution that the network worked at.

    Attributes:
        planes: (K, C, h, w) float32.
        size: (H, W) of the image.

    Examples:
        >>> samples = Samples(np.full((3, 2, 4, 4), 0.5, dtype=np.float32), (8, 8))
        >>> len(samples), samples[0].shape
        (3, (2, 8, 8))
    """

    planes: NDArray[np.float32]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """Give the probabilities (C, H, W) of one pass at the image's size."""
        return probabilities_to_original(self.planes[index], self.size)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Prediction:
    """What a segmenter says about one image.

    Attributes:
        probabilities: (C, H, W) float32, C ≥ 2, summing to 1 over C at every pixel: the mean over
            the passes of the sampler.
        mask: (H, W) uint8 class indices; from the undisturbed pass where features are disturbed.
        uncertainty: maps (H, W) float32 by name; ``"entropy"`` is the predictive entropy
            −Σ_c p_c ln p_c in nats, between 0 and ln C. With two passes or more also
            ``"expected_entropy"``, ``"mutual_information"``, ``"variance"`` (summed over classes)
            and ``"standard_error"`` of the mean.
        seed: the seed that any draw was made from.
        timings: seconds by stage.
        class_names: one name per class.
        class_uncertainty: maps (C, H, W) float32 by name, such as ``"variance"``.
        sampler: which passes it was made of, as text.
        passes: how many.
        samples: what single passes said, where they were asked to be kept.
        areas: (K, C) float64, the sum of probabilities of each pass in pixels of the image, or
            ``None`` for a single pass.
        sample_dice: (K,) mean Dice over the foreground classes of each pass's mask against
            `mask`, or ``None`` for a single pass.
        scores: doubt about the whole image by name; higher is more doubt.
        area_intervals: class name → lowest, estimated and highest area in pixels, where the run
            was calibrated.
        flagged: whether somebody should look at this one, where the run was calibrated.
        presence: probability that the image shows anything, by the run's presence head: the
            highest of its tiles'. ``None`` without one.
        emptied: whether the run's presence rule emptied the mask, as nothing seemed to be there.
        mask_probabilities: (C, H, W) float32 that the mask is made of, where these are others
            than `probabilities`: those of the undisturbed pass.
        cut_at: the threshold, where the mask is class 1 exactly where `mask_probability` is at
            least this. ``None`` where no threshold alone gives the mask: the largest of several
            classes wins, or a presence rule has a say.
    """

    probabilities: NDArray[np.float32]
    mask: NDArray[np.uint8]
    uncertainty: Mapping[str, NDArray[np.float32]]
    seed: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    class_uncertainty: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    sampler: str = "deterministic"
    passes: int = 1
    samples: Samples | None = None
    areas: NDArray[np.float64] | None = None
    sample_dice: NDArray[np.float64] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    area_intervals: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    flagged: bool | None = None
    presence: float | None = None
    emptied: bool = False
    mask_probabilities: NDArray[np.float32] | None = None
    cut_at: float | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return int(self.probabilities.shape[0])

    @property
    def foreground(self) -> NDArray[np.float32]:
        """Probability of anything but class 0, (H, W) float32."""
        return np.asarray(1.0 - self.probabilities[0], dtype=np.float32)

    @property
    def mask_probability(self) -> NDArray[np.float32]:
        """Probability of the foreground that the mask is made of, (H, W) float32.

        Of two classes a view of the very numbers that are thresholded.

        Examples:
            >>> p = np.array([[[0.75]], [[0.25]]], dtype=np.float32)
            >>> Prediction(p, np.zeros((1, 1), np.uint8), {}).mask_probability.tolist()
            [[0.25]]
        """
        own = self.mask_probabilities
        planes = self.probabilities if own is None else own
        # 1 − p differs from the other plane in the last bit.
        return planes[1] if len(planes) == 2 else np.asarray(1.0 - planes[0], dtype=np.float32)


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
