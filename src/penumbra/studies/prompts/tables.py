"""From the cells of a study of prompts to means, intervals over patients, and paired differences.

The scores of an image are averaged over seeds first. Groups are what is drawn again, the same
groups for both sides of a difference: a difference is known better than either side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penumbra.errors import PenumbraError
from penumbra.evaluation.bootstrap import RESAMPLES, Interval
from penumbra.evaluation.group_means import mean_intervals
from penumbra.evaluation.prompted_scores import PROMPTED_METRICS
from penumbra.storage import write_json, write_text
from penumbra.studies.prompts.markdown import markdown
from penumbra.studies.prompts.places import NO_FILTER, RULES, PromptCell, PromptStudy
from penumbra.studies.prompts.run import cells_of
from penumbra.studies.prompts.scoring import CellScores, is_scored, read_scores
from penumbra.training.run import Run

Key = tuple[str, str, str]
"""Method, filter, kind of prompt."""


@dataclass(frozen=True)
class RowScores:
    """One method with one filter, asked in one way.

    Attributes:
        seeds: that were scored.
        groups: image → group.
        values: seed → image → metric → value.
        findings: of the images that could not be scored.
        seconds: of a cell, on average.
    """

    seeds: tuple[int, ...]
    groups: Mapping[str, str]
    values: Mapping[int, Mapping[str, Mapping[str, float]]]
    findings: tuple[Mapping[str, Any], ...]
    seconds: float

    @classmethod
    def of(cls, cells: Sequence[CellScores]) -> RowScores:
        """Put the seeds of a row together."""
        values = {
            one.cell.seed: {
                image["id"]: {name: _number(image[name]) for name in PROMPTED_METRICS}
                for image in one.images
            }
            for one in cells
        }
        return cls(
            seeds=tuple(values),
            groups={image["id"]: image["group"] for one in cells for image in one.images},
            values=values,
            findings=tuple(cells[0].findings),
            seconds=float(np.mean([one.seconds for one in cells])),
        )

    def means(self, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
        """Average every image's metrics over seeds: image → metric → mean."""
        shared = [name for name in self.groups if all(name in self.values[s] for s in seeds)]
        return {
            name: {
                metric: float(np.mean([self.values[seed][name][metric] for seed in seeds]))
                for metric in PROMPTED_METRICS
            }
            for name in shared
        }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def intervals(row: RowScores, *, resamples: int, seed: int) -> dict[str, Any]:
    """Give metric → mean with its interval over groups, and the mean of each seed."""
    images = row.means(row.seeds)
    groups = [row.groups[name] for name in images]
    values = {m: [one[m] for one in images.values()] for m in PROMPTED_METRICS}
    found = mean_intervals(values, groups, resamples=resamples, seed=seed)
    by_seed = {
        metric: [float(np.nanmean([v[metric] for v in row.values[s].values()])) for s in row.seeds]
        for metric in PROMPTED_METRICS
        if np.isfinite(found[metric]["mean"])
    }
    return {name: dict(found[name]) | {"by_seed": mean} for name, mean in by_seed.items()}


def difference(
    one: RowScores, other: RowScores, *, whole: bool, resamples: int, seed: int
) -> dict[str, Interval]:
    """Give metric → paired difference one − other with its interval over groups.

    Args:
        one: a row.
        other: another one.
        whole: whether one of the two has no seeds of its own, and stands for all of them.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Over the seeds, and the images, that both have; empty where there are none.
    """
    shared = [value for value in one.seeds if value in other.seeds]
    if not (whole or shared):
        return {}
    mine = one.means(one.seeds if whole else shared)
    theirs = other.means(other.seeds if whole else shared)
    names = [name for name in mine if name in theirs]
    if not names:
        return {}
    groups = [one.groups[name] for name in names]
    change = {m: [mine[n][m] - theirs[n][m] for n in names] for m in PROMPTED_METRICS}
    found = mean_intervals(change, groups, resamples=resamples, seed=seed)
    return {name: value for name, value in found.items() if np.isfinite(value["mean"])}


def read_rows(study: PromptStudy, cells: Sequence[PromptCell]) -> tuple[dict[Key, RowScores], int]:
    """Read the cells that are there and belong to the study; give rows, and how many cells."""
    by_row: dict[Key, list[CellScores]] = {}
    count = 0
    for cell in cells:
        if not _is_there(study, cell):
            continue
        count += 1
        by_row.setdefault((cell.method, cell.filter, cell.kind), []).append(
            read_scores(study, cell)
        )
    return {key: RowScores.of(found) for key, found in by_row.items()}, count


