"""Which images a report shows."""

from __future__ import annotations

import math

from penumbra.evaluation.evaluation import Evaluation, ImageMean
from penumbra.evaluation.report.data import Role


def images_to_show(evaluation: Evaluation, *, worst: int = 10) -> list[tuple[ImageMean, Role]]:
    """Choose the best, the median and the worst images by Dice.

    Args:
        evaluation: what was found.
        worst: how many of the worst, the worst first.

    Returns:
        The best, the median, then the worst. No image comes twice, so that few images give fewer
        rows; images whose Dice is undefined are left out. An image without foreground is never
        the best while there is one with, and among the worst only where something was found in
        it: a perfect score for nothing shows nothing.
    """
    known = [image for image in evaluation.sorted_by("dice") if not math.isnan(image.dice)]
    filled = {row.id for row in evaluation.per_image if row.scored and row.area_truth}
    chosen: dict[str, tuple[ImageMean, Role]] = {}
    if known:
        best = next((image for image in reversed(known) if image.id in filled), known[-1])
        chosen[best.id] = (best, "best")
    if len(known) > 2:
        middle = known[(len(known) - 1) // 2]
        chosen.setdefault(middle.id, (middle, "median"))
    for image in known[:worst]:
        if image.dice == 1 and image.id not in filled:
            continue
        chosen.setdefault(image.id, (image, "worst"))
    return list(chosen.values())
