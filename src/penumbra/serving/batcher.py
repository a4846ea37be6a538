"""Micro-batching: requests wait a moment for company, in a queue that has an end."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from penumbra.errors import PenumbraError
from penumbra.serving.messages import Answer, Failed, Job
from penumbra.serving.unread import Unread, is_last

_LOG = logging.getLogger(__name__)
_MEMORY = 0.2
"""Weight of the latest batch in the running mean of seconds per job."""


class QueueFullError(PenumbraError):
    """As many requests wait as may.

    Attributes:
        retry_after: whole seconds after which there is probably room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The queue is full. Try again in {retry_after} s.")
        self.retry_after = retry_after


class JobFailedError(PenumbraError):
    """A job has no answer; `failed` says why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


class Pool(Protocol):
    """What runs batches."""

    @property
    def capacity(self) -> int:
        """How many at once."""
        ...

    def submit(self, batch: Sequence[Job]) -> AsyncGenerator[Answer | Failed, None]:
        """Run one."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A pool whose capacity changes while it runs, as workers come and go."""

    def watch(self, tell: Callable[[], None]) -> None:
        """Have a function called, in the event loop, whenever more may fit."""
        ...


@dataclass(eq=False)
class _Entry:
    job: Job
    came: float
    waited: float = 0.0
    unread: Unread = field(default_factory=Unread)
    is_over: bool = False
    is_wanted: bool = True
    mates: Sequence[_Entry] = ()
    task: asyncio.Task[None] | None = None

    def hear(self, message: Answer | Failed) -> None:
        self.is_over = is_last(message)
        if self.is_wanted:
            self.unread.put(message)
        if self.is_over:
            self.unread.close()

    def give_up(self) -> None:
        """Want it no more; a batch of which nobody wants anything more is given up."""
        self.is_wanted = False
        others = any(mate.is_wanted and not mate.is_over for mate in self.mates)
        if self.task is not None and not self.is_over and not others:
            self.task.cancel()


class MicroBatcher:
    """Hands jobs to the pool in batches of one key, the oldest first.

    Args:
        pool: runs the batches; one that is `Watched` says itself when more of them fit.
        max_batch: most jobs of a batch.
        max_wait_ms: how long a job waits for company while a worker is free.
        max_queue: most jobs that wait; those that run do not count.
        on_batch: told the size of every batch.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        max_batch: int = 8,
        max_wait_ms: float = 2.0,
        max_queue: int = 16,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self.pool = pool
        self.max_batch, self.max_wait, self.max_queue = max_batch, max_wait_ms / 1000, max_queue
        self._on_batch = on_batch or (lambda _: None)
        self._waiting: list[_Entry] = []
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.1
        self._closing = False
        self._empty = asyncio.Event()
        self._empty.set()
        if isinstance(pool, Watched):
            pool.watch(self._dispatch)

    @property
    def depth(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next job would be refused."""
        return len(self._waiting) >= self.max_queue

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least 1, in which what waits now is probably done."""
        ahead = len(self._waiting) / max(1, self.pool.capacity)
        return max(1, math.ceil(ahead * self._seconds))

    async def submit(self, job: Job) -> Answer:
        """Wait for the answer of a job; of a stream, for the last.

        Raises:
            QueueFullError: too many wait already.
            JobFailedError: there is no answer, or the queue is closed (503, ``closing``).
        """
        answer: Answer | None = None
        async with aclosing(self.stream(job)) as answers:
            async for said in answers:
                answer = said
        if answer is None:  # `stream` ends with an answer or an error.
            raise JobFailedError(_closed(job))
        return answer

    async def stream(self, job: Job) -> AsyncGenerator[Answer, None]:
        """Give the answers of a job as they come; closing the iterator gives the job up.

        An estimate that is not read before the next one comes is left out; the last answer never.

        Raises:
            QueueFullError, JobFailedError: as `submit`.
        """
        if self._closing:
            raise JobFailedError(_closed(job))
        if self.full:
            raise QueueFullError(self.retry_after)
        entry = _Entry(job, time.monotonic())
        self._waiting.append(entry)
        self._empty.clear()
        self._dispatch()
        try:
            while (said := await entry.unread.get()) is not None:
                if isinstance(said.message, Failed):
                    raise JobFailedError(said.message)
                yield said.message.after(entry.waited)
        finally:
            entry.give_up()
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._settle()

    async def drain(self) -> None:
        """Refuse further jobs and wait until those that were accepted are answered."""
        self._closing = True
        await self._empty.wait()

    def _dispatch(self) -> None:
        """Start as many batches as workers are free for; look again when the oldest has waited."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._running) < self.pool.capacity:
            batch, due = self._next()
            if not batch:
                self._timer = asyncio.get_running_loop().call_later(due, self._dispatch)
                return
            self._waiting = [entry for entry in self._waiting if entry not in batch]
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            for entry in batch:
                entry.task, entry.mates = task, batch
            task.add_done_callback(self._done)

    def _next(self) -> tuple[list[_Entry], float]:
        """Choose a batch: the oldest job that is full or has waited, with those of its key."""
        now, groups = time.monotonic(), dict[object, list[_Entry]]()
        for entry in self._waiting:
            groups.setdefault(entry.job.key, []).append(entry)
        due = math.inf
        for group in groups.values():
            left = group[0].came + self.max_wait - now
            if left <= 0 or len(group) >= self.max_batch:
                return group[: self.max_batch], 0.0
            due = min(due, left)
        return [], due

    async def _run(self, batch: list[_Entry]) -> None:
        began, entries = time.monotonic(), {entry.job.id: entry for entry in batch}
        self._on_batch(len(batch))
        for entry in batch:
            entry.waited = began - entry.came
        try:
            async with aclosing(self.pool.submit([entry.job for entry in batch])) as messages:
                async for message in messages:
                    entries[message.id].hear(message)
            spent = (time.monotonic() - began) / len(batch)
            self._seconds += _MEMORY * (spent - self._seconds)
        finally:
            for entry in batch:
                if not entry.is_over:
                    entry.hear(_unanswered(entry.job))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Unasked, asyncio would log its words, which may quote what was sent.
            _LOG.error("A batch failed: %s.", type(error).__name__)
        self._dispatch()
        self._settle()

    def _settle(self) -> None:
        if not self._waiting and not self._running:
            self._empty.set()


def _closed(job: Job) -> Failed:
    return Failed(id=job.id, status=503, code="closing", detail="The server is closing.")


def _unanswered(job: Job) -> Failed:
    return Failed(id=job.id, status=500, code="unanswered", detail="The job got no answer.")
