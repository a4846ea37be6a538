"""What a report says about doubt: the passes and their cost, scores, areas and flags of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penumbra.evaluation.evaluation import Evaluation
from penumbra.evaluation.report.data import AreaRow, Interval
from penumbra.inference.calibration import Calibration
from penumbra.inference.samplers import Cost, Sampler

_KINDS = {
    "dropblock": "DropBlock",
    "multiplicative": "multiplicative noise",
    "masksembles": "Masksembles",
    "augmentation": "symmetries",
    "ensemble": "several networks",
    "cv-ensemble": "the networks of a cross-validation",
    "logit-noise": "noise in logit space",
    "ssn": "a stochastic head",
}


def sampler_sentence(sampler: Sampler, cost: Cost, *, passes: int) -> str:
    """Say what a prediction was made of, what it cost, and where its mask comes from.

    Args:
        sampler: the plan of passes.
        cost: of one tile.
        passes: how many there were.

    Examples:
        >>> print(sampler_sentence(Sampler.parse("noise:8"), Cost(1, 9), passes=8))
        8 passes of noise: 1 run of the encoder and 9 of the decoder for each tile. The mask comes from the pass without noise.
        >>> print(sampler_sentence(Sampler(), Cost(1, 1), passes=1))
        One forward pass for each tile.
    """  # noqa: E501 - a doctest's line
    if not cost.decoder_runs:
        return "No network: one run of the method for each image."
    if passes <= 1:
        return "One forward pass for each tile."
    kinds = [sampler.disturbance, "augmentation" if sampler.augmented else None, sampler.ensemble]
    named = " × ".join(_KINDS.get(kind, kind) for kind in (*kinds, sampler.head) if kind)
    if sampler.head is not None:
        runs = f"{cost.decoder_runs} forward pass{'es' if cost.decoder_runs > 1 else ''}"
        return (
            f"{passes} samples of {named} behind {runs} for each tile. "
            "The mask comes from the pass without samples."
        )
    says = f"{passes} passes of {named}: {cost} for each tile."
    if sampler.mask_from_off_pass:
        disturbance = "noise" if sampler.disturbance == "noise" else "disturbance"
        return f"{says} The mask comes from the pass without {disturbance}."
    return f"{says} The mask comes from their mean."


def image_doubt(
    evaluation: Evaluation, calibration: Calibration | None
) -> tuple[str, dict[str, float]]:
    """Choose the score that ranks images: the calibration's, else soft Dice, else mean entropy.

    Returns:
        The name of the score, and sample id → score. A score that some image lacks is passed over.
    """
    chosen = [calibration.flag.score] if calibration is not None and calibration.flag else []
    for name in (*chosen, "soft_dice"):
        values = {image.id: image.scores.get(name, np.nan) for image in evaluation.images}
        if values and all(np.isfinite(value) for value in values.values()):
            return name, values
    return "mean_entropy", {image.id: image.mean_entropy for image in evaluation.images}


def image_aurc(evaluation: Evaluation, name: str) -> Interval | None:
    """Find the measured AURC of images by a score, with its interval."""
    return _at(evaluation.sections, "risk", "images", "scores", name, "aurc")


def pixel_aurc(evaluation: Evaluation) -> Interval | None:
    """Find the measured AURC of pixels by their entropy, with its interval."""
    return _at(evaluation.sections, "risk", "pixels", "entropy", "aurc")


def _at(document: Mapping[str, Any], *keys: str) -> Interval | None:
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def area_rows(evaluation: Evaluation) -> list[AreaRow]:
    """Give the areas of the scored classes that have an interval."""
    return [
        AreaRow(
            row.id, row.class_name, row.area_low, row.area_estimate, row.area_high, row.area_truth
        )
        for row in evaluation.per_image
        if row.scored and np.isfinite(row.area_low)
    ]


def area_coverage(evaluation: Evaluation) -> dict[str, Interval]:
    """Give the measured coverage of the intervals of each class, with its own interval."""
    areas = evaluation.sections.get("areas", {})
    found = {name: _at(areas, name, "coverage") for name in areas}
    return {name: interval for name, interval in found.items() if interval is not None}


def flags_of(evaluation: Evaluation) -> dict[str, bool]:
    """Give sample id → whether it was flagged; empty where the run was not calibrated."""
    return {image.id: image.flagged for image in evaluation.images if image.flagged is not None}


def reliability_rows(bins: Sequence[Any]) -> list[dict[str, float]]:
    """Give the filled bins as rows."""
    return [
        {
            "low": row.low,
            "high": row.high,
            "confidence": row.confidence,
            "accuracy": row.accuracy,
            "count": row.count,
        }
        for row in bins
        if row.count
    ]
