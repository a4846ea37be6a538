"""Work through pieces of work: what is there stays, what is missing is made when its needs are."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from penumbra.errors import PenumbraError

W = TypeVar("W")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Step(Generic[W]):
    """One piece of work that ended.

    Attributes:
        work: what it was.
        seconds: how long it took; 0 where it had been done before.
        problem: why it could not be done, or empty.
    """

    work: W
    seconds: float = 0.0
    problem: str = ""


Submit = Callable[[W], "futures.Future[float]"]


def _nothing(_work: object) -> str:
    return ""


@dataclass
class Steps(Generic[W]):
    """Works through a plan; each piece starts when what it needs is there.

    A piece that fails is a problem of its own and of those that need it, never of the others.

    Attributes:
        work: all pieces, in the order in which they are wanted.
        needs: gives what has to be done before a piece.
        is_there: says whether a piece has been done before.
        hours: nothing is begun after so many; ``None`` for no bound.
        refuse: says why a missing piece is not to be made, or nothing.
        made: pieces done now.
        kept: pieces that were there.
        problems: what could not be done, and why.
    """

    work: Sequence[W]
    needs: Callable[[W], Sequence[W]]
    is_there: Callable[[W], bool]
    hours: float | None = None
    refuse: Callable[[W], str] = _nothing
    made: int = 0
    kept: int = 0
    problems: list[Step[W]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = dict.fromkeys(self.work)
        self.done: set[W] = set()
        self.failed: set[W] = set()
        self.until = None if self.hours is None else time.monotonic() + 3600 * self.hours

    @property
    def left(self) -> int:
        """Pieces that were not begun."""
        return len(self.waiting)

    def go(self, submit: Submit[W], jobs: int) -> Iterator[Step[W]]:
        """Give each piece as it ends."""
        running: dict[futures.Future[float], W] = {}
        while self.waiting or running:
            while len(running) < jobs and (found := self._next()) is not None:
                step = self._without_work(found)
                if step is not None:
                    yield step
                else:
                    running[submit(found)] = found
            if not running:
                return
            ended, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in ended:
                yield self._ended(running.pop(future), future)

    def _next(self) -> W | None:
        """Take the first piece whose needs are there, or that cannot be done any more."""
        if self.until is not None and time.monotonic() > self.until:
            return None
        for work in self.waiting:
            missing = [need for need in self.needs(work) if need not in self.done]
            if not missing or any(need in self.failed for need in missing):
                del self.waiting[work]
                return work
        return None

    def _without_work(self, work: W) -> Step[W] | None:
        """Settle what needs no work: done before, impossible, or not wanted."""
        if any(need in self.failed for need in self.needs(work)):
            self.failed.add(work)
            return Step(work)
        try:
            if self.is_there(work):
                self.done.add(work)
                self.kept += 1
                return Step(work)
        except PenumbraError as error:
            return self._problem(work, str(error))
        refused = self.refuse(work)
        return self._problem(work, refused) if refused else None

    def _ended(self, work: W, future: futures.Future[float]) -> Step[W]:
        try:
            seconds = future.result()
        except PenumbraError as error:
            return self._problem(work, str(error))
        self.done.add(work)
        self.made += 1
        return Step(work, seconds)

    def _problem(self, work: W, text: str) -> Step[W]:
        step = Step(work, problem=text)
        self.failed.add(work)
        self.problems.append(step)
        return step


@contextlib.contextmanager
def workers(jobs: int, perform: Callable[[W], float]) -> Iterator[Submit[W]]:
    """Give what runs a piece of work: this process, or others with one thread each.

    Args:
        jobs: processes; 1 works in this one.
        perform: does a piece and gives the seconds it took; it is sent to other processes.
    """
    if jobs == 1:
        yield lambda work: _at_once(perform, work)
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    # Libraries read these when they are loaded, which in a new process is before any of our code.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread
    )
    try:
        yield lambda work: pool.submit(perform, work)
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


def _at_once(perform: Callable[[W], float], work: W) -> futures.Future[float]:
    future: futures.Future[float] = futures.Future()
    try:
        future.set_result(perform(work))
    except PenumbraError as error:
        future.set_exception(error)
    return future
