"""Evaluate predictions against the truth, one image at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from penumbra.data.sample import Finding
from penumbra.errors import SettingsError, SourceError, expected
from penumbra.evaluation import calibration, joint
from penumbra.evaluation.bootstrap import RESAMPLES
from penumbra.evaluation.cases import Case, problem_of
from penumbra.evaluation.evaluation import Evaluation, ImageMean, ImageRow
from penumbra.evaluation.histogram import FINE_BINS
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.evaluation.presence import presence_section
from penumbra.evaluation.scores import (
    MEAN_METRICS,
    ImageScores,
    ScoreSettings,
    score_image,
    sums_of_image,
)
from penumbra.evaluation.sections import Sections
from penumbra.evaluation.summary import summarise
from penumbra.evaluation.sums import GroupSums, coarser, merge, stack

_FINE_MEMORY = 2**28
_LEAST_FINE = 256


def _rows(scores: ImageScores, settings: ScoreSettings) -> Iterator[ImageRow]:
    at = {name: row for row, name in enumerate(MEAN_METRICS)}
    table, sums = scores.table, scores.calibration
    brier, nll = float(calibration.brier(sums)), float(calibration.nll(sums))
    ece, of_tiles = float(calibration.ece(sums)), float(joint.joint_nll(scores.joint)[0])
    for index, name in enumerate(settings.class_names):
        by_metric = {
            metric: float(table[row, 1 + index])
            for metric, row in at.items()
            if metric != "pixel_accuracy"
        }
        low, estimate, high = scores.area_intervals.get(name, (math.nan,) * 3)
        yield ImageRow(
            id=scores.id,
            group=scores.group,
            class_name=name,
            scored=index in settings.scored,
            **by_metric,
            area_truth=int(scores.area_truth[index]),
            area_predicted=int(scores.area_predicted[index]),
            pixel_accuracy=float(table[at["pixel_accuracy"], 0]),
            brier=brier,
            nll=nll,
            ece=ece,
            mean_entropy=scores.mean_entropy,
            joint_nll=of_tiles,
            area_low=low,
            area_estimate=estimate,
            area_high=high,
            flagged=scores.flagged,
            scores=scores.scores,
        )


def _image_mean(scores: ImageScores) -> ImageMean:
    overall = dict(zip(MEAN_METRICS, scores.table[:, 0].tolist(), strict=True))
    return ImageMean(
        id=scores.id,
        group=scores.group,
        dice=overall["dice"],
        iou=overall["iou"],
        boundary_f1=overall["boundary_f1"],
        hd95=overall["hd95"],
        mean_entropy=scores.mean_entropy,
        scores=scores.scores,
        flagged=scores.flagged,
    )


class _Collector:
    """What is kept while images go by: rows and sums, never pixels."""

    def __init__(self, settings: ScoreSettings) -> None:
        self.settings = settings
        self.rows: list[ImageRow] = []
        self.images: list[ImageMean] = []
        self.findings: list[Finding] = []
        self.sums: dict[str, GroupSums] = {}
        self.passes = 1
        self.n_fine = FINE_BINS

    def add(self, case: Case) -> None:
        n_classes = len(self.settings.class_names)
        if case.prediction.n_classes != n_classes:
            raise SettingsError(
                expected(
                    "the prediction",
                    f"over the source's {n_classes} classes",
                    f"{case.prediction.n_classes} classes",
                    "a run that was trained on the same classes, or another --target",
                )
            )
        problem = problem_of(case, n_classes)
        if problem is not None:
            self.findings.append(problem)
            return
        scores = score_image(case, settings=self.settings, n_fine=self.n_fine)
        self.rows.extend(_rows(scores, self.settings))
        self.images.append(_image_mean(scores))
        new, known = sums_of_image(scores), self.sums.get(case.group)
        self.sums[case.group] = new if known is None else merge(known, new)
        self.passes = max(self.passes, scores.passes)
        self._bound_memory(new)

    def _bound_memory(self, new: GroupSums) -> None:
        """Halve the resolution of the fine histograms where there are very many groups."""
        if len(self.sums) * new.fine_bytes <= _FINE_MEMORY or self.n_fine <= _LEAST_FINE:
            return
        self.n_fine //= 2
        self.sums = {group: coarser(sums, self.n_fine) for group, sums in self.sums.items()}


def _check(empty: str, tolerance: float, n_bins: int, resamples: int) -> None:
    if empty not in get_args(EmptyPolicy):
        policies = ", ".join(get_args(EmptyPolicy))
        raise SettingsError(expected("`empty`", f"one of {policies}", repr(empty), "'one'"))
    if not tolerance >= 0:
        raise SettingsError(expected("`tolerance`", "at least 0 pixels", tolerance, "2"))
    for name, value, example in (("`n_bins`", n_bins, "15"), ("`resamples`", resamples, "2000")):
        if value < 1:
            raise SettingsError(expected(name, "at least 1", value, example))


def evaluate(
    cases: Iterable[Case | Finding],
    *,
    class_names: Sequence[str],
    has_background: bool = True,
    empty: EmptyPolicy = "one",
    tolerance: float = 2.0,
    n_bins: int = calibration.N_BINS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Score predictions, one at a time; nothing of an image is kept but its scores and sums.

    Args:
        cases: samples with their predictions; findings among them (samples that could not be
            read) are passed on, and samples that cannot be scored become findings.
        class_names: one name per class.
        has_background: whether class 0 is left out of averages over classes.
        empty: what a score of nothing over nothing is, see `EmptyPolicy`.
        tolerance: of the boundary F1, in pixels.
        n_bins: of the calibration error.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.

    Raises:
        SettingsError: an option is outside its range, or a prediction has another number of
            classes.
        SourceError: no sample could be scored.

    Examples:
        >>> import numpy as np
        >>> from penumbra.inference.prediction import Prediction
        >>> truth = np.array([[0, 1], [0, 1]], dtype=np.uint8)
        >>> p = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.1, 0.8], [0.4, 0.9]]], dtype=np.float32)
        >>> prediction = Prediction(p, p.argmax(axis=0).astype(np.uint8), {})
        >>> result = evaluate([Case("a", "a", truth, prediction)], class_names=["back", "cell"])
        >>> result.overall["dice"]["mean"], round(result.overall["brier"]["mean"], 3)
        (1.0, 0.055)
    """
    _check(empty, tolerance, n_bins, resamples)
    settings = ScoreSettings(
        class_names=tuple(class_names),
        scored=tuple(range(1 if has_background else 0, len(class_names))),
        empty=empty,
        tolerance=tolerance,
        n_bins=n_bins,
    )
    collected = _Collector(settings)
    for case in cases:
        if isinstance(case, Finding):
            collected.findings.append(case)
        else:
            collected.add(case)
    if not collected.images:
        raise SourceError(
            expected(
                "the source",
                "of at least one sample with a readable image and mask",
                f"none, and {len(collected.findings)} findings"
                + (f", the first: {collected.findings[0].message}" if collected.findings else ""),
                "another split, or mending the files that the findings name",
            )
        )
    return _finish(collected, resamples=resamples, seed=seed)


