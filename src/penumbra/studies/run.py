"""Run the grid: what is there stays, what is missing is made, a cut-off study goes on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable
from penumbra.studies import cell as cells
from penumbra.studies.grid import Fitting, Training, Work, cells_of, needs, plan
from penumbra.studies.networks import check_adopted, is_complete, train_network
from penumbra.studies.places import Cell, Study
from penumbra.studies.sets import divided
from penumbra.studies.steps import Step, Steps, workers
from penumbra.studies.variants import fit, is_fitted

_MISSING = "This network is missing, and no training was wanted."


@dataclass(frozen=True)
class Progressed:
    """How far a study came.

    Attributes:
        cells: all cells that were asked for.
        made: pieces of work done now.
        kept: pieces that were there.
        problems: what could not be done, and why.
        left: pieces that the time was up for.
    """

    cells: tuple[Cell, ...]
    made: int
    kept: int
    problems: tuple[Step[Work], ...]
    left: int


def perform(study: Study, work: Work) -> float:
    """Do one piece of work; give the seconds it took.

    Raises:
        PenumbraError: it cannot be done.
    """
    if isinstance(work, Training):
        return train_network(study, work.network)
    if isinstance(work, Fitting):
        return fit(study, work.network, work.choice)
    return cells.compute(study, work.cell)


def is_there(study: Study, work: Work) -> bool:
    """Say whether a piece of work has been done, by this start or an earlier one.

    Raises:
        RunError: a network is there and is another than the study asks for.
    """
    if isinstance(work, Training):
        if not is_complete(study, work.network):
            return False
        check_adopted(study, work.network)
        return True
    if isinstance(work, Fitting):
        return is_fitted(study, work.network, work.choice)
    return cells.is_done(study, work.cell)


def run_study(
    study: Study,
    *,
    sets: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    jobs: int = 1,
    training: bool = True,
    progress: Progress = silent,
) -> Progressed:
    """Do everything that a study asks for and that is not there yet.

    Args:
        study: the study with its folders.
        sets: only these.
        rows: only these.
        jobs: processes, each with one thread; 1 works in this one.
        training: whether missing networks are trained; their rows are left out otherwise.
        progress: wraps the pieces of work.

    Raises:
        SettingsError: a set or a row does not exist, or `jobs` is below 1.
        SourceError: a set cannot be opened.
        StorageError: the folder cannot be written.
    """
    if jobs < 1:
        raise SettingsError(expected("--jobs", "at least 1", jobs, "--jobs 2"))
    _check_known("--only", sets, [each.name for each in study.experiment.sets])
    _check_known("--rows", rows, [each.name for each in study.experiment.rows])
    check_writable(study.out)
    for settings in study.experiment.sets:
        if sets is None or settings.name in sets:
            divided(study, settings)
    asked = cells_of(study, sets=sets, rows=rows)
    work = plan(study, asked)
    steps: Steps[Work] = Steps(
        work,
        needs=functools.partial(needs, study),
        is_there=functools.partial(is_there, study),
        hours=study.experiment.hours,
        refuse=lambda each: _MISSING if isinstance(each, Training) and not training else "",
    )
    with workers(jobs, functools.partial(perform, study)) as submit:
        for _ in progress(steps.go(submit, jobs), total=len(work), what="study"):
            pass
    return Progressed(asked, steps.made, steps.kept, tuple(steps.problems), steps.left)


def _check_known(option: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SettingsError(
            expected(option, f"some of {', '.join(known)}", unknown[0], f"{option} {known[0]}")
        )
