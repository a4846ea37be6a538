"""Flags: which images ask to be looked at, by a threshold on doubt from validation images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penumbra.errors import SettingsError, expected
from penumbra.inference.calibration import Flag
from penumbra.inference.scores import choose_score

_ROUNDING = 1e-9


def fit_flag(
    scores: Sequence[Mapping[str, float]],
    dice: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    share: float = 0.2,
) -> Flag:
    """Choose the score of `choose_score`, and the threshold that flags a share of these images.

    Args:
        scores: of each validation image, see `penumbra.inference.scores.image_scores`.
        dice: of each validation image.
        groups: of each validation image; by default every image is its own.
        share: of the validation images that may be above the threshold, rounded down. Images of
            equal doubt are never parted, so that fewer may be flagged.

    Raises:
        SettingsError: the share is not between 0 and 1, or `choose_score` refuses.
    """
    if not 0 < share < 1:
        raise SettingsError(expected("`share`", "between 0 and 1", share, "0.2"))
    name, _ = choose_score(scores, dice, groups)
    values = sorted(
        (one[name] for one in scores if math.isfinite(one.get(name, math.nan))), reverse=True
    )
    return Flag(score=name, threshold=values[int(share * len(values) + _ROUNDING)], share=share)


def is_flagged(scores: Mapping[str, float], flag: Flag) -> bool | None:
    """Tell whether somebody should look at an image: its score is above the threshold.

    Returns:
        ``None`` where the score is not there, as disagreement is not for a single pass.

    Examples:
        >>> flag = Flag(score="soft_dice", threshold=0.2)
        >>> is_flagged({"soft_dice": 0.3}, flag), is_flagged({"soft_dice": 0.2}, flag)
        (True, False)
    """
    value = scores.get(flag.score, math.nan)
    return None if math.isnan(value) else value > flag.threshold
