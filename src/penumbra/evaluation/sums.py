"""The sums of one group of images, from which every metric is made; they merge and resample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import calibration, overlap
from penumbra.evaluation.adaptive import ConfidenceHistogram
from penumbra.evaluation.agreement import AgreementSums
from penumbra.evaluation.areas import AreaSums
from penumbra.evaluation.histogram import coarsen, condense
from penumbra.evaluation.joint import JointSums
from penumbra.evaluation.pixel_risk import PixelRisk
from penumbra.evaluation.true_probability import TruthSums

Floats = NDArray[np.float64]
_Sums = TypeVar("_Sums")


@dataclass(frozen=True)
class GroupSums:
    """Sums over the images of one group, or, with a leading axis, of many groups.

    Attributes:
        total: (…, 9, 1 + C) sums of the `MEAN_METRICS` over images where they are a number.
        n: (…, 9, 1 + C) how many images those are.
        missing: (…, 9, 1 + C) images where the metric is not a number though it applies.
        counts: pixel counts (…, C).
        calibration: sums for Brier, NLL, ECE and MCE.
        confidence: fine histograms for ACE.
        risk: fine histograms for AURC, E-AURC and AUSE over pixels.
        joint: sums for the joint NLL of tiles.
        areas: sums for the area intervals.
        agreement: sums over the images that several readers have seen.
        truth: sums over the pixels whose true probability is known.
    """

    total: Floats
    n: Floats
    missing: Floats
    counts: overlap.Counts
    calibration: calibration.Calibration
    confidence: ConfidenceHistogram
    risk: PixelRisk
    joint: JointSums
    areas: AreaSums
    agreement: AgreementSums
    truth: TruthSums

    @property
    def n_fine(self) -> int:
        """Bins of the fine histograms."""
        return int(self.risk.oracle.shape[-1])

    @property
    def fine_bytes(self) -> int:
        """Memory that the fine histograms take."""
        return self.confidence.bins.nbytes + self.risk.scores.nbytes + self.risk.oracle.nbytes


def combine(function: Callable[..., NDArray[Any]], *sums: _Sums) -> _Sums:
    """Apply a function to each array of one or more sums, array by array."""
    first = sums[0]
    if not is_dataclass(first) or isinstance(first, type):
        raise TypeError("sums are dataclasses of arrays")
    values: dict[str, Any] = {}
    for field in fields(first):
        parts = [getattr(each, field.name) for each in sums]
        whole = is_dataclass(parts[0])
        values[field.name] = (
            combine(function, *parts) if whole else function(*map(np.asarray, parts))
        )
    return type(first)(**values)


def _with_fine(sums: GroupSums, change: Callable[[Floats], Floats]) -> GroupSums:
    return replace(
        sums,
        confidence=ConfidenceHistogram(change(sums.confidence.bins)),
        risk=PixelRisk(change(sums.risk.scores), change(sums.risk.oracle)),
    )


def coarser(sums: GroupSums, n_bins: int) -> GroupSums:
    """Bring the fine histograms to fewer bins, a power of two; everything else stays."""
    if sums.n_fine <= n_bins:
        return sums
    return _with_fine(sums, lambda bins: coarsen(bins, n_bins))


def condensed(sums: GroupSums, n_bins: int = 256) -> GroupSums:
    """Join fine bins of stacked groups into few of about equal mass, for many resamples."""
    return _with_fine(sums, lambda bins: condense(bins, n_bins))


def merge(a: GroupSums, b: GroupSums) -> GroupSums:
    """Add the sums of two disjoint sets of images, at the coarser of their resolutions."""
    n_bins = min(a.n_fine, b.n_fine)
    return combine(np.add, coarser(a, n_bins), coarser(b, n_bins))


def stack(sums: Sequence[GroupSums]) -> GroupSums:
    """Put the sums of G groups side by side: every array gains a leading axis G."""
    n_bins = min(each.n_fine for each in sums)
    level = [coarser(each, n_bins) for each in sums]
    return combine(lambda *arrays: np.stack(arrays), *level)


def take(sums: GroupSums, groups: Sequence[int]) -> GroupSums:
    """Choose some of the stacked groups, by position."""
    return combine(lambda array: array[list(groups)], sums)


def weigh(sums: _Sums, weights: Floats) -> _Sums:
    """Add up stacked groups (G, …), each as often as `weights` (R, G) says: sums (R, …)."""
    return combine(lambda array: np.tensordot(weights, array.astype(np.float64), (1, 0)), sums)
