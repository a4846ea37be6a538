"""From the cells of a study to means, intervals, and paired differences between rows.

Groups are what is drawn again, the same groups for every row and every seed: a difference of two
rows is known better than either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.sums import take
from penumbra.storage import write_json, write_text
from penumbra.studies.cell import CellResult, is_done, members_of, read_cell
from penumbra.studies.draws import METRICS, draw_metrics
from penumbra.studies.grid import cells_of
from penumbra.studies.markdown import markdown
from penumbra.studies.places import Cell, Study

Floats = NDArray[np.float64]

RESAMPLES = 1000
_TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class RowDraws:
    """A row on one set under one shift.

    Attributes:
        row: its name.
        seeds: of its cells.
        values: (S, 1 + R, M): per seed, on the groups themselves and on each resample.
        whole: whether it used all networks at once, so that its one cell stands for every seed.
        cost: passes and seconds.
    """

    row: str
    seeds: tuple[int, ...]
    values: Floats
    whole: bool
    cost: Mapping[str, Any]


def weights_of(n_groups: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Draw how often each group counts: once each, then by resampling, (1 + R, G)."""
    if n_groups < 2:
        # One group says nothing of how groups differ: there is no interval.
        resamples = 0
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    return np.concatenate([np.ones((1, n_groups)), drawn]).astype(np.float64)


def aligned(results: Sequence[CellResult]) -> tuple[tuple[str, ...], list[CellResult]]:
    """Bring cells to the groups that all of them have, in one order."""
    shared = set(results[0].groups).intersection(*(each.groups for each in results))
    names = tuple(name for name in results[0].groups if name in shared)
    return names, [_with_groups(each, names) for each in results]


def _with_groups(result: CellResult, names: tuple[str, ...]) -> CellResult:
    if result.groups == names:
        return result
    at = [result.groups.index(name) for name in names]
    images = tuple(
        image | {"group": at.index(image["group"])}
        for image in result.images
        if image["group"] in at
    )
    return CellResult(
        cell=result.cell, groups=names, sums=take(result.sums, at), images=images,
        settings=result.settings, score=result.score, cost=result.cost,
    )  # fmt: skip


def difference(one: RowDraws, other: RowDraws) -> tuple[Floats, Floats] | None:
    """Give the mean over seeds of both rows, (1 + R, M) each, over the seeds they share.

    A row that used all networks at once stands for every seed. ``None`` where no seed is shared.
    """
    if one.whole or other.whole:
        return _mean(one.values), _mean(other.values)
    shared = [seed for seed in one.seeds if seed in other.seeds]
    if not shared:
        return None
    return tuple(  # type: ignore[return-value]  # two of them
        _mean(each.values[[each.seeds.index(seed) for seed in shared]]) for each in (one, other)
    )


def _mean(values: Floats) -> Floats:
    return np.asarray(values.mean(axis=0))


def summary(draws: Floats) -> dict[str, dict[str, float]]:
    """Give metric → value and the 2.5th and 97.5th percentiles of its resamples.

    Args:
        draws: (1 + R, M); the first row is the value.
    """
    found: dict[str, dict[str, float]] = {}
    for at, name in enumerate(METRICS):
        value, resampled = draws[0, at], draws[1:, at]
        known = resampled[np.isfinite(resampled)]
        if not np.isfinite(value):
            continue
        # With few groups some resamples have no value; with hardly any, there is no interval.
        enough = len(known) > len(resampled) / 2
        low, high = np.percentile(known, _TAILS) if enough else (np.nan, np.nan)
        found[name] = {"mean": float(value), "low": float(low), "high": float(high)}
    return found


def compare(one: RowDraws, other: RowDraws) -> dict[str, dict[str, float]]:
    """Give metric → paired difference one − other with its interval, absolute and relative."""
    both = difference(one, other)
    if both is None:
        return {}
    a, b = both
    found = summary(a - b)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = summary(a / b - 1)
    for name, value in found.items():
        if name in shares:
            value |= {f"relative_{key}": share for key, share in shares[name].items()}
    return found


def results_of(
    study: Study, cells: Sequence[Cell], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Compute all tables of the cells that are there.

    Args:
        study: the study.
        cells: which cells count; those that are not there, or stale, are left out.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Plain values: ``sets`` → set → shift → ``rows`` → row → ``metrics`` and ``against``.
    """
    there = [cell for cell in cells if is_done(study, cell)]
    places = list(dict.fromkeys((cell.set, cell.shift) for cell in there))
    sets: dict[str, Any] = {}
    for name, shift in places:
        chosen = [cell for cell in there if (cell.set, cell.shift) == (name, shift)]
        sets.setdefault(name, {})[shift] = _place(study, chosen, resamples, seed)
    return {"cells": len(cells), "done": len(there), "resamples": resamples, "sets": sets}


def _place(study: Study, cells: Sequence[Cell], resamples: int, seed: int) -> dict[str, Any]:
    names, results = aligned([read_cell(study, cell) for cell in cells])
    weights = weights_of(len(names), resamples=resamples, seed=seed)
    by_row: dict[str, list[CellResult]] = {}
    for result in results:
        by_row.setdefault(result.cell.row, []).append(result)
    draws = {row: _row(study, row, mine, weights) for row, mine in by_row.items()}
    rows = {
        row: {
            "sampler": study.experiment.row_named(row).sampler,
            "seeds": list(mine.seeds),
            "cost": dict(mine.cost),
            "metrics": _with_seeds(summary(_mean(mine.values)), mine),
            "against": {
                base: compare(mine, draws[base])
                for base in study.experiment.baselines
                if base in draws and base != row
            },
        }
        for row, mine in draws.items()
    }
    return {"groups": len(names), "images": len(results[0].images), "rows": rows}


def _with_seeds(found: dict[str, dict[str, float]], mine: RowDraws) -> dict[str, Any]:
    by_seed = mine.values[:, 0]
    return {
        name: value | {"by_seed": by_seed[:, METRICS.index(name)].tolist()}
        for name, value in found.items()
    }


def _row(study: Study, name: str, results: Sequence[CellResult], weights: Floats) -> RowDraws:
    row = study.experiment.row_named(name)
    count = len(study.experiment.seeds_of(row.kind))
    images = max(1, sum(result.cost["images"] for result in results))
    return RowDraws(
        row=name,
        seeds=tuple(result.cell.seed for result in results),
        values=np.stack([draw_metrics(result, weights) for result in results]),
        whole=row.plan.ensemble is not None and members_of(study, row) == count,
        cost={
            "passes": results[0].cost["cost"],
            "ms_per_image": 1000 * sum(result.cost["predict"] for result in results) / images,
        },
    )


def write_tables(
    study: Study,
    *,
    sets: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Write ``results.json`` and ``results.md`` of what is there, and give the former.

    Args:
        study: the study.
        sets: only these.
        rows: only these.
        resamples: of the bootstrap.

    Raises:
        StorageError: a cell is damaged, or the files cannot be written.
    """
    results = results_of(study, cells_of(study, sets=sets, rows=rows), resamples=resamples)
    experiment = study.experiment
    text = markdown(results, experiment.metrics, experiment.baselines)
    write_text(study.out / "results.md", text)
    write_json(study.out / "results.json", results)
    return results
