"""Around everything: a number for every request, its headers, and no traceback for anybody."""

from __future__ import annotations

import logging
import secrets
import time
import traceback
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penumbra.serving.addresses import path_of
from penumbra.serving.problems import Problem, instance_of, problem_response

log = logging.getLogger("penumbra.serving")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'{inline}; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_ELSEWHERE = ("/ui",)
"""Its pages bring scripts that a strict policy would stop."""

Count = Callable[[Scope, int, float], None]


class Guard:
    """ASGI: number requests, add headers, and turn whatever went wrong into a problem document.

    Args:
        app: what is behind.
        count: told the scope, the status and the seconds of every request.
    """

    def __init__(self, app: ASGIApp, *, count: Count) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["penumbra.request"] = number = secrets.token_hex(8)
        # Before a mount changes what the scope says.
        path = path_of(scope)
        started, status = time.perf_counter(), 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, path, number)
            await send(message)

        try:
            await self._app(scope, receive, seen)
        except Exception as error:  # noqa: BLE001 - the outermost place: nothing may get past it
            problem = _problem_of(error, number)
            if status:
                # The answer has begun: all that is left is to break it off.
                raise ConnectionAbortedError(number) from None
            response = problem_response(problem, instance_of(Request(scope)))
            await response(scope, receive, seen)
        finally:
            self._count(scope, status or 499, time.perf_counter() - started)


def _problem_of(error: Exception, number: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, ClientDisconnect):
        return Problem(499, "The client went away.", code="gone")
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail))
    # The message may hold a name or an identifier of what was sent; where it came from does not.
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error(
        "request %s failed: %s in %s, line %s",
        number,
        type(error).__name__,
        place.name,
        place.lineno,
    )
    return Problem(
        500, "An error that was not foreseen. The log has it under the request's number."
    )


def _add_headers(message: Message, path: str, number: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-ID"] = number
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith(("/v1", "/readyz")):
        headers.setdefault("Cache-Control", "no-store")
    if not path.startswith(_ELSEWHERE):
        # The style of this one page is within it.
        inline = " 'unsafe-inline'" if path == "/docs" else ""
        headers.setdefault("Content-Security-Policy", _POLICY.format(inline=inline))
