"""What is refused before it costs anything: bodies too large, of another kind, or at a bad time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penumbra.serving.addresses import path_of
from penumbra.serving.options import MOST_COMMAS
from penumbra.serving.problems import Problem, instance_of, problem_response

MULTIPART, JSON = "multipart/form-data", "application/json"
_MOST_JSON = 8 * 2**20
_MOST_BUCKETS = 10_000
_PLACE = "penumbra.place"


@dataclass(frozen=True)
class BodyRule:
    """What the body of a route may be.

    Attributes:
        media: its media type.
        most_bytes: of it.
        queued: whether the request waits for a worker, and so is refused where the queue is full.
        most_commas: in it; what JSON holds is bounded by them before anybody reads it.
        optional: whether there need be no body.
    """

    media: str
    most_bytes: int
    queued: bool = True
    most_commas: int | None = None
    optional: bool = False


def body_rules(most_upload: int) -> Callable[[str], BodyRule | None]:
    """Say by the path what a POST may carry; ``None`` for what has no body rule.

    Args:
        most_upload: most bytes of a body with an image.

    Examples:
        >>> body_rules(1000)("/v1/segment").media
        'multipart/form-data'
        >>> body_rules(1000)("/v1/sessions/abc/prompt").media
        'application/json'
    """
    upload = BodyRule(MULTIPART, most_upload)
    fixed = {f"/v1/{name}": upload for name in ("segment", "uncertainty", "sessions", "rectify")}
    fixed["/v1/models/reload"] = BodyRule(JSON, 4096, queued=False, optional=True)

    def rule(path: str) -> BodyRule | None:
        if path.startswith("/v1/sessions/") and path.endswith("/prompt"):
            return BodyRule(JSON, _MOST_JSON, most_commas=MOST_COMMAS)
        return fixed.get(path)

    return rule


class BodyLimits:
    """ASGI: refuse a body by its announced length, by its type, or where the queue is full.

    None of the three reads the body. One without a length is counted as it comes. A request keeps
    its place among those that are read until its image waits in the queue (`leave_place`).

    Args:
        app: what is behind.
        rule: gives the rule for the path of a POST.
        otherwise: most bytes of any other body.
        refuse: gives the seconds to wait where the queue is full, else ``None``.
        most_reading: most bodies that are read at once, since each is held in memory.
        seconds: that a body may take to come, so that a slow one holds no place for ever.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rule: Callable[[str], BodyRule | None],
        otherwise: int,
        refuse: Callable[[], float | None],
        most_reading: int,
        seconds: float,
    ) -> None:
        self._app = app
        self._rule = rule
        self._otherwise = otherwise
        self._refuse = refuse
        self._most_reading = most_reading
        self._seconds = seconds
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise the `Problem` with it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rule(path_of(scope)) if scope["method"] == "POST" else None
        most = rule.most_bytes if rule else self._otherwise
        headers = dict(scope["headers"])
        _check_length(headers, most)
        if rule is not None and not (rule.optional and _has_no_body(headers)):
            _check_type(headers, rule.media)
        if rule is None or not rule.queued:
            await self._app(scope, _counted(receive, most, None, self._seconds), send)
            return
        self._check_queue()
        counted = _counted(receive, most, rule.most_commas, self._seconds)
        await self._read(scope, counted, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._reading += 1

        def leave() -> None:
            self._reading -= 1

        scope[_PLACE] = leave
        try:
            await self._app(scope, receive, send)
        finally:
            leave_place(scope)

    def _check_queue(self) -> None:
        wait = self._refuse()
        if wait is None and self._reading >= self._most_reading:
            wait = 1.0
        if wait is not None:
            raise queue_full(wait)


def leave_place(scope: Scope) -> None:
    """Say, once or oftener, that a request is counted elsewhere from now on, or is over."""
    leave = scope.pop(_PLACE, None)
    if leave is not None:
        leave()


class Refusals:
    """ASGI: make answers of the refusals behind it, so that what is before adds its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a `Problem` raised before the answer began becomes the answer."""
        begun = False

        async def seen(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, seen)
        except Problem as problem:
            if begun:
                raise
            await problem_response(problem, instance_of(Request(scope)))(scope, receive, send)


def queue_full(seconds: float) -> Problem:
    """Say that as many requests wait as may."""
    return Problem(
        429,
        f"As many requests are waiting as may. Try again in {max(1, round(seconds))} s.",
        code="queue-full",
        retry_after=max(1.0, seconds),
    )


def too_large(most: int) -> Problem:
    """Say that a body is larger than it may be."""
    return Problem(
        413, f"The request may have {most:,} bytes at most. Try a smaller file.", close=True
    )


def _counted(receive: Receive, most: int, commas: int | None, seconds: float) -> Receive:
    """Count the bytes of a body as they come, and stop at the first one too many or too late."""
    total, parts = 0, 0
    until: float | None = asyncio.get_running_loop().time() + seconds

    async def counted() -> Message:
        nonlocal total, parts, until
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise Problem(408, "The body took too long to come.", close=True) from None
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > most:
                raise too_large(most)
            parts += message.get("body", b"").count(b",") if commas is not None else 0
            if commas is not None and parts > commas:
                raise Problem(422, "The body holds more values than any request may.", close=True)
            if not message.get("more_body", False):
                until = None
        return message

    return counted


def _has_no_body(headers: dict[bytes, bytes]) -> bool:
    lengths = (headers.get(b"content-length", b"0"), headers.get(b"transfer-encoding", b""))
    return lengths == (b"0", b"")


def _check_length(headers: dict[bytes, bytes], most: int) -> None:
    length = headers.get(b"content-length", b"0")
    # A length that is no number never gets this far: the HTTP parser refuses it.
    if length.isdigit() and (len(length) > 18 or int(length) > most):
        raise too_large(most)


def _check_type(headers: dict[bytes, bytes], media: str) -> None:
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != media:
        got = given.partition(";")[0].strip()[:60] or "nothing"
        raise Problem(415, f"The Content-Type has to be {media}, but is {got}.")
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(415, "Compressed bodies are not read. Send the body as it is.")


class TokenBuckets:
    """So many requests per second and asker, with some at once before that counts.

    Args:
        rate: tokens per second; 0 for no limit.
        burst: tokens that a full bucket holds.
        clock: gives seconds that never go back.

    Examples:
        >>> seconds = [0.0]
        >>> buckets = TokenBuckets(rate=2, burst=1, clock=lambda: seconds[0])
        >>> buckets.take("a"), buckets.take("a"), buckets.take("b")
        (0.0, 0.5, 0.0)
        >>> seconds[0] = 0.5
        >>> buckets.take("a")
        0.0
    """

    def __init__(
        self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, asker: str) -> float:
        """Take a token; the seconds until there is one, or 0 where there was."""
        if not self._rate:
            return 0.0
        now = self._clock()
        level, since = self._levels.pop(asker, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._levels[asker] = (level - (wait == 0), now)
        if len(self._levels) > _MOST_BUCKETS:
            # The one that asked longest ago has the fullest bucket: little is forgiven.
            self._levels.popitem(last=False)
        return wait
