"""Were the worst images the ones that somebody was asked to look at?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penumbra.evaluation.report.scores import ImageScore
from penumbra.pages.words import count, number, percent

WORST_SHARE = 0.2


def worst_of(scores: Sequence[ImageScore], share: float = WORST_SHARE) -> list[ImageScore]:
    """Give the share ⌈share · n⌉ of images with the lowest score, and those that tie with them.

    Args:
        scores: lowest first, at least one.
        share: in (0, 1].
    """
    limit = scores[math.ceil(share * len(scores)) - 1].value
    return [score for score in scores if score.value <= limit]


def sentence(scores: Sequence[ImageScore], flags: Mapping[str, bool], name: str) -> str:
    r"""Say how many of the worst fifth were flagged, and how many by chance would be.

    Args:
        scores: one per image, lowest first.
        flags: image → whether it was flagged.
        name: of the score, such as ``"Dice"``.

    Returns:
        The sentence; empty where no flag is known.

    Examples:
        >>> scores = [ImageScore(f"{k}", "g", k / 10) for k in range(10)]
        >>> says = sentence(scores, {f"{k}": k in (0, 5) for k in range(10)}, "Dice")
        >>> print(says.replace("\u202f", " "))
        Of the 2 images with the lowest Dice (a fifth), 1 was flagged. Of all 10 images, 2 were (20 %); flags set by chance would find 0.4.
    """  # noqa: E501 - a doctest's line
    known = [score for score in scores if score.id in flags]
    if not known:
        return ""
    worst = worst_of(known)
    caught = sum(flags[score.id] for score in worst)
    every = sum(flags[score.id] for score in known)
    share = every / len(known)
    were = "was" if caught == 1 else "were"
    images = "image" if len(worst) == 1 else f"{len(worst)} images"
    tied = " and its ties" if len(worst) > math.ceil(WORST_SHARE * len(known)) else ""
    return (
        f"Of the {images} with the lowest {name} (a fifth{tied}), {caught} {were} "
        "flagged. "
        f"Of all {count(len(known), 'image')}, {every} {'was' if every == 1 else 'were'} "
        f"({percent(share)}); flags set by chance would find "
        f"{number(share * len(worst), digits=1)}."
    )
