"""How far a labelled mask is doubted by probabilities that never saw it: the formulas.

With p_i(c) the probability of class c at pixel i, y_i the labelled class and ŷ_i = argmax p_i:

- **self-confidence** of a pixel, p_i(y_i): C. G. Northcutt, L. Jiang, I. L. Chuang, Confident
  learning: estimating uncertainty in dataset labels, Journal of Artificial Intelligence Research
  70, 2021, doi:10.1613/jair.1.12125.
- **softmin** of an image, Σ_i w_i p_i(y_i) with w_i ∝ exp((1 − p_i(y_i)) / τ), τ = 0.1: V. Lad,
  J. Mueller, Estimating label quality and errors in semantic segmentation data via any model,
  arXiv:2307.05080, 2023.
- **confident**: a component is sure of its own class c where its mean p(c) is at least the
  threshold t_c, the mean of p(c) over all pixels labelled c, again after Northcutt et al.

Over a whole image these are about the background, which fills it. The score here is about what the
label or the network calls foreground (in sets without a background, about all):

    score = 1 − mean over i with y_i ≠ 0 or ŷ_i ≠ 0 of p_i(y_i)

pulled towards 0 by `SHRINK` of the image's pixels as if they were rightly labelled, so that a few
doubtful pixels on an empty image do not outrank a wrong object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE

SHRINK = 1 / 1000
"""Share of the image's pixels that count as rightly labelled beforehand."""

LEAST = 1 / 4000
"""Share of the image's pixels below which a component is not listed."""

_SOFT = 0.1


@dataclass(frozen=True)
class ImageScores:
    """How far the label of an image is doubted.

    Attributes:
        score: label-error score in [0, 1], higher is more suspicious; see the module.
        self_confidence: mean p(labelled class) over all pixels, in [0, 1].
        softmin: of the pixels' self-confidence, in [0, 1].
        disagree: share of pixels whose label is not the predicted class.
    """

    score: float
    self_confidence: float
    softmin: float
    disagree: float


@dataclass(frozen=True)
class ComponentScores:
    """A connected component (8 neighbours) of pixels of one label and another predicted class.

    Attributes:
        labelled: the class that the label has there.
        predicted: the class that the network has there.
        pixels: its area.
        box: xyxy in pixels, the far edges exclusive.
        score: 1 − mean p(labelled class), in [0, 1], higher is more suspicious.
        probability: mean p(predicted class).
    """

    labelled: int
    predicted: int
    pixels: int
    box: tuple[int, int, int, int]
    score: float
    probability: float


def score_image(
    probabilities: NDArray[np.float32], mask: NDArray[np.uint8], *, has_background: bool = True
) -> ImageScores:
    """Score the label of one image.

    Args:
        probabilities: (C, H, W), summing to 1 over C, of a network that never saw the label.
        mask: (H, W) labelled classes, 255 = ignore; such pixels do not count.
        has_background: whether class 0 is background.

    Examples:
        >>> p = np.array([[[0.9, 0.1]], [[0.1, 0.9]]], dtype=np.float32)
        >>> right = score_image(p, np.array([[0, 1]], dtype=np.uint8))
        >>> wrong = score_image(p, np.array([[0, 0]], dtype=np.uint8))
        >>> round(right.score, 2), round(wrong.score, 2), round(wrong.self_confidence, 2)
        (0.1, 0.9, 0.5)
    """
    counted = mask != IGNORE
    if not counted.any():
        return ImageScores(0.0, 1.0, 1.0, 0.0)
    own, label = self_confidence(probabilities, mask)[counted], mask[counted]
    predicted = probabilities.argmax(axis=0)[counted]
    doubt = 1.0 - own
    weight = np.exp((doubt - doubt.max()) / _SOFT)
    spoken = (label != 0) | (predicted != 0) if has_background else np.ones(label.shape, bool)
    return ImageScores(
        score=float(doubt[spoken].sum() / (spoken.sum() + SHRINK * doubt.size)),
        self_confidence=float(own.mean()),
        softmin=float((own * weight).sum() / weight.sum()),
        disagree=float((label != predicted).mean()),
    )


def self_confidence(
    probabilities: NDArray[np.float32], mask: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Give p(labelled class) at every pixel, (H, W); 1 where the label is ignore."""
    known = np.where(mask == IGNORE, 0, mask).astype(np.intp)
    own = np.take_along_axis(probabilities, known[None], axis=0)[0].astype(np.float64)
    return np.where(mask == IGNORE, 1.0, own)


def score_components(
    probabilities: NDArray[np.float32], mask: NDArray[np.uint8]
) -> tuple[ComponentScores, ...]:
    """Score each connected component in which label and prediction differ.

    Components of fewer than `LEAST` of the image's pixels are left out: every outline has some.

    Args:
        probabilities: (C, H, W), summing to 1 over C, of a network that never saw the label.
        mask: (H, W) labelled classes, 255 = ignore.

    Returns:
        The components, by area times score, the most suspicious first.
    """
    predicted = probabilities.argmax(axis=0).astype(np.uint8)
    differs = (mask != predicted) & (mask != IGNORE)
    found = [
        each
        for labelled in np.unique(mask[differs])
        for other in np.unique(predicted[differs & (mask == labelled)])
        for each in _of_classes(probabilities, mask, predicted, (int(labelled), int(other)))
    ]
    return tuple(sorted(found, key=lambda each: (-each.score * each.pixels, each.box)))


def _of_classes(
    probabilities: NDArray[np.float32],
    mask: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    classes: tuple[int, int],
) -> Iterator[ComponentScores]:
    labelled, other = classes
    where = ((mask == labelled) & (predicted == other)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(where, connectivity=8)
    flat = parts.ravel()
    areas = np.maximum(np.bincount(flat, minlength=count), 1)
    own = np.bincount(flat, weights=probabilities[labelled].ravel(), minlength=count) / areas
    theirs = np.bincount(flat, weights=probabilities[other].ravel(), minlength=count) / areas
    for index in range(1, count):
        left, top, width, height, pixels = (int(value) for value in stats[index])
        if pixels >= LEAST * mask.size:
            yield ComponentScores(
                labelled=labelled,
                predicted=other,
                pixels=pixels,
                box=(left, top, left + width, top + height),
                score=float(1.0 - own[index]),
                probability=float(theirs[index]),
            )
