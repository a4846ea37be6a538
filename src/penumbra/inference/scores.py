"""Doubt about a whole image in one number, and which of the numbers to trust on a data set.

All scores are higher where there is more doubt. None is best everywhere: `choose_score` takes the
one that ranks the failures of the validation images best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected

PATCH = 16
"""Side in pixels of the patches of ``patch_maximum``."""

SCORES = (
    "soft_dice",
    "sample_disagreement",
    "mean_entropy",
    "boundary_entropy",
    "patch_maximum",
    "mean_mutual_information",
)
"""Names of the scores; the first is the one that needs no validation to be a fair choice."""

_FEWEST_GROUPS = 5

Floats = NDArray[np.float32]


def image_scores(
    probabilities: Floats,
    mask: NDArray[np.uint8],
    maps: Mapping[str, Floats],
    *,
    sample_dice: float | None = None,
) -> dict[str, float]:
    """Compute the scores of one image.

    ===========================  ==============================================================
    ``soft_dice``                1 − mean over foreground classes of 2 Σ p_c m_c / (Σ p_c + Σ m_c)
    ``sample_disagreement``      1 − `sample_dice`
    ``mean_entropy``             mean of the entropy, in nats
    ``boundary_entropy``         Σ entropy / max(length of the mask's boundary, 64): nats per pixel
                                 edge
    ``patch_maximum``            largest mean entropy of a 16×16 patch, in nats
    ``mean_mutual_information``  mean of the mutual information, in nats
    ===========================  ==============================================================

    **Classes without a pixel in the mask.** The quotient of ``soft_dice`` would call an empty mask
    utterly doubtful however sure the network is that nothing is there. Such a class counts with
    max_x p_c(x) in place of 1 − Dice: an empty mask is wrong when something is there after all,
    and pixels of one object come and go together. Nothing anywhere thus scores 0. A mask without
    a boundary, or with a shorter one than a 16×16 patch has, is divided by that patch's 64 edges.

    Args:
        probabilities: (C, H, W) mean probabilities, C ≥ 2.
        mask: (H, W) class indices.
        maps: (H, W) each; ``entropy``, and ``mutual_information`` where there were passes.
        sample_dice: mean Dice of the masks of single passes against `mask`, where there were
            passes; 1 where both are empty.

    Returns:
        A finite number by name, of those that can be computed.

    Raises:
        SettingsError: sizes do not fit, or the entropy is missing.

    Source: for soft Dice, patches and boundaries as aggregations of doubt: K. Kahl et al., ValUES:
    a framework for systematic validation of uncertainty estimation in semantic segmentation, ICLR
    2024; for the disagreement of samples: A. G. Roy et al., Bayesian QuickNAT, NeuroImage 195,
    2019.

    Examples:
        >>> p = np.full((2, 32, 32), 0.5, dtype=np.float32)
        >>> doubt = {"entropy": np.full((32, 32), math.log(2), dtype=np.float32)}
        >>> scores = image_scores(p, np.ones((32, 32), dtype=np.uint8), doubt)
        >>> {name: round(value, 3) for name, value in scores.items()}
        {'soft_dice': 0.333, 'mean_entropy': 0.693, 'boundary_entropy': 11.09,
         'patch_maximum': 0.693}
    """
    doubt = maps.get("entropy")
    if doubt is None or probabilities.shape[1:] != mask.shape or doubt.shape != mask.shape:
        got = f"{probabilities.shape}, {mask.shape} and {None if doubt is None else doubt.shape}"
        raise SettingsError(
            expected("probabilities, mask and entropy", "(C, H, W), (H, W) and (H, W)", got,
                     "those of one prediction")
        )  # fmt: skip
    scores = {"soft_dice": max(0.0, 1.0 - soft_dice(probabilities, mask))}
    if sample_dice is not None and math.isfinite(sample_dice):
        scores["sample_disagreement"] = max(0.0, 1.0 - float(sample_dice))
    total = float(doubt.sum(dtype=np.float64))
    scores["mean_entropy"] = total / doubt.size
    scores["boundary_entropy"] = total / max(boundary_length(mask), 4 * PATCH)
    scores["patch_maximum"] = _patch_maximum(doubt)
    if (disagreement := maps.get("mutual_information")) is not None:
        scores["mean_mutual_information"] = float(disagreement.mean(dtype=np.float64))
    return scores


def soft_dice(probabilities: Floats, mask: NDArray[np.uint8]) -> float:
    """Compute the Dice that probabilities lead one to hope for, averaged over foreground classes.

    Args:
        probabilities: (C, H, W), C ≥ 2.
        mask: (H, W) class indices.

    Returns:
        Mean over c ≥ 1 of 2 Σ p_c m_c / (Σ p_c + Σ m_c), in [0, 1]; of a class without a pixel in
        the mask 1 − max p_c.
    """
    n_classes = probabilities.shape[0]
    found = []
    for index in range(1, n_classes):
        plane, own = probabilities[index], mask == index
        area = int(own.sum())
        if area == 0:
            found.append(1.0 - float(plane.max(initial=0.0)))
            continue
        both = float(plane.sum(dtype=np.float64, where=own))
        found.append(2 * both / (float(plane.sum(dtype=np.float64)) + area))
    return float(np.mean(found))


def boundary_length(mask: NDArray[np.integer]) -> int:
    """Count the pixel edges between two classes; the frame of the image is no boundary.

    Examples:
        >>> boundary_length(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
        4
    """
    across = np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return int(across + np.count_nonzero(mask[1:] != mask[:-1]))


def _patch_maximum(doubt: Floats) -> float:
    """Give the largest mean over all whole patches; the whole side where it is shorter."""
    high, wide = min(PATCH, doubt.shape[0]), min(PATCH, doubt.shape[1])
    padded = np.pad(doubt.astype(np.float64), ((1, 0), (1, 0)))
    sums: NDArray[np.float64] = padded.cumsum(axis=0).cumsum(axis=1)
    patches = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    largest: float = np.max(patches).item()
    return float(largest / (high * wide)) if largest > 0 else 0.0


def aurc(doubt: Sequence[float], risk: Sequence[float]) -> float:
    """Compute the area under the risk–coverage curve.

    Images are taken in order of doubt, least first. AURC = 1/n Σ_i (mean risk of the first i).
    Images of equal doubt count with the mean over all their orders.

    Args:
        doubt: one finite number per image.
        risk: one number per image, such as 1 − Dice; lower is better.

    Returns:
        Between the least and the greatest risk; with an uninformative doubt the mean risk.

    Raises:
        SettingsError: there is no image, or lengths differ.

    Source: Y. Geifman, G. Uziel and R. El-Yaniv, Bias-reduced uncertainty estimation for deep
    neural classifiers, ICLR 2019.

    Examples:
        >>> round(aurc([0.1, 0.2, 0.3], [0.0, 0.0, 0.3]), 4), aurc([0.5, 0.5], [0.0, 1.0])
        (0.0333, 0.5)
    """
    if not len(doubt) or len(doubt) != len(risk):
        raise SettingsError(
            expected("doubt and risk", "of one length, at least 1", f"{len(doubt)} and {len(risk)}",
                     "one of each per image")
        )  # fmt: skip
    _, which, sizes = np.unique(np.asarray(doubt, float), return_inverse=True, return_counts=True)
    level = np.bincount(which, weights=np.asarray(risk, float)) / sizes
    sums = np.cumsum(np.repeat(level, sizes))
    return float(np.mean(sums / np.arange(1, len(risk) + 1)))


def choose_score(
    scores: Sequence[Mapping[str, float]],
    dice: Sequence[float],
    groups: Sequence[str] | None = None,
) -> tuple[str, dict[str, float]]:
    """Choose the score that ranks the failures of these images best.

    The lowest `aurc` with risk 1 − Dice wins, if it beats ``soft_dice`` by more than one standard
    error of the difference (jackknife, one group left out at a time). Otherwise, and with fewer
    than 5 groups, ``soft_dice`` stays: the lowest of several noisy numbers is low by luck as well.

    Args:
        scores: of each validation image; a score that some image lacks, or that is not finite
            there, cannot be chosen.
        dice: of each image; images where it is not a number are left out.
        groups: of each image; by default every image is its own.

    Returns:
        Name of the score, and the AURC by name of all that could be chosen, best first.

    Raises:
        SettingsError: lengths differ, no image has a Dice, or no score is there for all of them.

    Examples:
        >>> scores = [{"soft_dice": d, "mean_entropy": -d} for d in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
        >>> name, table = choose_score(scores, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
        >>> name, list(table)
        ('soft_dice', ['soft_dice', 'mean_entropy'])
    """
    names = [str(index) for index in range(len(dice))] if groups is None else list(groups)
    if not len(scores) == len(dice) == len(names):
        raise SettingsError(
            expected("scores, Dice and groups", "of one length",
                     f"{len(scores)}, {len(dice)} and {len(names)}", "one of each per image")
        )  # fmt: skip
    known = [index for index, value in enumerate(dice) if math.isfinite(value)]
    risk = np.array([1.0 - dice[index] for index in known])
    columns = {
        name: np.array([scores[index][name] for index in known])
        for name in SCORES
        if known and all(math.isfinite(scores[index].get(name, math.nan)) for index in known)
    }
    if not columns:
        raise SettingsError(
            expected("the validation images", "at least 1 with a Dice and a score",
                     f"{len(known)} with a Dice", "a validation split with masks")
        )  # fmt: skip
    table = {name: aurc(column.tolist(), risk.tolist()) for name, column in columns.items()}
    table = dict(sorted(table.items(), key=lambda item: item[1]))
    default, best = next(iter(columns)), next(iter(table))
    of = np.array([names[index] for index in known])
    margin = _jackknife_error(columns[default], columns[best], risk, of)
    return best if table[default] - table[best] > margin else default, table


def _jackknife_error(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    risk: NDArray[np.float64],
    groups: NDArray[np.str_],
) -> float:
    """Give the standard error of aurc(one) − aurc(other), infinite with too few groups."""
    distinct = np.unique(groups)
    if len(distinct) < _FEWEST_GROUPS:
        return math.inf
    left = []
    for group in distinct:
        stay = groups != group
        rest = risk[stay].tolist()
        left.append(aurc(one[stay].tolist(), rest) - aurc(other[stay].tolist(), rest))
    n = len(left)
    return math.sqrt((n - 1) * float(np.var(left)))
