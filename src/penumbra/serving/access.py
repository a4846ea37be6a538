"""Who is let in: hosts and origins that belong here, API keys, and not too often."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from penumbra.serving.keys import ApiKeys, key_of
from penumbra.serving.limits import TokenBuckets
from penumbra.serving.problems import Problem
from penumbra.serving.settings import is_loopback

_GUARDED = ("/v1", "/metrics", "/ui")
_BROWSED = "/ui"


class Origins:
    """ASGI: refuse requests that a page of another origin made a browser send.

    Args:
        app: what is behind.
        loopback: whether the server listens on this machine alone. Then the name by which it is
            called has to be this machine's too, since a page elsewhere could have its own name
            point here.
        allowed: origins of other pages that may ask.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool, allowed: Collection[str]) -> None:
        self._app = app
        self._loopback = loopback
        self._allowed = {origin.rstrip("/").lower() for origin in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise the `Problem` with it."""
        if scope["type"] in ("http", "websocket"):
            problem = self._problem(scope)
            if problem is not None:
                await _refuse(scope, send, problem)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._loopback and not is_loopback(_name_of(host)):
            return Problem(403, "This server is called localhost or 127.0.0.1, and nothing else.")
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        if origin is None and site != "cross-site":
            return None
        return self._of_origin(origin, host, scope)

    def _of_origin(self, origin: bytes | None, host: str, scope: Scope) -> Problem | None:
        if origin is None:
            # A link followed from elsewhere opens a page; nothing else comes without an origin.
            opens = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
            return None if opens and not scope["path"].startswith("/v1") else _cross_site()
        given = origin.decode("latin-1").rstrip("/").lower()
        if given in self._allowed or urlsplit_host(given) == host:
            return None
        return _cross_site()


class Access:
    """ASGI: ask for a key where there are keys, and bound how often each may ask.

    ``scope["penumbra.holder"]`` says whose key it was.

    Args:
        app: what is behind.
        keys: that are let in; without any, everybody is.
        buckets: of requests.
    """

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, buckets: TokenBuckets) -> None:
        self._app = app
        self._keys = keys
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise the `Problem` with it."""
        if scope["type"] in ("http", "websocket") and _is_guarded(scope["path"]):
            problem = self._problem(scope)
            if problem is not None:
                await _refuse(scope, send, problem)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        holder = self._keys.holder(_given(scope)) if self._keys else None
        scope["penumbra.holder"] = holder
        client = scope.get("client") or ("unknown", 0)
        # Wrong keys are counted by address, so that they cannot be tried out at leisure.
        if scope["path"].startswith("/v1") or (self._keys and holder is None):
            wait = self._buckets.take(holder or f"at {client[0]}")
            if wait:
                return _too_often(wait)
        if not self._keys or holder is not None:
            return None
        problem = Problem(401, "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if scope["path"].startswith(_BROWSED):
            # A browser asks for it then; the name may be anything, the key is the password.
            problem.headers = {"WWW-Authenticate": 'Basic realm="penumbra"'}
        return problem


def urlsplit_host(origin: str) -> str | None:
    """Give host and port of an origin, or ``None``.

    Examples:
        >>> urlsplit_host("http://localhost:8000"), urlsplit_host("null") is None
        ('localhost:8000', True)
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") and parts.netloc else None


async def _refuse(scope: Scope, send: Send, problem: Problem) -> None:
    if scope["type"] == "http":
        raise problem
    await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _is_guarded(path: str) -> bool:
    return any(path == start or path.startswith(f"{start}/") for start in _GUARDED)


def _given(scope: Scope) -> str | None:
    key = key_of(scope["headers"])
    if key is not None or not scope["path"].startswith(_BROWSED):
        return key
    text = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, coded = text.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(coded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return plain.partition(":")[2]


def _name_of(host: str) -> str:
    """Cut the port off.

    Examples:
        >>> _name_of("localhost:80"), _name_of("[::1]:80"), _name_of("a")
        ('localhost', '[::1]', 'a')
    """
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _cross_site() -> Problem:
    return Problem(403, "Pages of other origins may not ask here, unless --cors-origin names them.")


def _too_often(wait: float) -> Problem:
    return Problem(
        429, f"Too many requests. Try again in {wait:.1f} s.", code="rate", retry_after=wait
    )
