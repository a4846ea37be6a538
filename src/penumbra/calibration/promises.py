"""What predictions promise, from validation predictions: area intervals, and flags."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.calibration.held_out import in_turns
from penumbra.data.sample import IGNORE
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.inference.areas import AreaCase, area_case
from penumbra.inference.calibration import Calibration
from penumbra.inference.flags import fit_flag
from penumbra.inference.intervals import fit_area, interval_notes
from penumbra.inference.predictor import Predictor
from penumbra.progress import Progress, silent

MOST_IMAGES = 256
"""Validation images that are predicted at most, evenly over groups."""

LEVEL = 0.9


def with_promises(
    run: Path,
    source: Source,
    calibration: Calibration,
    *,
    seed: int = 0,
    most_images: int = MOST_IMAGES,
    progress: Progress = silent,
    **predictor_options: Any,
) -> Calibration:
    """Predict held-out images by the calibration's sampler, and fit intervals and flags on them.

    Args:
        run: the run folder.
        source: held-out samples; those without a mask, or that cannot be read, are left out.
        calibration: of the run.
        seed: of the passes, and of which images are taken where there are more.
        most_images: at most so many.
        progress: wraps the images.
        predictor_options: those of `Predictor`.

    Returns:
        The calibration with `area` and `flag`, and with ``notes`` in its record where an interval
        cannot be bounded.

    Raises:
        SourceError: no sample could be used.
    """
    predictor = Predictor.load(run, calibration=calibration, **predictor_options)
    rng = np.random.default_rng([seed, 6])
    order = in_turns([record.group for record in source.records], rng)[:most_images]
    first = 1 if source.has_background else 0
    cases: list[AreaCase] = []
    scores, dice = [], []
    for index in progress(sorted(order), total=len(order), what="predicting"):
        try:
            sample = source[index]
        except (ImageFileError, SourceError):
            continue
        if sample.mask is None or not (sample.mask != IGNORE).any():
            continue
        (found,) = predictor([sample.image], seed=seed)
        cases.append(area_case(found.probabilities, sample.mask, group=sample.group))
        scores.append(dict(found.scores))
        dice.append(mean_dice(found.mask, sample.mask, first=first, n_classes=source.n_classes))
    if not cases:
        raise SourceError(
            expected(f"the samples of {source.name}", "images with masks", "none that can be used",
                     "another --split")
        )  # fmt: skip
    fitted_for = {"sampler": str(predictor.sampler)}
    area = fit_area(cases, level=LEVEL, class_names=source.class_names)
    area = area.model_copy(update=fitted_for)
    flag = fit_flag(scores, dice, [case.group for case in cases]).model_copy(update=fitted_for)
    notes = [*calibration.record.get("notes", []), *interval_notes(area)]
    return calibration.model_copy(
        update={"area": area, "flag": flag, "record": calibration.record | {"notes": notes}}
    )


def mean_dice(
    mask: NDArray[np.uint8], truth: NDArray[np.uint8], *, first: int, n_classes: int
) -> float:
    """Compute the mean Dice 2|A ∩ B| / (|A| + |B|) over classes; 1 for nothing over nothing.

    Args:
        mask: (H, W) predicted class indices.
        truth: (H, W); pixels of 255 are ignored.
        first: 1 where class 0 is the background, which does not count, else 0.
        n_classes: C.

    Examples:
        >>> mask = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> truth = np.array([[0, 1, 1, 255]], dtype=np.uint8)
        >>> mean_dice(mask, truth, first=1, n_classes=2)
        1.0
    """
    known = truth != IGNORE
    found = []
    for index in range(first, n_classes):
        a, b = (mask == index) & known, (truth == index) & known
        both = int(a.sum()) + int(b.sum())
        found.append(2 * int((a & b).sum()) / both if both else 1.0)
    return float(np.mean(found)) if found else math.nan
