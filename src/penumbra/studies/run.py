"""Run the grid: what is there stays, what is missing is made, a cut-off study goes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field

from penumbra.errors import PenumbraError, SettingsError, expected
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable
from penumbra.studies import cell as cells
from penumbra.studies.grid import Fitting, Training, Work, cells_of, needs, plan
from penumbra.studies.networks import check_adopted, is_complete, train_network
from penumbra.studies.places import Cell, Study
from penumbra.studies.sets import divided
from penumbra.studies.variants import fit, is_fitted

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Step:
    """One piece of work that ended.

    Attributes:
        work: what it was.
        seconds: how long it took; 0 where it had been done before.
        problem: why it could not be done, or empty.
    """

    work: Work
    seconds: float = 0.0
    problem: str = ""


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
    problems: tuple[Step, ...]
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
    hours = study.experiment.hours
    until = None if hours is None else time.monotonic() + 3600 * hours
    steps = _Steps(study, work, training=training, until=until)
    with _workers(jobs) as submit:
        for _ in progress(steps.go(submit, jobs), total=len(work), what="study"):
            pass
    return Progressed(asked, steps.made, steps.kept, tuple(steps.problems), steps.left)


def _check_known(option: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SettingsError(
            expected(option, f"some of {', '.join(known)}", unknown[0], f"{option} {known[0]}")
        )


Submit = Callable[[Study, Work], "futures.Future[float]"]


@dataclass
class _Steps:
    """Works through a plan; each piece starts when what it needs is there."""

    study: Study
    work: Sequence[Work]
    training: bool
    until: float | None
    made: int = 0
    kept: int = 0
    problems: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = dict.fromkeys(self.work)
        self.done: set[Work] = set()
        self.failed: set[Work] = set()

    @property
    def left(self) -> int:
        """Pieces that were not begun."""
        return len(self.waiting)

    def go(self, submit: Submit, jobs: int) -> Iterator[Step]:
        """Give each piece as it ends."""
        running: dict[futures.Future[float], Work] = {}
        while self.waiting or running:
            while len(running) < jobs and (found := self._next()) is not None:
                step = self._without_work(found)
                if step is not None:
                    yield step
                else:
                    running[submit(self.study, found)] = found
            if not running:
                return
            ended, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in ended:
                yield self._ended(running.pop(future), future)

    def _next(self) -> Work | None:
        """Take the first piece whose needs are there, or that cannot be done any more."""
        if self.until is not None and time.monotonic() > self.until:
            return None
        for work in self.waiting:
            missing = [need for need in needs(self.study, work) if need not in self.done]
            if not missing or any(need in self.failed for need in missing):
                del self.waiting[work]
                return work
        return None

    def _without_work(self, work: Work) -> Step | None:
        """Settle what needs no work: done before, impossible, or not wanted."""
        if any(need in self.failed for need in needs(self.study, work)):
            self.failed.add(work)
            return Step(work)
        try:
            if is_there(self.study, work):
                self.done.add(work)
                self.kept += 1
                return Step(work)
        except PenumbraError as error:
            return self._problem(work, str(error))
        if isinstance(work, Training) and not self.training:
            return self._problem(work, "This network is missing, and no training was wanted.")
        return None

    def _ended(self, work: Work, future: futures.Future[float]) -> Step:
        try:
            seconds = future.result()
        except PenumbraError as error:
            return self._problem(work, str(error))
        self.done.add(work)
        self.made += 1
        return Step(work, seconds)

    def _problem(self, work: Work, text: str) -> Step:
        step = Step(work, problem=text)
        self.failed.add(work)
        self.problems.append(step)
        return step


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[Submit]:
    """Give what runs a piece of work: this process, or others with one thread each."""
    if jobs == 1:
        yield _at_once
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    # Libraries read these when they are loaded, which in a new process is before any of our code.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread
    )
    try:
        yield lambda study, work: pool.submit(perform, study, work)
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _one_thread() -> None:
    import torch  # noqa: PLC0415  # in the worker, after its environment is set

    torch.set_num_threads(1)


def _at_once(study: Study, work: Work) -> futures.Future[float]:
    future: futures.Future[float] = futures.Future()
    try:
        future.set_result(perform(study, work))
    except PenumbraError as error:
        future.set_exception(error)
    return future
