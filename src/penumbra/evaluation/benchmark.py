"""Several runs side by side: their scores, their differences, and their failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penumbra.data.sample import Finding
from penumbra.errors import SettingsError, expected
from penumbra.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, interval
from penumbra.evaluation.evaluation import Evaluation, ImageMean
from penumbra.evaluation.image_risk import image_risks
from penumbra.evaluation.summary import METRICS, statistic
from penumbra.evaluation.sums import condensed, take

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """One run in a comparison.

    Attributes:
        name: of the run.
        overall: metric → mean, low, high, as in its evaluation.
        average_iou: mean over images of the IoU averaged over the scored classes.
        under_threshold: the images whose IoU is under the threshold, worst first.
        difference: metric → this run minus the first, with a paired 95 % interval over groups;
            empty for the first run. An interval without 0 is a difference beyond the luck of
            which groups were tested, not beyond that of training again with another seed.
        n_images: images that were scored.
        n_groups: their groups.
        n_paired_images: images that the difference is over.
    """

    name: str
    overall: Mapping[str, Interval]
    average_iou: float
    under_threshold: tuple[ImageMean, ...]
    difference: Mapping[str, Interval]
    n_images: int
    n_groups: int
    n_paired_images: int


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the first is what the others are compared with.

    Attributes:
        runs: in the order they were given.
        threshold: of the IoU.
        findings: where the runs were not scored on the same images.
    """

    runs: tuple[RunResult, ...]
    threshold: float
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the comparison as plain values."""
        return {
            "reference": self.runs[0].name,
            "threshold": self.threshold,
            "runs": [
                {
                    "name": run.name,
                    "n_images": run.n_images,
                    "n_groups": run.n_groups,
                    "average_iou": run.average_iou,
                    "overall": {name: dict(value) for name, value in run.overall.items()},
                    "difference": {name: dict(value) for name, value in run.difference.items()},
                    "n_paired_images": run.n_paired_images,
                    "under_threshold": [
                        {"id": image.id, "group": image.group, "iou": image.iou}
                        for image in run.under_threshold
                    ],
                }
                for run in self.runs
            ],
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_frame(self) -> pd.DataFrame:
        """Give one row per run and metric, with its interval and its difference to the first."""
        import pandas as pd  # noqa: PLC0415  # half a second that most callers do not need

        rows = []
        for run in self.runs:
            for metric, value in run.overall.items():
                row: dict[str, object] = {"run": run.name, "metric": metric, **value}
                other = run.difference.get(metric)
                for key in ("mean", "low", "high"):
                    row[f"difference_{key}"] = other[key] if other else np.nan
                rows.append(row)
        return pd.DataFrame(rows)


def check_threshold(threshold: float) -> None:
    """Refuse what is no IoU, before runs are scored.

    Raises:
        SettingsError: it is outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise SettingsError(
            expected("`threshold`", "an IoU between 0 and 1", threshold, "a threshold such as 0.9")
        )


def _check(evaluations: Mapping[str, Evaluation], threshold: float) -> None:
    if not evaluations:
        raise SettingsError(expected("the runs", "at least one", "none", "--run RUN"))
    check_threshold(threshold)
    (first, reference), *others = evaluations.items()
    for name, evaluation in others:
        if evaluation.settings != reference.settings:
            raise SettingsError(
                expected(
                    f"the run {name!r}",
                    f"scored as {first!r} was ({_said(reference)})",
                    _said(evaluation),
                    "runs for the same classes, evaluated with the same options",
                )
            )


def _said(evaluation: Evaluation) -> str:
    """Say in words how an evaluation scored."""
    settings = evaluation.settings
    names = ", ".join(settings.class_names)
    return f"classes {names}; empty {settings.empty!r}; boundary within {settings.tolerance:g} px"


def _images_by_group(evaluation: Evaluation) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for image in evaluation.images:
        found.setdefault(image.group, set()).add(image.id)
    return {group: frozenset(ids) for group, ids in found.items()}


def _difference(
    run: Evaluation, reference: Evaluation, groups: list[str], *, resamples: int, seed: int
) -> dict[str, Interval]:
    """Resample the groups that both runs share, the same draw for both."""
    if not groups:
        return {}
    settings = reference.settings
    ours, theirs = (
        condensed(take(e.sums, [e.groups.index(group) for group in groups]))
        for e in (run, reference)
    )

    def gain(weights: Floats) -> Floats:
        change = statistic(ours, weights, settings) - statistic(theirs, weights, settings)
        return np.asarray(change[..., 0])

    value, low, high = bootstrap(gain, n_groups=len(groups), resamples=resamples, seed=seed)
    found = {name: interval(value[i], low[i], high[i]) for i, name in enumerate(METRICS)}
    if "image_aurc" not in run.overall or "image_aurc" not in reference.overall:
        return found
    images = [e.image_risks(e.image_score, groups=groups) for e in (run, reference)]

    def image_gain(weights: Floats) -> Floats:
        ours, theirs = (image_risks(some, weights)[:, 0] for some in images)
        return np.asarray(ours - theirs)

    ranked = bootstrap(image_gain, n_groups=len(groups), resamples=resamples, seed=seed)
    return found | {"image_aurc": interval(*map(float, ranked))}


def compare(
    evaluations: Mapping[str, Evaluation],
    *,
    threshold: float = 0.9,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Put evaluations on the same samples side by side.

    Differences are to the first run, over the groups in which both runs scored the same images.

    Args:
        evaluations: by name of the run; the first is the reference.
        threshold: images with an IoU (averaged over the scored classes) under it are listed.
        resamples: of the paired bootstrap.
        seed: of the paired bootstrap.

    Raises:
        SettingsError: no run, a threshold outside [0, 1], or runs that were scored differently.
    """
    _check(evaluations, threshold)
    reference_name, reference = next(iter(evaluations.items()))
    at_reference = _images_by_group(reference)
    runs: list[RunResult] = []
    findings: list[Finding] = []
    for name, evaluation in evaluations.items():
        here = _images_by_group(evaluation)
        shared = sorted(group for group, ids in here.items() if at_reference.get(group) == ids)
        if here != at_reference:
            findings.append(
                Finding(
                    "different-images",
                    "warning",
                    (name,),
                    f"{name} and {reference_name} were not scored on the same images; their "
                    f"difference is over the {len(shared)} groups that agree.",
                )
            )
        paired = [] if evaluation is reference else shared
        runs.append(
            RunResult(
                name=name,
                overall=evaluation.overall,
                average_iou=evaluation.overall["iou"]["mean"],
                under_threshold=tuple(
                    image for image in evaluation.sorted_by("iou") if image.iou < threshold
                ),
                difference=_difference(
                    evaluation, reference, paired, resamples=resamples, seed=seed
                ),
                n_images=evaluation.n_images,
                n_groups=evaluation.n_groups,
                n_paired_images=sum(len(here[group]) for group in paired),
            )
        )
    return Comparison(runs=tuple(runs), threshold=threshold, findings=tuple(findings))
