"""Growing from what is sure: watershed, random walker, Chan–Vese, GrabCut."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from penumbra.errors import MissingExtraError, expected
from penumbra.inference.classical.thresholds import Grey, Modes, modes

_FEWEST = 16
"""Pixels of either side below which GrabCut has no colours to learn."""


def _segmentation(method: str) -> ModuleType:
    try:
        from skimage import segmentation  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError(
            expected(f"scikit-image for classical:{method}", "installed", "no such package",
                     "`pip install 'penumbra-segmentation[classical]'`")
        ) from error  # fmt: skip
    module: ModuleType = segmentation
    return module


def softened(mask: NDArray[np.bool_], width: float) -> Grey:
    """Compute p = σ(d / width), d being the signed distance to the mask's border in pixels.

    A hard mask has no probabilities. This says where a border could as well run a pixel or two
    away, and nothing about whether the object is there at all.

    Args:
        mask: (H, W).
        width: in pixels.

    Returns:
        (H, W) in [0, 1], at least ½ in the mask and below ½ outside.

    Examples:
        >>> [f"{p:.2f}" for p in softened(np.array([[False, True]]), 2.0)[0]]
        ['0.44', '0.56']
    """
    if mask.all() or not mask.any():
        return mask.astype(np.float32)
    # The border runs between pixels: half a pixel from the centres on either side of it.
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return np.asarray(expit(signed / width), dtype=np.float32)


def _seeds(grey: Grey, found: Modes) -> NDArray[np.int32]:
    """Mark 2 what is brighter than the bright mean, 1 what is darker than the dark mean."""
    marks = np.zeros(grey.shape, dtype=np.int32)
    marks[grey <= found.low] = 1
    marks[grey >= found.high] = 2
    # Rounding may leave a class that is all of one value without a seed.
    marks[grey == grey.min()] = 1
    marks[grey == grey.max()] = 2
    return marks


def watershed(grey: Grey, *, width: float) -> Grey:
    """Flood the gradient from seeds beyond the two means of Otsu's classes; soften the border.

    Args:
        grey: (H, W) in [0, 1].
        width: of the softened border in pixels, see `softened`.

    Returns:
        (H, W) in [0, 1].
    """
    found = modes(grey)
    if found is None:
        return np.zeros_like(grey)
    slopes = [
        cv2.Sobel(grey, cv2.CV_32F, *order, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    ]
    steepness = np.hypot(*slopes).reshape(grey.shape)
    labels = _segmentation("watershed").watershed(steepness, _seeds(grey, found))
    return softened(np.asarray(labels) == 2, width)


def walker(grey: Grey, *, beta: float) -> Grey:
    """Compute the chance that a random walk meets a seed of the foreground first (Grady, 2006).

    Steps are likelier between alike pixels, by exp(−β Δ²) with Δ in standard deviations. These
    are true probabilities, of walks: whether they are right about objects depends on the seeds,
    which lie beyond the two means of Otsu's classes and are taken to be certain.

    Args:
        grey: (H, W) in [0, 1].
        beta: how much a step up or down is avoided.

    Returns:
        (H, W) in [0, 1].
    """
    found = modes(grey)
    if found is None:
        return np.zeros_like(grey)
    marks = _seeds(grey, found)
    if (marks > 0).all():
        return np.asarray(marks == 2, dtype=np.float32)
    # The solver stops a little short, so that a chance may lie just outside [0, 1]: clipped below.
    chances = _segmentation("walker").random_walker(
        grey.astype(np.float64),
        marks,
        beta=beta,
        mode="cg_j",
        tol=1e-4,
        prob_tol=1.0,
        return_full_prob=True,
    )
    return np.asarray(np.clip(chances[1], 0, 1), dtype=np.float32)


def chan_vese(grey: Grey, *, iterations: int, smoothing: int, width: float) -> Grey:
    """Move the border of Otsu's mask until both sides are as even as can be; soften it.

    The morphological form of Chan and Vese's active contour (Márquez-Neila et al., 2014).

    Args:
        grey: (H, W) in [0, 1].
        iterations: steps of the border.
        smoothing: smoothings in each step.
        width: of the softened border in pixels, see `softened`.

    Returns:
        (H, W) in [0, 1].
    """
    found = modes(grey)
    if found is None:
        return np.zeros_like(grey)
    rows, columns = grey.shape
    # A gradient needs two pixels either way; an image one pixel wide gets its edge twice.
    padded = np.pad(grey, ((0, rows < 2), (0, columns < 2)), mode="edge")
    level = _segmentation("chan-vese").morphological_chan_vese(
        padded.astype(np.float64),
        num_iter=iterations,
        init_level_set=(padded >= found.threshold).astype(np.int8),
        smoothing=smoothing,
    )
    return softened(np.asarray(level)[:rows, :columns] > 0, width)


def grabcut(grey: Grey, colour: NDArray[np.uint8], *, iterations: int, width: float) -> Grey:
    """Cut between two mixtures of colours that start from Otsu's mask; soften the border.

    GrabCut (Rother et al., 2004) as OpenCV has it, with no rectangle drawn by anybody. Where
    either side has fewer than 16 pixels there are no colours to learn, and Otsu's mask stays.

    Args:
        grey: (H, W) in [0, 1], for the start.
        colour: (H, W, 3) for the cut.
        iterations: of mixture and cut.
        width: of the softened border in pixels, see `softened`.

    Returns:
        (H, W) in [0, 1].
    """
    found = modes(grey)
    if found is None:
        return np.zeros_like(grey)
    mask = grey >= found.threshold
    if min(int(mask.sum()), int((~mask).sum())) < _FEWEST:
        return softened(mask, width)
    marks = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    # OpenCV starts the mixtures from its own generator, which no argument can replace.
    cv2.setRNGSeed(0)
    ours, theirs = np.zeros((1, 65)), np.zeros((1, 65))
    nowhere = (0, 0, 1, 1)  # The mask counts; a rectangle has to be given all the same.
    cv2.grabCut(colour, marks, nowhere, ours, theirs, iterations, cv2.GC_INIT_WITH_MASK)
    return softened(np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)), width)
