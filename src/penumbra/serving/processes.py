"""A worker process as its parent sees it: started, spoken to without waiting, missed when gone."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import queue
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from penumbra.errors import ModelError, expected
from penumbra.serving.messages import (
    Answer,
    Batch,
    BatchDone,
    Cancel,
    Failed,
    Forget,
    Job,
    NotLoaded,
    Ready,
    Stop,
)
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.unread import Said, Unread
from penumbra.serving.worker import work

State = Literal["starting", "ready", "leaving", "dead"]

_MOST_SESSIONS = 4096
_GRACE_S = 5.0


class WorkerEndedError(Exception):
    """The worker ended before the batch did."""


class Run:
    """A batch that a worker is busy with.

    Attributes:
        number: of the batch.
        over: whether the worker has said everything, or ended.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.over = False
        self._unread = Unread()
        self._ended = False

    def hear(self, message: Answer | Failed) -> None:
        """Take what the worker says."""
        self._unread.put(message)

    def finish(self, *, ended: bool = False) -> None:
        """Note that nothing follows, because all is said or because the worker ended."""
        self.over, self._ended = True, ended
        self._unread.close()

    async def next(self) -> Said | None:
        """Wait for the next message; ``None`` after the last.

        Raises:
            WorkerEndedError: the worker ended before.
        """
        said = await self._unread.get()
        if said is None and self._ended:
            raise WorkerEndedError
        return said


