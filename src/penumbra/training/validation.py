"""How good a network is on the validation split while it trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.training.batches import WorkingSet


@dataclass(frozen=True)
class Validation:
    """What one look at the validation split gave.

    Attributes:
        dice: mean over images of the mean Dice over scored classes; 1 where truth and prediction
            are both empty, 0 where only one is.
        nll: mean −ln p(true class) over all pixels that are not ignored.
    """

    dice: float
    nll: float


def validate(
    predictor: Predictor, samples: WorkingSet, *, has_background: bool, most: int = 64
) -> Validation:
    """Score a predictor on at most `most` samples, evenly spaced, at the working resolution."""
    count = min(most, len(samples))
    chosen = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))
    dice: list[float] = []
    surprise, pixels = 0.0, 0
    for index in chosen:
        sample = samples[int(index)]
        prediction = predictor([sample.image.pixels])[0]
        valid = sample.mask != IGNORE
        dice.append(_image_dice(prediction, sample.mask, valid, has_background=has_background))
        classes = np.where(valid, sample.mask, 0)[None]
        p = np.take_along_axis(prediction.probabilities, classes.astype(np.int64), axis=0)[0]
        surprise -= float(np.log(np.clip(p[valid], 1e-7, 1.0)).sum(dtype=np.float64))
        pixels += int(valid.sum())
    return Validation(dice=float(np.mean(dice)), nll=surprise / max(1, pixels))


def _image_dice(
    prediction: Prediction,
    mask: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    *,
    has_background: bool,
) -> float:
    n = prediction.n_classes
    pairs = mask[valid].astype(np.int64) * n + prediction.mask[valid]
    table = np.bincount(pairs, minlength=n * n).reshape(n, n)
    both = np.diag(table)
    sizes = table.sum(axis=0) + table.sum(axis=1)
    scores = np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)
    return float(scores[1 if has_background else 0 :].mean())
