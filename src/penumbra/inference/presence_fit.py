"""Choose the presence rule on validation images, by the score of the nerve challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected
from penumbra.inference.presence import PresenceRule, PresenceScore, parts_of

Floats = NDArray[np.float64]

_FOLDS = 5
_MOST_SIZES = 32
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Outlined:
    """What the choice needs of one image; no pixel is kept.

    Attributes:
        group: its group.
        sizes: (N,) pixels of each connected part of the predicted foreground.
        counted: (N,) those of them that the truth does not ignore.
        shared: (N,) those that are foreground in the truth.
        truth: foreground pixels of the truth.
        pixels: of the image.
        probability: that the image shows something, by the presence head.
    """

    group: str
    sizes: NDArray[np.int64]
    counted: NDArray[np.int64]
    shared: NDArray[np.int64]
    truth: int
    pixels: int
    probability: float | None = None

    @classmethod
    def of(
        cls,
        mask: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        *,
        group: str,
        probability: float | None = None,
    ) -> Outlined:
        """Count the parts of a predicted mask (H, W) against the truth, 255 = ignore."""
        numbers, sizes = parts_of(mask)
        n = len(sizes) + 1
        valid, there = truth != IGNORE, (truth > 0) & (truth != IGNORE)
        counted = np.bincount(numbers[valid], minlength=n)[1:]
        shared = np.bincount(numbers[there], minlength=n)[1:]
        return cls(group, sizes, counted, shared, int(there.sum()), mask.size, probability)

    def dice(self, smallest: float) -> float:
        """Give the challenge's Dice once parts below a share of the image are gone."""
        kept = self.sizes >= smallest * self.pixels
        predicted, shared = int(self.counted[kept].sum()), int(self.shared[kept].sum())
        total = predicted + self.truth
        return 2.0 * shared / total if total else 1.0

    def score(self, kind: PresenceScore, smallest: float) -> float:
        """Give what is held against the threshold."""
        if kind == "head":
            return math.nan if self.probability is None else self.probability
        return float(self.sizes[self.sizes >= smallest * self.pixels].sum() / self.pixels)


def fit_presence(images: Sequence[Outlined]) -> PresenceRule:
    """Choose threshold and smallest part so that the mean Dice of the challenge is highest.

    Every threshold between two scores is tried with every size of a part (at most 32 quantiles of
    those that were seen). Of equally good rules the one that changes least is taken. Whether it is
    kept is judged on groups left out of the choice, one fold of groups at a time: a rule that does
    not raise the Dice there is dropped, and nothing is changed.

    Args:
        images: of the validation split. The score is the presence head's where every image has one,
            else the area of the mask.

    Raises:
        SettingsError: there is no image.

    Examples:
        >>> def seen(group, predicted, there):
        ...     row = np.arange(20)[None]
        ...     truth, mask = row < there, row < predicted
        ...     return Outlined.of(mask.astype(np.uint8), truth.astype(np.uint8), group=group)
        >>> images = [seen(str(k), *(9, 10) if k % 2 else (2, 0)) for k in range(12)]
        >>> rule = fit_presence(images)
        >>> rule.does_nothing, rule.record["dice_before"], rule.record["dice_after"]
        (False, 0.473684, 0.973684)
    """
    if not images:
        raise SettingsError(
            expected("the validation images", "at least one", "none", "a larger split")
        )
    known = all(image.probability is not None for image in images)
    kind: PresenceScore = "head" if known else "area"
    before = _mean(images, 0.0, -math.inf, kind)
    held_out = _held_out(images, kind)
    threshold, smallest = _best(images, kind)
    kept = held_out is None or held_out > before + _ROUNDING
    if not kept:
        threshold = smallest = 0.0
    record = {
        "n_images": len(images),
        "n_empty": sum(image.truth == 0 for image in images),
        "n_groups": len({image.group for image in images}),
        "dice_before": round(before, 6),
        "dice_after": round(_mean(images, smallest, threshold, kind), 6),
        "dice_on_groups_left_out": None if held_out is None else round(held_out, 6),
        "kept": kept,
    }
    return PresenceRule(score=kind, threshold=threshold, smallest=smallest, record=record)


def _mean(
    images: Sequence[Outlined], smallest: float, threshold: float, kind: PresenceScore
) -> float:
    return float(
        np.mean(
            [
                float(image.truth == 0)
                if image.score(kind, smallest) < threshold
                else image.dice(smallest)
                for image in images
            ]
        )
    )


def _sizes(images: Sequence[Outlined]) -> list[float]:
    """Give the sizes to try: nothing, and just above parts that were seen."""
    shares = np.unique(np.concatenate([image.sizes / image.pixels for image in images]))
    if len(shares) > _MOST_SIZES:
        shares = np.unique(np.quantile(shares, np.linspace(0, 1, _MOST_SIZES)))
    # Between a part and the next larger one; above the largest there would be no mask at all.
    return [0.0, *((shares[:-1] + shares[1:]) / 2).tolist()]


def _best(images: Sequence[Outlined], kind: PresenceScore) -> tuple[float, float]:
    """Give (threshold, smallest) of the highest mean Dice."""
    absent = np.array([float(image.truth == 0) for image in images])
    best, chosen = -math.inf, (0.0, 0.0)
    for smallest in _sizes(images):
        scores = np.array([image.score(kind, smallest) for image in images])
        dice = np.array([image.dice(smallest) for image in images])
        value, threshold = _best_threshold(scores, dice, absent)
        if value > best + _ROUNDING:
            best, chosen = value, (threshold, smallest)
    return chosen


def _best_threshold(scores: Floats, dice: Floats, absent: Floats) -> tuple[float, float]:
    """Give the highest mean over images and the lowest threshold that reaches it."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    # Total when the first k images are emptied, k = 0 … N.
    emptied = np.concatenate([[0.0], np.cumsum(absent[order])])
    left = np.concatenate([np.cumsum(dice[order][::-1])[::-1], [0.0]])
    totals = emptied + left
    # Equal scores cannot be told apart.
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    totals[~possible] = -math.inf
    k = int(np.flatnonzero(totals >= totals.max() - _ROUNDING)[0])
    mean = float(totals[k] / len(scores))
    if k == 0:
        return mean, 0.0
    if k == len(scores):
        return mean, float(np.nextafter(ranked[-1], math.inf))
    return mean, float((ranked[k - 1] + ranked[k]) / 2)


def _held_out(images: Sequence[Outlined], kind: PresenceScore) -> float | None:
    """Give the mean Dice of images whose groups had no say; ``None`` where there is one group."""
    groups = sorted({image.group for image in images})
    if len(groups) < 2:
        return None
    total = 0.0
    for fold in range(min(_FOLDS, len(groups))):
        out = set(groups[fold :: min(_FOLDS, len(groups))])
        others = [image for image in images if image.group not in out]
        mine = [image for image in images if image.group in out]
        threshold, smallest = _best(others, kind)
        total += len(mine) * _mean(mine, smallest, threshold, kind)
    return total / len(images)