class WorkerProcess:
    """One worker. All methods are called in the event loop's thread, and none of them blocks it.

    Args:
        specs: what it loads.
        settings: its bounds.
        on_change: called whenever it becomes free, or ends.

    Attributes:
        state: what it is doing; ``"ready"`` also while it works.
        models: descriptions of what it has loaded.
        run: the batch that it works on.
        jobs: how many jobs it was given so far.
        detail: why it could not load, where it said so.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        settings: WorkerSettings,
        *,
        on_change: Callable[[WorkerProcess], None],
    ) -> None:
        self.state: State = "starting"
        self.models: tuple[dict[str, Any], ...] = ()
        self.run: Run | None = None
        self.jobs = 0
        self.detail = ""
        self._settings, self._on_change = settings, on_change
        self._since = time.monotonic()
        self._numbers = 0
        self._watch: asyncio.TimerHandle | None = None
        self._sessions: OrderedDict[str, None] = OrderedDict()
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self.ended = asyncio.Event()
        self._scratch = tempfile.TemporaryDirectory(prefix="penumbra-worker-")
        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(
            target=work,
            args=(self._theirs, tuple(specs), settings, self._scratch.name),
            name="penumbra-worker",
        )

    @property
    def pid(self) -> int | None:
        """The process id, once there is one."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit status; below 0 the signal that ended it, negated."""
        return self._process.exitcode

    @property
    def is_free(self) -> bool:
        """Whether a batch can be given to it."""
        return self.state == "ready" and self.run is None

    def describe(self) -> dict[str, Any]:
        """Give plain values for a status page."""
        state = "busy" if self.state == "ready" and self.run is not None else self.state
        return {
            "pid": self.pid,
            "state": state,
            "for_s": round(time.monotonic() - self._since, 3),
            "jobs": self.jobs,
            "exit_code": self.exit_code if self.state == "dead" else None,
        }

    async def start(self) -> None:
        """Start the process and wait until its models are loaded.

        Raises:
            ModelError: it could not load them, ended, or took longer than `start_timeout_s`.
        """
        await asyncio.to_thread(self._process.start)
        # Only the worker may hold its end: else its death would not end the pipe.
        self._theirs.close()
        for target in (self._listen, self._speak):
            threading.Thread(target=target, name="penumbra-worker-pipe", daemon=True).start()
        try:
            await asyncio.wait_for(self._settled.wait(), self._settings.start_timeout_s)
        except TimeoutError:
            self.detail = f"nothing within {self._settings.start_timeout_s:g} s"
        finally:
            if self.state != "ready":
                self.kill()
        if self.state != "ready":
            await self.ended.wait()
            got = self.detail or f"a process that ended with status {self.exit_code}"
            raise ModelError(
                self.detail if self.detail.startswith("Expected") else
                expected("the worker", "ready with its models", got, "its messages above")
            )  # fmt: skip

    def begin(self, jobs: Sequence[Job]) -> Run:
        """Give it a batch; it must be free."""
        self._numbers += 1
        self.run = Run(self._numbers)
        self.jobs += len(jobs)
        self._outbox.put(Batch(self._numbers, tuple(self._lightened(job) for job in jobs)))
        self._wind()
        return self.run

    def abandon(self, run: Run) -> None:
        """Tell it that nobody waits for the rest of a batch; it is free once it has heard."""
        if not run.over:
            self._outbox.put(Cancel(run.number))

    def leave(self) -> None:
        """Take no further batch, and end once the present one is done."""
        if self.state == "dead":
            return
        self._become("leaving")
        if self.run is None:
            self._outbox.put(Stop())

    def kill(self) -> None:
        """End it at once."""
        if self._process.pid is not None:
            self._process.kill()

    async def leave_within(self, seconds: float) -> None:
        """As `leave`, and wait for its end; it is killed after so many seconds."""
        self.leave()
        try:
            await asyncio.wait_for(self.ended.wait(), seconds)
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def knows(self, session: str) -> bool:
        """Whether it has made this session's embedding, as far as is known."""
        return session in self._sessions

    def remember(self, session: str) -> None:
        """Note that it has made this session's embedding."""
        self._sessions[session] = None
        self._sessions.move_to_end(session)
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def forget(self, session: str) -> None:
        """Note that it has a session's embedding no more."""
        self._sessions.pop(session, None)

    def drop(self, session: str) -> None:
        """Have it forget a session, where it has the embedding or may be making it."""
        if self.state in ("ready", "leaving") and (self.knows(session) or self.run is not None):
            self._outbox.put(Forget(session))
        self.forget(session)

    def _lightened(self, job: Job) -> Job:
        if job.kind == "prompt" and self.knows(str(job.options.get("session"))):
            return replace(job, upload=None)
        return job

    def _become(self, state: State) -> None:
        self.state, self._since = state, time.monotonic()

    def _wind(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = None
        if self.run is not None:
            self._watch = self._loop.call_later(self._settings.silence_timeout_s, self.kill)

    def _hear(self, message: object) -> None:
        if isinstance(message, Ready):
            self.models = message.models
            self._become("ready")
            self._settled.set()
        elif isinstance(message, NotLoaded):
            self.detail = message.detail
        elif isinstance(message, (Answer, Failed)) and self.run is not None:
            self.run.hear(message)
        elif isinstance(message, BatchDone) and self.run is not None:
            run, self.run = self.run, None
            run.finish()
            if self.state == "leaving":
                self._outbox.put(Stop())
            self._on_change(self)
        self._wind()

    def _end(self) -> None:
        run, self.run = self.run, None
        self._wind()
        self._become("dead")
        self._settled.set()
        self.ended.set()
        if run is not None:
            run.finish(ended=True)
        self._on_change(self)

    def _listen(self) -> None:
        """Read the pipe until it ends; a thread of its own, so that the loop never waits for it."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._tell(self._hear, self._connection.recv())
        self._outbox.put(None)
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        with contextlib.suppress(OSError):
            self._scratch.cleanup()
        self._tell(self._end)

    def _speak(self) -> None:
        """Write to the pipe; a large batch may take as long as the worker takes to read it."""
        while (message := self._outbox.get()) is not None:
            try:
                self._connection.send(message)
            except OSError:
                return  # It ended, which `_listen` tells.

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        # The loop may be closed already, where the program ends without closing the pool.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)
