"""The pool of workers: batches go in, answers come out, whoever of the workers lives."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from penumbra.errors import PenumbraError, SettingsError, expected
from penumbra.serving.messages import UNKNOWN_SESSION, Answer, Failed, Job
from penumbra.serving.processes import WorkerEndedError, WorkerProcess
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.unread import Said, is_last

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 30.0


class WorkerPool:
    """Worker processes that hold the models.

    Args:
        specs: what each of them loads.
        settings: how many there are, and their bounds.

    Raises:
        SettingsError: no model is given, or two of one name.

    Attributes:
        deaths: how many workers ended without being told to.
        problem: why there is no worker, where that is known.
    """

    def __init__(self, specs: Sequence[ModelSpec], settings: WorkerSettings | None = None) -> None:
        names = [spec.name for spec in specs]
        if not names or len(set(names)) < len(names):
            raise SettingsError(
                expected("the models", "at least one, each of a name of its own",
                         ", ".join(names) or "none", "NAME=RUN for each")
            )  # fmt: skip
        self.specs, self.settings = tuple(specs), settings or WorkerSettings()
        self.deaths = 0
        self.problem: str | None = None
        self._workers: list[WorkerProcess] = []
        self._leaving: set[WorkerProcess] = set()
        self._starting: set[WorkerProcess] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._closing = False

    # --- what it is doing ----------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether some worker can take jobs, now or once it is free."""
        return any(worker.state == "ready" for worker in self._workers)

    @property
    def capacity(self) -> int:
        """How many batches can run at once, at least 1; those of workers that leave count."""
        ready = sum(worker.state == "ready" for worker in self._workers)
        return max(1, ready + sum(worker.run is not None for worker in self._leaving))

    @property
    def models(self) -> list[dict[str, Any]]:
        """Descriptions of the models as the workers loaded them; empty before."""
        ready = [worker for worker in self._workers if worker.state == "ready"]
        return list(ready[-1].models) if ready else []

    def status(self) -> list[dict[str, Any]]:
        """Describe every worker: pid, state, seconds in it, jobs so far.

        States are ``starting``, ``ready``, ``busy`` and ``leaving``; who is dead is replaced by one
        that is starting, or, while that fails, by an entry without pid in the state ``missing``.
        """
        known = [*self._workers, *self._starting, *self._leaving]
        rows = [worker.describe() for worker in known]
        missing = self.settings.workers - len(self._workers) - len(self._starting)
        gap = {"pid": None, "state": "missing", "for_s": None, "jobs": 0, "exit_code": None}
        return rows + [gap] * (0 if self._closing else missing)

    def watch(self, tell: Callable[[], None]) -> None:
        """Have a function called whenever a worker may have become free, ready, or lost."""
        self._watchers.append(tell)

    def forget(self, session: str) -> None:
        """Have the workers forget the embedding of a session that is over."""
        for worker in (*self._workers, *self._leaving):
            worker.drop(session)

    # --- its life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all workers and wait until their models are loaded.

        Raises:
            ModelError: a model cannot be loaded; no worker is left behind.
        """
        atexit.register(self._kill)
        try:
            fresh = await asyncio.gather(*(self._fresh() for _ in range(self.settings.workers)))
        except PenumbraError as error:
            self.problem = str(error)
            self._kill()
            raise
        self._workers += fresh
        self._wake()

    async def reload(self, name: str | None = None) -> None:
        """Load the models anew from their files; no request is dropped.

        A new worker is started and loaded beside each old one, which then finishes what it has and
        ends. Every worker holds every model, so that all are loaded whichever is named.

        Args:
            name: a model that must be known.

        Raises:
            SettingsError: there is no such model.
            ModelError: a model cannot be loaded; the old workers stay.
        """
        names = [spec.name for spec in self.specs]
        if name is not None and name not in names:
            raise SettingsError(expected("the model", f"one of {', '.join(names)}", name, names[0]))
        async with self._reloading:
            gone = [None] * self.settings.workers
            for old in list(self._workers) or gone:
                fresh = await self._fresh()
                if self._closing:
                    await fresh.leave_within(self.settings.silence_timeout_s)
                    return
                self._workers.append(fresh)
                self._wake()
                # The old one may have died meanwhile, and another may have taken its place.
                for worker in [old] if old and old in self._workers else self._workers[:1]:
                    if len(self._workers) > self.settings.workers:
                        self._workers.remove(worker)
                        self._leaving.add(worker)
                        worker.leave()

    async def drain(self, timeout: float = 30.0) -> None:
        """Take no further batch, finish those that run, and end every worker.

        Args:
            timeout: seconds after which a worker is killed that has not finished.
        """
        self._closing = True
        self._wake()
        self._leaving.update(self._workers)
        self._workers.clear()
        for worker in self._starting:
            worker.kill()
        await asyncio.gather(*(worker.leave_within(timeout) for worker in list(self._leaving)))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        atexit.unregister(self._kill)

    async def _fresh(self) -> WorkerProcess:
        worker = WorkerProcess(self.specs, self.settings, on_change=self._changed)
        self._starting.add(worker)
        try:
            await worker.start()
        finally:
            self._starting.discard(worker)
        self.problem = None
        return worker

    async def _replace(self) -> None:
        """Start a worker in place of one that died; what fails is tried again, ever more slowly."""
        pause = 0.0
        while not self._closing and len(self._workers) < self.settings.workers:
            await asyncio.sleep(pause)
            try:
                fresh = await self._fresh()
            except PenumbraError as error:
                self.problem = str(error)
                _LOG.error("A worker could not be replaced: %s", error)
                pause = min(_LONGEST_PAUSE_S, 2 * pause or 1.0)
                self._wake()
                continue
            if self._closing or len(self._workers) >= self.settings.workers:
                await fresh.leave_within(self.settings.silence_timeout_s)
                return
            self._workers.append(fresh)
            self._wake()

    def _changed(self, worker: WorkerProcess) -> None:
        if worker.state == "dead":
            self._leaving.discard(worker)
            if worker in self._workers:
                self._workers.remove(worker)
                self.deaths += 1
                _LOG.warning("Worker %s ended with status %s.", worker.pid, worker.exit_code)
                if not self._closing:
                    self._spawn(self._replace())
        self._wake()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _kill(self) -> None:
        for worker in (*self._workers, *self._starting, *self._leaving):
            worker.kill()

    # --- batches -------------------------------------------------------------------------------

    async def submit(self, batch: Sequence[Job]) -> AsyncGenerator[Answer | Failed, None]:
        """Run a batch of jobs of one key; what each of them gives comes as soon as it is there.

        Every job gets an `Answer` with `last` or a `Failed`. When the worker ends before, the jobs
        that have none yet are tried once more, one by one; one that ends its worker again has
        failed (422, ``crashed``). Closing the iterator early frees the worker.

        Args:
            batch: with different ids.
        """
        ledger = _Ledger(batch)
        try:
            async with aclosing(self._once(batch)) as messages:
                async for said in messages:
                    if ledger.is_new(said):
                        yield said.message
        except WorkerEndedError:
            _LOG.warning("%s jobs are tried once more, one by one.", len(ledger.open))
        for job in list(ledger.open.values()):
            try:
                async with aclosing(self._once([job])) as messages:
                    async for said in messages:
                        if ledger.is_new(said):
                            yield said.message
            except WorkerEndedError:
                yield _crashed(job)
                continue
            if job.id in ledger.open:
                yield _lost(job)

    async def _once(self, jobs: Sequence[Job]) -> AsyncGenerator[Said, None]:
        worker = await self._free(jobs)
        if worker is None:
            for job in jobs:
                yield Said(1, self._refused(job))
            return
        by_id = {job.id: job for job in jobs}
        unknown: list[Job] = []
        run = worker.begin(jobs)
        try:
            while (said := await run.next()) is not None:
                message, job = said.message, by_id[said.message.id]
                if isinstance(message, Failed) and message.code == UNKNOWN_SESSION:
                    worker.forget(str(job.options.get("session")))
                    unknown.append(job)
                    continue
                if isinstance(message, Answer) and "session" in job.options:
                    worker.remember(str(job.options["session"]))
                yield said
        finally:
            worker.abandon(run)
        if unknown:
            async with aclosing(self._once(unknown)) as messages:
                async for said in messages:
                    yield said

    async def _free(self, jobs: Sequence[Job]) -> WorkerProcess | None:
        """Wait for a worker; ``None`` where there is none to come."""
        while True:
            free = [worker for worker in self._workers if worker.is_free]
            if free:
                sessions = [str(job.options.get("session")) for job in jobs]
                knowing = [one for one in free if any(map(one.knows, sessions))]
                return min(knowing or free, key=lambda worker: worker.jobs)
            hopeless = self.problem is not None and not self._workers
            if self._closing or hopeless:
                return None
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        for tell in self._watchers:
            tell()

    def _refused(self, job: Job) -> Failed:
        if self._closing:
            return Failed(id=job.id, status=503, code="closing", detail="The server is closing.")
        return Failed(
            id=job.id, status=503, code="no-worker", detail="No worker is ready at the moment."
        )


class _Ledger:
    """Which jobs of a batch are open, and how much each has said."""

    def __init__(self, batch: Sequence[Job]) -> None:
        self.open = {job.id: job for job in batch}
        self._said: Counter[str] = Counter()

    def is_new(self, said: Said) -> bool:
        """Note a message; a stream that is tried again repeats itself, bit for bit."""
        name = said.message.id
        if is_last(said.message):
            self.open.pop(name, None)
        elif said.number <= self._said[name]:
            return False
        self._said[name] = max(self._said[name], said.number)
        return True


def _crashed(job: Job) -> Failed:
    return Failed(
        id=job.id,
        status=422,
        code="crashed",
        detail=expected("the image", "one that can be decoded and segmented",
                        "one that ended the process that worked on it, twice",
                        "exporting it again, or another format"),
    )  # fmt: skip


def _lost(job: Job) -> Failed:
    return Failed(id=job.id, status=500, code="unanswered", detail="The job got no answer.")
