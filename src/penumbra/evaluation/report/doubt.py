"""Does doubt find the errors?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.inference.prediction import Prediction, entropy

_BINS = 4096


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(_BINS, dtype=np.int64)


@dataclass(frozen=True)
class ErrorsByDoubt:
    """Counts of pixels and of errors by doubt; sums, so that parts merge exactly.

    Pixels are counted in 4096 even bins of predictive entropy as a share of its maximum ln C.

    Attributes:
        pixels: (4096,) pixels in each bin.
        errors: (4096,) pixels in each bin whose class is not the true one.

    Examples:
        >>> probabilities = np.array([[[0.9, 0.5]], [[0.1, 0.5]]], dtype=np.float32)
        >>> prediction = Prediction(probabilities, np.zeros((1, 2), np.uint8), {})
        >>> count = ErrorsByDoubt().update(prediction, np.array([[0, 1]], np.uint8))
        >>> count.errors_found(0.5)
        1.0
    """

    pixels: NDArray[np.int64] = field(default_factory=_no_counts)
    errors: NDArray[np.int64] = field(default_factory=_no_counts)

    def update(self, prediction: Prediction, truth: NDArray[np.uint8]) -> ErrorsByDoubt:
        """Give the counts with one more image; pixels that the truth ignores do not count.

        Args:
            prediction: what the segmenter says about the image.
            truth: (H, W) class indices, 255 = ignore.
        """
        doubt = prediction.uncertainty.get("entropy")
        if doubt is None:
            doubt = entropy(prediction.probabilities)
        counted = truth != IGNORE
        share = doubt[counted] / math.log(prediction.n_classes)
        bins = np.clip((share * _BINS).astype(np.int64), 0, _BINS - 1)
        wrong = (prediction.mask != truth)[counted]
        return ErrorsByDoubt(
            pixels=self.pixels + np.bincount(bins, minlength=_BINS),
            errors=self.errors + np.bincount(bins[wrong], minlength=_BINS),
        )

    def merge(self, other: ErrorsByDoubt) -> ErrorsByDoubt:
        """Give the counts of both."""
        return ErrorsByDoubt(self.pixels + other.pixels, self.errors + other.errors)

    def errors_found(self, share: float) -> float:
        """Give the share of all errors among the `share` of pixels most in doubt.

        Between bins the errors are taken to be spread evenly. NaN where there is no error.
        """
        pixels = np.concatenate([[0], np.cumsum(self.pixels[::-1])]).astype(np.float64)
        errors = np.concatenate([[0], np.cumsum(self.errors[::-1])]).astype(np.float64)
        if errors[-1] == 0:
            return math.nan
        return float(np.interp(share, pixels / pixels[-1], errors / errors[-1]))

    def rows(self) -> list[dict[str, float]]:
        """Give the curve as rows ``{"pixels", "errors"}`` of shares; empty where no error is."""
        if not self.errors.sum():
            return []
        shares = [0.0, *np.geomspace(0.001, 1.0, 61).tolist()]
        return [{"pixels": share, "errors": self.errors_found(share)} for share in shares]

    def risk_rows(self) -> list[dict[str, float]]:
        """Give risk by coverage as rows ``{"coverage", "risk"}``; empty where no error is.

        The risk is the share of errors among the `coverage` least doubtful pixels. Between bins
        the errors are taken to be spread evenly.
        """
        if not self.errors.sum():
            return []
        pixels = np.concatenate([[0], np.cumsum(self.pixels)]).astype(np.float64)
        errors = np.concatenate([[0], np.cumsum(self.errors)]).astype(np.float64)
        shares = np.linspace(0.0, 1.0, 101)[1:]
        wrong = np.interp(shares, pixels / pixels[-1], errors / pixels[-1])
        pairs = zip(shares.tolist(), (wrong / shares).tolist(), strict=True)
        return [{"coverage": share, "risk": risk} for share, risk in pairs]
