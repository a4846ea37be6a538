"""Run a study of prompts: what is there stays, what is missing is made, one failure stops none."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable
from penumbra.studies.prompts.places import NO_FILTER, RULES, PromptCell, PromptStudy, some_of
from penumbra.studies.prompts.scoring import is_scored, score
from penumbra.studies.prompts.tunings import is_tuned, make_tuning
from penumbra.studies.prompts.working_set import prepare
from penumbra.studies.steps import Step, Steps, workers


@dataclass(frozen=True)
class Tuning:
    """Tune the model once."""

    tuning: str
    filter: str
    seed: int

    def __str__(self) -> str:
        """Name the work."""
        return f"tune {self.tuning}/{self.filter}/{self.seed}"


@dataclass(frozen=True)
class Scoring:
    """Score the cells of one method, filter and seed, which share embeddings."""

    cells: tuple[PromptCell, ...]

    def __str__(self) -> str:
        """Name the work."""
        first = self.cells[0]
        return f"score {first.method}/{first.filter}/{first.seed}"


Work = Tuning | Scoring


@dataclass(frozen=True)
class PromptStudyProgress:
    """How far a study came.

    Attributes:
        cells: all cells that were asked for.
        made: pieces of work done now.
        kept: pieces that were there.
        problems: what could not be done, and why.
        left: pieces that the time was up for.
    """

    cells: tuple[PromptCell, ...]
    made: int
    kept: int
    problems: tuple[Step[Work], ...]
    left: int


def cells_of(
    study: PromptStudy,
    *,
    tunings: Sequence[str] | None = None,
    filters: Sequence[str] | None = None,
) -> tuple[PromptCell, ...]:
    """List the cells of a study: the rules, then every tuning with every filter.

    Args:
        study: the study.
        tunings: only these.
        filters: only these.

    Raises:
        SettingsError: one does not exist.
    """
    experiment = study.experiment
    names = some_of(tunings, list(experiment.tunings), "--tunings")
    chosen = some_of(filters, list(experiment.filters), "--filters")
    cells = [
        PromptCell(rule, NO_FILTER, kind, experiment.seeds[0])
        for rule in (RULES if experiment.rules else ())
        for kind in study.kinds_of(rule, NO_FILTER)
    ]
    # Seed after seed: a study that is cut off has some of everything.
    seeds = dict.fromkeys(seed for name in names for seed in experiment.seeds_of(name))
    cells += [
        PromptCell(name, each, kind, seed)
        for seed in seeds
        for name in names
        if seed in experiment.seeds_of(name)
        for each in experiment.filters_of(name)
        if each in chosen
        for kind in study.kinds_of(name, each)
    ]
    return tuple(cells)


def plan(study: PromptStudy, cells: Sequence[PromptCell]) -> tuple[Work, ...]:
    """Lay out the work for some cells: each tuning once, before the scores that need it."""
    together: dict[tuple[str, str, int], list[PromptCell]] = {}
    for cell in cells:
        together.setdefault((cell.method, cell.filter, cell.seed), []).append(cell)
    work: dict[Work, None] = {}
    for some in together.values():
        scoring = Scoring(tuple(some))
        work |= dict.fromkeys((*needs(study, scoring), scoring))
    return tuple(work)


def needs(study: PromptStudy, work: Work) -> tuple[Work, ...]:
    """Give what has to be done before a piece of work."""
    if isinstance(work, Tuning):
        return ()
    cell = work.cells[0]
    if cell.method in RULES or study.experiment.tunings[cell.method].mode == "none":
        return ()
    return (Tuning(cell.method, study.pixels_of(cell.filter), cell.seed),)


def is_there(study: PromptStudy, work: Work) -> bool:
    """Say whether a piece of work has been done.

    Raises:
        RunError: a tuning is there and is another than the study asks for.
    """
    if isinstance(work, Tuning):
        return is_tuned(study, work.tuning, work.filter, work.seed)
    return all(is_scored(study, cell) for cell in work.cells)


def perform(study: PromptStudy, work: Work) -> float:
    """Do one piece of work; give the seconds it took.

    Raises:
        PenumbraError: it cannot be done.
    """
    if isinstance(work, Tuning):
        return make_tuning(study, work.tuning, work.filter, work.seed)
    return score(study, work.cells)


def run_prompt_study(
    study: PromptStudy,
    *,
    tunings: Sequence[str] | None = None,
    filters: Sequence[str] | None = None,
    jobs: int = 1,
    progress: Progress = silent,
) -> PromptStudyProgress:
    """Do everything that a study asks for and that is not there yet.

    Args:
        study: from `open_study`.
        tunings: only these.
        filters: only these.
        jobs: processes, each with one thread; 1 works in this one.
        progress: wraps the pieces of work.

    Raises:
        SettingsError: a tuning or filter does not exist, or `jobs` is below 1.
        SourceError: the source cannot be opened or divided.
        StorageError: the folder cannot be written.
    """
    if jobs < 1:
        raise SettingsError(expected("--jobs", "at least 1", jobs, "--jobs 2"))
    asked = cells_of(study, tunings=tunings, filters=filters)
    check_writable(study.out)
    prepare(study, progress=progress)
    work = plan(study, asked)
    steps: Steps[Work] = Steps(
        work,
        needs=functools.partial(needs, study),
        is_there=functools.partial(is_there, study),
        hours=study.experiment.hours,
    )
    with workers(jobs, functools.partial(perform, study)) as submit:
        for _ in progress(steps.go(submit, jobs), total=len(work), what="study"):
            pass
    return PromptStudyProgress(asked, steps.made, steps.kept, tuple(steps.problems), steps.left)