def _finish(collected: _Collector, *, resamples: int, seed: int) -> Evaluation:
    # Sorted, so that the resamples do not depend on the order the images came in.
    groups = tuple(sorted(collected.sums))
    settings, sums = collected.settings, stack([collected.sums[group] for group in groups])
    overall, per_class = summarise(sums, settings, resamples=resamples, seed=seed)
    overall = dict(overall)
    sections = Sections(sums, collected.images, groups, settings, resamples=resamples, seed=seed)
    by_name = {
        "risk": sections.risk(),
        "samples": sections.samples(collected.passes, overall),
        "areas": sections.areas(),
        "readers": sections.readers(),
        "truth": sections.truth(),
        "presence": presence_section(collected.rows, groups, resamples=resamples, seed=seed),
    }
    by_image = by_name["risk"].get("images", {}).get("scores", {})
    if by_image:
        # The score that `Evaluation.image_score` names.
        name = "soft_dice" if "soft_dice" in by_image else "mean_entropy"
        overall["image_aurc"] = by_image[name]["aurc"]
    whole = collected.sums[groups[0]].calibration
    for group in groups[1:]:
        whole = calibration.merge(whole, collected.sums[group].calibration)
    return Evaluation(
        overall=overall,
        per_class=per_class,
        per_image=tuple(collected.rows),
        images=tuple(collected.images),
        reliability=calibration.reliability(whole),
        class_reliability={
            name: calibration.reliability(whole, class_index=index)
            for index, name in enumerate(settings.class_names)
        },
        n_images=len(collected.images),
        n_groups=len(groups),
        settings=settings,
        groups=groups,
        sums=sums,
        findings=tuple(collected.findings),
        sections={name: section for name, section in by_name.items() if section},
    )
