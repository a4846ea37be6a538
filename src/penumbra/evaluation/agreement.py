"""Several readers of one image against several samples of a segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.inference.prediction import Prediction

Floats = NDArray[np.float64]

AGREEMENT = ("ged", "best_dice", "matched", "sample_diversity", "reader_diversity")
"""What is averaged over the images that several readers have seen."""

MATCH = 0.9
"""The Dice from which on a sample counts as what a reader drew."""

_PIXELS = 2**18


@dataclass(frozen=True)
class AgreementSums:
    """Sums over images; leading axes (…) may run over groups or resamples.

    Attributes:
        n: (…) images with several readers.
        total: (…, 5) sums of the `AGREEMENT` over them.
    """

    n: Floats
    total: Floats


def sample_masks(prediction: Prediction) -> NDArray[np.uint8]:
    """Give the masks (K, H, W) of a prediction's samples; its own mask where there are none.

    A sample's mask is its likeliest class.
    """
    if prediction.samples is None or len(prediction.samples) == 0:
        return prediction.mask[None]
    drawn: Iterable[NDArray[np.float32]] = prediction.samples
    return np.stack([sample.argmax(axis=0).astype(np.uint8) for sample in drawn])


def _overlaps(
    masks: NDArray[np.uint8], index: int, known: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Count the pixels of a class that each two of M masks share, (M, M), and each has, (M,)."""
    flat = masks.reshape(len(masks), -1)
    shared = np.zeros((len(masks), len(masks)))
    for start in range(0, len(known), _PIXELS):
        part = (flat[:, known[start : start + _PIXELS]] == index).astype(np.float32)
        shared += part @ part.T
    return shared, np.diagonal(shared).copy()


def pair_scores(masks: NDArray[np.uint8], *, scored: Sequence[int]) -> tuple[Floats, Floats]:
    """Compute IoU and Dice of each two of M masks, (M, M) each, averaged over classes.

    Pixels that any of the masks ignores (255) are left out of all. A class that neither of two
    masks holds counts 1.

    Args:
        masks: (M, H, W) class indices.
        scored: the classes that are averaged.

    Examples:
        >>> masks = np.array([[[1, 1, 0]], [[0, 1, 1]]], dtype=np.uint8)
        >>> iou, dice = pair_scores(masks, scored=[1])
        >>> round(float(iou[0, 1]), 3), float(dice[0, 1]), float(iou[0, 0])
        (0.333, 0.5, 1.0)
    """
    known = np.flatnonzero((masks != IGNORE).all(axis=0))
    iou, dice = (np.zeros((len(masks), len(masks))) for _ in range(2))
    for index in scored:
        shared, size = _overlaps(masks, index, known)
        both = size[:, None] + size[None]
        empty = both == 0
        iou += np.where(empty, 1.0, shared / np.where(empty, 1.0, both - shared))
        dice += np.where(empty, 1.0, 2 * shared / np.where(empty, 1.0, both))
    return iou / len(scored), dice / len(scored)


def tally_agreement(
    readers: NDArray[np.uint8] | None, samples: NDArray[np.uint8], *, scored: Sequence[int]
) -> AgreementSums:
    """Compare the samples of one image with its readers.

    - GED, the squared generalised energy distance with d = 1 − IoU:
      2·E d(S, Y) − E d(S, S′) − E d(Y, Y′), each a mean over all pairs, of the same one too; 0
      where samples and readers are distributed alike.
    - best Dice: mean over readers of the Dice of the sample that comes closest.
    - matched: share of readers that some sample matches with Dice ≥ 0.9.
    - sample and reader diversity: E d(S, S′) and E d(Y, Y′).

    A single mask has a GED too, so it is what samples must better.

    Args:
        readers: (R, H, W) class indices, 255 = ignore; with fewer than two nothing is counted.
        samples: (K, H, W) class indices.
        scored: the classes that IoU and Dice are averaged over.

    Source: S. A. A. Kohl et al., A probabilistic U-Net for segmentation of ambiguous images,
    NeurIPS 2018.

    Examples:
        >>> readers = np.array([[[1, 1, 0]], [[1, 0, 0]]], dtype=np.uint8)
        >>> alike = tally_agreement(readers, readers, scored=[1])
        >>> agreement_scores(alike).tolist()
        [0.0, 1.0, 1.0, 0.25, 0.25]
    """
    if readers is None or len(readers) < 2:
        return AgreementSums(np.zeros(()), np.zeros(len(AGREEMENT)))
    k = len(samples)
    iou, dice = pair_scores(np.concatenate([samples, readers]), scored=scored)
    across, within = 1.0 - iou[:k, k:].mean(), 1.0 - iou[:k, :k].mean()
    between = 1.0 - iou[k:, k:].mean()
    best = dice[:k, k:].max(axis=0)
    ged = 2 * across - within - between
    total = np.array([ged, best.mean(), (best >= MATCH).mean(), within, between])
    return AgreementSums(np.ones(()), total)


def agreement_scores(sums: AgreementSums) -> Floats:
    """Compute the means over images, (…, 5) in the order of `AGREEMENT`."""
    n = np.broadcast_to(np.asarray(sums.n)[..., None], sums.total.shape)
    return np.asarray(np.divide(sums.total, n, out=np.full(sums.total.shape, np.nan), where=n > 0))
