"""Conflicting masks of one and the same image, averaged to one soft mask.

A soft mask is a binary mask in which some pixels hold a code instead of a class: 2 … 254 stand for
the foreground probability (code − 2) / 252. No mask of two classes holds such values otherwise, and
flips, turns and shifts move codes as they move classes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected
from penumbra.training.batches import WorkingSet
from penumbra.training.losses import SOFT_FIRST, SOFT_STEPS


def averaged(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average binary masks to one soft mask.

    Args:
        masks: (R, H, W) of 0, 1 and 255 = ignore. An ignored pixel is no vote; where all ignore it,
            it stays ignored.

    Returns:
        (H, W) uint8: 0 and 1 where the votes agree, a code where they do not. The code is exact for
        R = 2, 3, 4, 6, 7 and 9, and within 1/504 otherwise.

    Examples:
        >>> averaged(np.array([[[0, 1, 1, 255]], [[0, 1, 0, 255]]], dtype=np.uint8)).tolist()
        [[0, 1, 128, 255]]
    """
    votes = masks != IGNORE
    n = votes.sum(axis=0)
    share = ((masks == 1) & votes).sum(axis=0) / np.maximum(n, 1)
    coded = np.rint(share * SOFT_STEPS) + SOFT_FIRST
    soft = np.where((share == 0) | (share == 1), share, coded)
    return np.where(n == 0, IGNORE, soft).astype(np.uint8)


def soften(samples: WorkingSet, *, n_classes: int) -> int:
    """Give training samples whose images are equal, pixel for pixel, the mean of their masks.

    Every copy keeps its place and its weight; only the masks change, and only where they conflict.

    Args:
        samples: changed in place.
        n_classes: of the source, background included.

    Returns:
        How many groups of conflicting copies were averaged.

    Raises:
        SettingsError: there are more than two classes.
    """
    if n_classes != 2:
        raise SettingsError(
            expected("training.soft_duplicates", "off for more than two classes", n_classes,
                     "`penumbra audit apply --policy majority`")
        )  # fmt: skip
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index in range(len(samples)):
        pixels = np.ascontiguousarray(samples[index].image.pixels)
        digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
        digest.update(pixels.tobytes())
        alike[digest.digest()].append(index)
    groups = 0
    for indices in alike.values():
        masks = [samples[index].mask for index in indices]
        if all(np.array_equal(masks[0], mask) for mask in masks[1:]):
            continue
        groups += 1
        soft = averaged(np.stack(masks))
        samples.masks.update(dict.fromkeys(indices, soft))
    return groups