def _is_there(study: PromptStudy, cell: PromptCell) -> bool:
    try:
        return is_scored(study, cell)
    except PenumbraError:
        # A tuning of other settings lies there: said when the study runs, not its result.
        return False


def results_of(
    study: PromptStudy,
    cells: Sequence[PromptCell],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compute all tables of the cells that are there, as plain values.

    Args:
        study: the study.
        cells: which cells count.
        resamples: of the bootstrap.

    Returns:
        ``rows``, each with its ``metrics`` and, in ``against``, its paired differences from the
        first filter (``filter``), from the model as it came (``tuning``), and from each rule.
    """
    rows, done = read_rows(study, cells)
    experiment = study.experiment
    seed = experiment.seed
    return {
        "cells": len(cells),
        "done": done,
        "resamples": resamples,
        **_samples(study, rows),
        "model": experiment.model,
        "weights_sha256": study.weights,
        "objects": experiment.objects,
        "longest": experiment.longest,
        "kinds": list(experiment.kinds),
        "filters": {name: chain.label for name, chain in experiment.filters.items()},
        "base_filter": experiment.base_filter,
        "tunings": {name: choice.mode for name, choice in experiment.tunings.items()},
        "base_tuning": experiment.base_tuning,
        "rules": {key: rule.name for key, rule in RULES.items()} if experiment.rules else {},
        "rows": [
            {
                "method": key[0],
                "filter": None if key[1] == NO_FILTER else key[1],
                "kind": key[2],
                "seeds": list(row.seeds),
                "seconds": row.seconds,
                "metrics": intervals(row, resamples=resamples, seed=seed),
                "against": _against(study, key, rows, resamples),
            }
            for key, row in rows.items()
        ],
        "tuning_seconds": _tuning_seconds(study),
    }


def _against(
    study: PromptStudy, key: Key, rows: Mapping[Key, RowScores], resamples: int
) -> dict[str, Any]:
    method, filter_name, kind = key
    if method in RULES:
        return {}
    experiment = study.experiment
    base = experiment.base_tuning
    others: dict[str, tuple[Key, bool]] = {}
    if filter_name != experiment.base_filter:
        others["filter"] = ((method, experiment.base_filter, kind), False)
    if base is not None and experiment.tunings[method].mode != "none":
        others["tuning"] = ((base, filter_name, kind), True)
    others |= {rule: ((rule, NO_FILTER, kind), True) for rule in RULES}
    return {
        name: difference(
            rows[key], rows[other], whole=whole, resamples=resamples, seed=experiment.seed
        )
        for name, (other, whole) in others.items()
        if other in rows
    }


def _samples(study: PromptStudy, rows: Mapping[Key, RowScores]) -> dict[str, Any]:
    """Say what was scored, how it was divided, and what could not be read."""
    made: dict[str, Any] = {}
    if study.made_of.is_file():
        made = json.loads(study.made_of.read_text(encoding="utf-8"))
    scored = {name: group for row in rows.values() for name, group in row.groups.items()}
    findings = [*made.get("findings", []), *(f for row in rows.values() for f in row.findings)]
    unique = {(f["kind"], tuple(f["samples"])): dict(f) for f in findings}
    return {
        "source": made.get("source", study.experiment.source),
        "target": made.get("target"),
        "images": len(scored),
        "groups": len(set(scored.values())),
        "splits": made.get("splits", {}),
        "findings": list(unique.values()),
    }


def _tuning_seconds(study: PromptStudy) -> dict[str, float]:
    """Give the mean seconds of a tuning, by its name."""
    found: dict[str, list[float]] = {}
    for name in study.experiment.tunings:
        for folder in sorted((study.out / "runs" / name).glob("*")):
            info = Run(folder).info()
            if info.get("status") == "finished":
                found.setdefault(name, []).append(float(info["seconds"]))
    return {name: float(np.mean(seconds)) for name, seconds in found.items()}


def write_prompt_tables(
    study: PromptStudy,
    *,
    tunings: Sequence[str] | None = None,
    filters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    command: str = "",
    created: str = "",
) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and ``report.html`` of what is there.

    Args:
        study: the study.
        tunings: only these.
        filters: only these.
        resamples: of the bootstrap.
        command: what was typed, for the record.
        created: when, for the record.

    Returns:
        What ``results.json`` holds.

    Raises:
        StorageError: a cell is damaged, or the files cannot be written.
    """
    from penumbra.studies.prompts.report import write_prompt_report  # noqa: PLC0415 - it needs us

    cells = cells_of(study, tunings=tunings, filters=filters)
    results = results_of(study, cells, resamples=resamples)
    write_text(study.out / "results.md", markdown(results))
    write_prompt_report(study, results, command=command, created=created)
    write_json(study.out / "results.json", results)
    return results
