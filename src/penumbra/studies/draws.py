"""Every metric of a cell under many weightings of its groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import summary
from penumbra.evaluation.agreement import AGREEMENT, agreement_scores
from penumbra.evaluation.areas import AREAS, area_scores
from penumbra.evaluation.image_risk import IMAGE_RISKS, ImageRisks, image_risks
from penumbra.evaluation.scores import ScoreSettings
from penumbra.evaluation.sums import GroupSums, condensed, weigh
from penumbra.evaluation.true_probability import AGAINST_TRUTH, truth_scores
from penumbra.inference.scores import SCORES
from penumbra.studies.cell import CellResult

Floats = NDArray[np.float64]

_IMAGE = tuple(f"image_{name}" for name in IMAGE_RISKS)
_BY_SCORE = tuple(f"image_aurc_{name}" for name in SCORES)
_AREAS = tuple(f"area_{name}" for name in AREAS)
SHARE = "disagreement_share"

METRICS = (
    *summary.METRICS,
    *_IMAGE,
    *_BY_SCORE,
    SHARE,
    *_AREAS,
    *AGREEMENT,
    *AGAINST_TRUTH,
)
"""Every metric of a study, in the order of `draw_metrics`.

Those of an evaluation; AURC, E-AURC, Spearman's ρ and AUROC over images by the score that was
chosen on validation (soft Dice where none was); the AURC over images by each score; the share of
mutual information in the entropy, MI/H; coverage and width of the intervals for areas, averaged
over the scored classes; agreement with several readers; and scores against the true probability.
"""

_CONDENSED = 128


def draw_metrics(result: CellResult, weights: Floats) -> Floats:
    """Compute every metric under each weighting.

    The first row of `weights` is computed from the histograms as they were kept. The others use
    condensed ones and are moved by the difference that this makes to the first.

    Args:
        result: a cell.
        weights: (1 + R, G), how often each group counts.

    Returns:
        (1 + R, M) in the order of `METRICS`; not a number where a cell does not have a metric.
    """
    exact = _of_sums(result.sums, weights[:1], result.settings)
    near = _of_sums(condensed(result.sums, _CONDENSED), weights, result.settings)
    moved = near + (exact - near[:1])
    return np.concatenate([moved, _of_images(result, weights)], axis=1)[:, _ORDER]


def _of_sums(sums: GroupSums, weights: Floats, settings: ScoreSettings) -> Floats:
    metrics = summary.statistic(sums, weights, settings)[..., 0]
    areas = area_scores(weigh(sums.areas, weights))[:, list(settings.scored)]
    return np.concatenate(
        [
            metrics,
            areas.mean(axis=1),
            agreement_scores(weigh(sums.agreement, weights)),
            truth_scores(weigh(sums.truth, weights)),
        ],
        axis=1,
    )


def _of_images(result: CellResult, weights: Floats) -> Floats:
    columns = [_risks(result, result.score, weights)]
    columns += [_risks(result, name, weights)[:, :1] for name in SCORES]
    columns.append(_share(result, weights)[:, None])
    return np.concatenate(columns, axis=1)


def _risks(result: CellResult, score: str, weights: Floats) -> Floats:
    doubt = np.array(
        [_number(image["scores"].get(score)) for image in result.images], dtype=np.float64
    )
    dice = np.array([_number(image["dice"]) for image in result.images], dtype=np.float64)
    known = np.isfinite(dice)
    if not known.any() or not np.isfinite(doubt[known]).all():
        return np.full((len(weights), len(IMAGE_RISKS)), np.nan)
    group = np.array([image["group"] for image in result.images], dtype=np.intp)
    return image_risks(ImageRisks(1 - dice[known], doubt[known], group[known]), weights)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _share(result: CellResult, weights: Floats) -> Floats:
    """Compute Σ mutual information / Σ entropy over the images of each weighting."""

    def total(name: str) -> Floats:
        values = [_number(image["scores"].get(name)) for image in result.images]
        groups = [image["group"] for image in result.images]
        return weights @ np.bincount(groups, weights=values, minlength=weights.shape[1])

    apart, whole = total("mean_mutual_information"), total("mean_entropy")
    return np.divide(apart, whole, out=np.full_like(apart, np.nan), where=whole > 0)


def _order(parts: Sequence[str]) -> list[int]:
    return [parts.index(name) for name in METRICS]


_ORDER = _order((*summary.METRICS, *_AREAS, *AGREEMENT, *AGAINST_TRUTH, *_IMAGE, *_BY_SCORE, SHARE))
