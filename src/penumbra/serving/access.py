"""Who is let in: hosts and origins that belong here, API keys, and not too often."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from penumbra.serving.addresses import is_loopback, is_of_network, path_of
from penumbra.serving.keys import ApiKeys, key_of
from penumbra.serving.limits import TokenBuckets
from penumbra.serving.problems import Problem

_GUARDED = ("/v1", "/metrics")
"""What is open: whether it lives, the pages, and the Streamlit app, which asks by itself."""
_ASK = "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`."


class Origins:
    """ASGI: refuse requests that a page of another origin made a browser send.

    Args:
        app: what is behind.
        loopback: whether the server is for this machine alone. Then the name by which it is called
            has to be this machine's too, since a page elsewhere could have its own name point here;
            and so has the address that asks, whatever the ASGI server listens on.
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
        if self._loopback and (is_of_network(scope) or not is_loopback(_name_of(host))):
            return Problem(403, "This server answers its own machine, as localhost or 127.0.0.1.")
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        if origin is None and site != "cross-site":
            return None
        return self._of_origin(origin, host, scope)

    def _of_origin(self, origin: bytes | None, host: str, scope: Scope) -> Problem | None:
        if origin is None:
            # A link followed from elsewhere opens a page; nothing else comes without an origin.
            opens = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
            return None if opens and not path_of(scope).startswith("/v1") else _cross_site()
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
        wrong: of requests with a wrong key or none.
    """

    def __init__(
        self, app: ASGIApp, *, keys: ApiKeys, buckets: TokenBuckets, wrong: TokenBuckets
    ) -> None:
        self._app = app
        self._keys = keys
        self._buckets = buckets
        self._wrong = wrong

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise the `Problem` with it."""
        if scope["type"] in ("http", "websocket") and _is_guarded(path_of(scope)):
            problem = self._problem(scope)
            if problem is not None:
                await _refuse(scope, send, problem)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        address = f"at {(scope.get('client') or ('unknown', 0))[0]}"
        if self._keys:
            holder = self._keys.holder(key_of(scope["headers"]))
            if holder is None:
                # Counted by address, so that keys cannot be tried out at leisure.
                wait = self._wrong.take(address)
                return _too_often(wait) if wait else Problem(401, _ASK)
            scope["penumbra.holder"] = address = holder
        wait = self._buckets.take(address)
        return _too_often(wait) if wait else None


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
