"""Is anything there at all? The rule of the nerve challenge, and what was said per presence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.bootstrap import RESAMPLES, bootstrap, interval
from penumbra.evaluation.evaluation import ImageRow

Floats = NDArray[np.float64]

PRESENCE = ("dice", "dice_present", "dice_found", "sensitivity", "specificity", "accuracy")
"""What `presence_scores` gives, in this order."""


def challenge_dice(area_truth: Floats, area_predicted: Floats, dice: Floats) -> Floats:
    """Give the Dice of the challenge: 1 where truth and prediction are both empty.

    Args:
        area_truth: (N,) pixels of the class.
        area_predicted: (N,) pixels predicted as the class.
        dice: (N,) Dice under any policy for nothing over nothing.

    Returns:
        (N,) in [0, 1]; 0 where only one of the two is empty.

    Examples:
        >>> challenge_dice(np.array([0.0, 0, 8]), np.array([0.0, 1, 8]),
        ...                np.array([np.nan, 0, 0.75])).tolist()
        [1.0, 0.0, 0.75]
    """
    nothing = (area_truth == 0) & (area_predicted == 0)
    one_sided = (area_truth == 0) != (area_predicted == 0)
    return np.asarray(np.where(nothing, 1.0, np.where(one_sided, 0.0, dice)), dtype=np.float64)


def tally(
    area_truth: Floats, area_predicted: Floats, dice: Floats, group: NDArray[np.intp], n_groups: int
) -> Floats:
    """Sum images by group: hits, misses, false alarms, correct rejections, Dice, Dice of hits.

    Args:
        area_truth: (N,) pixels of the class.
        area_predicted: (N,) pixels predicted as the class.
        dice: (N,) of the challenge.
        group: (N,) index of each image's group.
        n_groups: G.

    Returns:
        (G, 6); sums of groups, and of parts of groups, add up.
    """
    there, found = area_truth > 0, area_predicted > 0
    columns = [there & found, there & ~found, ~there & found, ~there & ~found]
    values = [*(column.astype(np.float64) for column in columns), dice, dice * (there & found)]
    return np.stack([np.bincount(group, v, minlength=n_groups) for v in values], axis=1)


def presence_scores(sums: Floats) -> Floats:
    """Compute the scores from the sums of `tally`.

    - ``dice``: mean over images of the challenge's Dice;
    - ``dice_present``: the same over images that show the class (a miss counts 0);
    - ``dice_found``: the same over those where it was found;
    - ``sensitivity``: hits / images that show it; ``specificity``: correct rejections / images that
      do not, which is also their mean Dice; ``accuracy``: both together / images.

    Args:
        sums: (…, 6).

    Returns:
        (…, 6) in the order of `PRESENCE`, each in [0, 1]; not a number where no image counts.
    """
    hit, missed, alarm, rejected, dice, of_hits = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    there, absent = hit + missed, alarm + rejected
    parts = [
        (dice, there + absent),
        (of_hits, there),
        (of_hits, hit),
        (hit, there),
        (rejected, absent),
        (hit + rejected, there + absent),
    ]
    return np.stack(
        [np.where(n > 0, value / np.where(n > 0, n, 1.0), np.nan) for value, n in parts], axis=-1
    )


def presence_section(
    rows: Sequence[ImageRow],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Give the confusion table per presence and its scores, for each scored class.

    Args:
        rows: one per image and class.
        groups: names of the groups, which are resampled.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        class name → ``table`` (of ``truth_present`` and ``truth_absent`` each, how many images were
        ``predicted_present`` and ``predicted_absent``), ``n_images``, and the `PRESENCE` scores
        with their 95 % intervals over groups.
    """
    place = {name: index for index, name in enumerate(groups)}
    section: dict[str, Any] = {}
    for name in dict.fromkeys(row.class_name for row in rows if row.scored):
        mine = [row for row in rows if row.class_name == name]
        truth = np.array([row.area_truth for row in mine], dtype=np.float64)
        predicted = np.array([row.area_predicted for row in mine], dtype=np.float64)
        dice = challenge_dice(truth, predicted, np.array([row.dice for row in mine]))
        group = np.array([place[row.group] for row in mine], dtype=np.intp)
        section[name] = _of_class(
            tally(truth, predicted, dice, group, len(groups)), resamples=resamples, seed=seed
        )
    return section


def _of_class(sums: Floats, *, resamples: int, seed: int) -> Mapping[str, Any]:
    value, low, high = bootstrap(
        lambda weights: presence_scores(weights @ sums),
        n_groups=len(sums),
        resamples=resamples,
        seed=seed,
    )
    hit, missed, alarm, rejected = (int(n) for n in sums.sum(axis=0)[:4])
    return {
        "n_images": hit + missed + alarm + rejected,
        "table": {
            "truth_present": {"predicted_present": hit, "predicted_absent": missed},
            "truth_absent": {"predicted_present": alarm, "predicted_absent": rejected},
        },
        **{name: interval(value[i], low[i], high[i]) for i, name in enumerate(PRESENCE)},
    }
