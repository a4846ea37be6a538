"""A worker process: it loads the models, answers batches, and ends with its parent."""

from __future__ import annotations

import contextlib
import importlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol, cast

from penumbra.errors import PenumbraError
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

_GONE = (EOFError, OSError)
"""What a pipe raises whose other end is closed."""
_LOOK_S = 0.05
"""From one look at the pipe to the next, while a batch runs."""


class GivenUpError(Exception):
    """Nobody waits for the batch any more. No `PenumbraError`, so that no engine answers it."""


class Engine(Protocol):
    """What answers jobs inside of a worker."""

    @property
    def models(self) -> Sequence[dict[str, Any]]:
        """One description per model."""
        ...

    def handle(
        self, jobs: Sequence[Job], *, look: Callable[[], None] | None = None
    ) -> Iterator[Answer | Failed]:
        """Answer jobs of one key, each at least once, the last time with ``last``.

        `look` is called now and then while it works; what it raises is let through.
        """
        ...

    def forget(self, session: str) -> None:
        """Keep nothing of a session any longer."""
        ...


EngineFactory = Callable[[Sequence[ModelSpec], WorkerSettings], Engine]


def work(
    connection: Connection, specs: tuple[ModelSpec, ...], settings: WorkerSettings, scratch: str
) -> None:
    """Be a worker: say `Ready` or `NotLoaded`, then answer each `Batch` until told to `Stop`.

    The process ends when the parent's end of the pipe is closed, however the parent ended.

    Args:
        connection: the worker's end of the pipe.
        specs: what to load.
        settings: its bounds.
        scratch: folder for temporary files; the parent removes it afterwards.
    """
    # A signal to the whole group, such as Ctrl+C, must not end work that was accepted: the parent
    # decides when a worker stops.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    tempfile.tempdir = scratch
    try:
        engine = _loaded(connection, specs, settings)
        while engine is not None:
            message = connection.recv()
            if isinstance(message, Stop):
                return
            if isinstance(message, Batch):
                _answer(engine, message, connection)
            elif isinstance(message, Forget):
                engine.forget(message.session)
    except _GONE:
        return


def engine_factory(name: str) -> EngineFactory:
    """Import what ``"module:function"`` names."""
    module, _, function = name.partition(":")
    return cast("EngineFactory", getattr(importlib.import_module(module), function))


def _loaded(
    connection: Connection, specs: Sequence[ModelSpec], settings: WorkerSettings
) -> Engine | None:
    try:
        engine = engine_factory(settings.engine)(specs, settings)
    except PenumbraError as error:
        connection.send(NotLoaded(str(error)))
        return None
    connection.send(Ready(tuple(engine.models)))
    return engine


def _answer(engine: Engine, batch: Batch, connection: Connection) -> None:
    latest = time.monotonic()
    over: list[str] = []

    def look() -> None:
        nonlocal latest
        now = time.monotonic()
        if now - latest >= _LOOK_S:
            latest = now
            _listen(connection, batch.number, over)

    with contextlib.suppress(GivenUpError):
        for said in engine.handle(batch.jobs, look=look):
            connection.send(said)
            look()
    # Not before, as the batch may have embedded the image of such a session meanwhile.
    for session in over:
        engine.forget(session)
    connection.send(BatchDone(batch.number))


def _listen(connection: Connection, number: int, over: list[str]) -> None:
    """Look whether nobody waits any more, and note the sessions that are over.

    While a batch runs, the parent says nothing else.
    """
    while connection.poll():
        message = connection.recv()
        if isinstance(message, Forget):
            over.append(message.session)
        if isinstance(message, Cancel) and message.number == number:
            raise GivenUpError
