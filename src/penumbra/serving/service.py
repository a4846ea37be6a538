"""What all routes share: the models' workers, the queue before them, and what is kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from penumbra.serving.batcher import JobFailedError, MicroBatcher, QueueFullError
from penumbra.serving.keys import ApiKeys
from penumbra.serving.limits import leave_place, queue_full
from penumbra.serving.messages import Answer, Failed, Job, Kind, batch_key
from penumbra.serving.metrics import Metrics
from penumbra.serving.problems import Problem
from penumbra.serving.results import Results
from penumbra.serving.sessions import Sessions
from penumbra.serving.settings import ServeSettings

T = TypeVar("T")


class ServingPool(Protocol):
    """What an application needs of its pool; `WorkerPool` is one."""

    problem: str | None
    deaths: int

    @property
    def is_ready(self) -> bool:
        """Whether some worker can take jobs."""
        ...

    @property
    def capacity(self) -> int:
        """How many batches can run at once."""
        ...

    @property
    def models(self) -> list[dict[str, Any]]:
        """Descriptions of the models as the workers loaded them."""
        ...

    def status(self) -> list[dict[str, Any]]:
        """Describe every worker."""
        ...

    async def start(self) -> None:
        """Load the models."""
        ...

    async def reload(self, name: str | None = None) -> None:
        """Load them anew."""
        ...

    async def drain(self, timeout: float = 30.0) -> None:
        """Finish what runs and end."""
        ...

    def forget(self, session: str) -> None:
        """Have the workers drop what they keep of a session."""
        ...

    def submit(self, batch: Sequence[Job]) -> AsyncGenerator[Answer | Failed, None]:
        """Run a batch."""
        ...


@dataclass
class Service:
    """What all routes of one application share.

    Attributes:
        settings: how it is set up.
        pool: the workers.
        batcher: the queue before them.
        results: files of answers.
        sessions: images that prompts are asked on.
        metrics: what is counted.
        keys: that are let in.
        loaded: set once the models are loaded, or cannot be.
        failure: why they cannot be.
        loop: that everything runs in, once it does.
    """

    settings: ServeSettings
    pool: ServingPool
    batcher: MicroBatcher
    results: Results
    sessions: Sessions
    metrics: Metrics
    keys: ApiKeys
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str | None = None
    loop: asyncio.AbstractEventLoop | None = None
    _models: list[dict[str, Any]] = field(default_factory=list)

    @property
    def models(self) -> list[dict[str, Any]]:
        """Descriptions of the models, also while a worker that knows them is replaced.

        Raises:
            Problem: 503 before they were loaded for the first time.
        """
        self._models = self.pool.models or self._models
        if not self._models:
            raise not_ready(self.failure)
        return self._models

    def model(self, name: str | None, kind: str) -> str:
        """Give the name of the model that is meant.

        Raises:
            Problem: 422 where there is none of this name that does this.
        """
        fit = [model["name"] for model in self.models if model["kind"] == kind]
        if name is None and fit:
            return str(fit[0])
        if name is None or name not in fit:
            known = ", ".join(fit) or "none: the server was started without"
            message = f"no {kind} of this name; there is {known}"
            raise Problem(
                422, f"`model`: {message}", errors=[{"field": "model", "message": message}]
            )
        return name

    def takes_noise(self, name: str) -> bool:
        """Tell whether a model is a network; classical methods have no features to disturb."""
        return any(model.get("network", True) for model in self.models if model["name"] == name)

    def job(
        self,
        kind: Kind,
        model: str,
        upload: bytes | None,
        options: Mapping[str, Any],
        size: tuple[int, int] | None = None,
    ) -> Job:
        """Make a job under a name that cannot be guessed, as its results are linked by it."""
        name = secrets.token_urlsafe(16)
        given = dict(options) | ({"session": name} if kind == "embed" else {})
        key = batch_key(name, kind, model, given, size)
        return Job(id=name, kind=kind, model=model, upload=upload, options=given, key=key)

    async def answer(self, request: Request, job: Job) -> Answer:
        """Wait for the answer to a job; where the client goes away, the job is given up.

        Raises:
            Problem: there is no answer.
        """
        leave_place(request.scope)
        try:
            answer = await self.within(while_connected(request, self.batcher.submit(job)))
        except (QueueFullError, JobFailedError) as error:
            raise as_problem(error) from None
        return self.seen(answer, linked=job.options.get("accept", "json") == "json")

    async def within(self, work: Awaitable[T]) -> T:
        """Wait for work no longer than a request may take.

        Raises:
            Problem: 503 where it takes longer.
        """
        try:
            async with asyncio.timeout(self.settings.request_timeout_s):
                return await work
        except TimeoutError:
            raise took_too_long() from None

    async def stream(self, request: Request, job: Job) -> AsyncGenerator[Answer, None]:
        """Give the answers to a job as they come; closing it gives the job up.

        Raises:
            Problem: there is no answer.
        """
        leave_place(request.scope)
        try:
            async with aclosing(self.batcher.stream(job)) as answers:
                async for answer in answers:
                    yield self.seen(answer)
        except (QueueFullError, JobFailedError) as error:
            raise as_problem(error) from None

    def seen(self, answer: Answer, *, linked: bool = True) -> Answer:
        """Count an answer and keep its files.

        Args:
            answer: that came.
            linked: whether its files are to be asked for by their links.

        Raises:
            Problem: 413 where the files are larger than what is kept of all answers together.
        """
        if answer.last:
            self.metrics.observe_timings(answer.timings)
        if answer.cached is not None:
            self.metrics.count_embedding(hit=answer.cached)
        if not self.results.put(answer.id, answer.files) and linked:
            raise Problem(413, self.results.refusal(answer.files))
        return answer

    def refusal(self) -> float | None:
        """Give the seconds to wait where the queue is full, else ``None``.

        Raises:
            Problem: 503 before the models were loaded for the first time.
        """
        _ = self.models
        return float(self.batcher.retry_after) if self.batcher.full else None


def service_of(request: Request) -> Service:
    """Give what the application of a request shares."""
    service = request.app.state.service
    if not isinstance(service, Service):
        raise not_ready(None)
    return service


def not_ready(failure: str | None) -> Problem:
    """Say that there are no models yet, or that there will be none."""
    if failure is not None:
        return Problem(503, "The models cannot be loaded. The server's log says why.")
    return Problem(503, "The models are being loaded. GET /readyz says when.", retry_after=2)


def as_problem(error: Exception) -> Problem:
    """Say why there is no answer."""
    if isinstance(error, QueueFullError):
        return queue_full(error.retry_after)
    if isinstance(error, JobFailedError):
        failed = error.failed
        wait = 2.0 if failed.status == 503 else None
        return Problem(failed.status, failed.detail, code=failed.code, retry_after=wait)
    return Problem(500, "The job got no answer.")


def took_too_long() -> Problem:
    """Say that a request was given up."""
    return Problem(503, "The answer took too long.", code="timeout", retry_after=5)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Wait for work, and cancel it when the client goes away.

    Raises:
        Problem: 499, which nobody reads any more.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(499, "The client went away.", code="gone")
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
