"""The baseline that a sceptic would name: the mean mask of the training images, everywhere.

Masks are scaled to a common square, averaged, thresholded where the training Dice is best, and
scaled to each test image. No pixel of any image is looked at. Run alone, it tests itself.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.source import Source

_SIDE = 256


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


def _common(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    resized = cv2.resize(mask.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.float32)


def _masks(source: Source) -> list[NDArray[np.bool_]]:
    # Index by index: a source decodes one sample at a time.
    found = (source[index].mask for index in range(len(source)))
    return [mask == 1 for mask in found if mask is not None]


def best_threshold(mean: NDArray[np.float32], masks: list[NDArray[np.float32]]) -> float:
    """Find the threshold of the mean mask with the best mean Dice on the masks given."""
    candidates = np.linspace(0.05, 0.95, 19)
    scores = [np.mean([_dice(mean >= t, mask >= 0.5) for mask in masks]) for t in candidates]
    return float(candidates[int(np.argmax(scores))])


def mean_mask_dice(train: Source, test: Source) -> dict[str, float]:
    """Give the Dice of the mean training mask for each test sample by id."""
    masks = [_common(mask) for mask in _masks(train)]
    mean = np.mean(masks, axis=0, dtype=np.float32)
    threshold = best_threshold(mean, masks)
    scores: dict[str, float] = {}
    for record, mask in zip(test.records, _masks(test), strict=True):
        height, width = mask.shape
        scaled = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
        scores[record.id] = _dice(scaled >= threshold, mask)
    return scores


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()
    square = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    square[64:192, 64:192] = 1
    found = best_threshold(square * 0.6, [square])
    if not (0.05 <= found <= 0.6 and _dice(square >= 0.5, square >= 0.5) == 1.0):
        raise SystemExit(1)
    print("the baseline finds a threshold below its mean mask:", found)
