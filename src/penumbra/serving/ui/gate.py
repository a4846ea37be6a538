"""The door of the app where there are API keys: a page asks for one before anything else is sent.

Nobody without a key gets a script, a websocket or an upload, and so no memory and no pass of a
network. A key buys a session that a cookie holds; the key itself is kept by nobody.
"""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "penumbra_ui"
SIGN_IN = "/sign-in"
_MOST_BYTES = 4096
_MOST_SESSIONS = 1000
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Penumbra</title>
<style>
:root {{ color-scheme: light dark; --paper: #FAFAF7; --ink: #15171A; --rule: #8B8D86; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #101216; --ink: #E8E6E1; }} }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
form {{ display: grid; gap: .75rem; width: min(24rem, 90vw); }}
input, button {{ font: inherit; padding: .5rem .75rem; border: 1px solid var(--rule);
  border-radius: 4px; background: transparent; color: inherit; }}
button {{ background: var(--ink); color: var(--paper); cursor: pointer; }}
</style>
<form method="post" action="{action}">
<strong>Penumbra</strong>
<label for="key">This server asks for an API key.</label>
<input id="key" name="key" type="password" autocomplete="off" required autofocus>
{said}<button>Open</button>
</form>
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"


class Gate:
    """ASGI: let those in who have shown a key.

    Args:
        app: what is behind.
        accepts: whether a key is one, compared in constant time.
        path: where the app is mounted.
        wait: told who asked with a wrong key; gives the seconds until they may ask again.
        seconds: how long a session lasts.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        accepts: Callable[[str], bool],
        path: str,
        wait: Callable[[str], float] | None = None,
        seconds: float = 8 * 3600,
    ) -> None:
        self._app = app
        self._accepts = accepts
        self._path = path
        self._wait = wait or (lambda _: 0.0)
        self._seconds = seconds
        self._sessions: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes with a session; ask others for a key."""
        if scope["type"] not in ("http", "websocket") or self._is_in(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await (await self._ask(Request(scope, receive)))(scope, receive, send)

    def _is_in(self, scope: Scope) -> bool:
        # What stands in front of this may have asked for the key already.
        if scope.get("penumbra.holder"):
            return True
        given = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
        return self._sessions.get(given, 0.0) > time.monotonic()

    async def _ask(self, request: Request) -> Response:
        if request.method == "POST" and request.url.path == self._path + SIGN_IN:
            return await self._sign_in(request)
        if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
            return self._page(401)
        return Response(status_code=401)

    async def _sign_in(self, request: Request) -> Response:
        client = request.client.host if request.client else "unknown"
        key = await _key_in(request)
        if key is None or not self._accepts(key):
            left = self._wait(client)
            if left:
                said = self._page(429, f"Too many tries. Try again in {left:.0f} s.")
                said.headers["Retry-After"] = f"{max(1, round(left))}"
                return said
            return self._page(401, "This is none of the keys. Try it again.")
        answer = RedirectResponse(f"{self._path}/", status_code=303)
        answer.set_cookie(
            COOKIE, self._session(), max_age=int(self._seconds), path=self._path, httponly=True,
            samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def _session(self) -> str:
        now = time.monotonic()
        self._sessions = {name: end for name, end in self._sessions.items() if end > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        name = secrets.token_urlsafe(32)
        self._sessions[name] = now + self._seconds
        return name

    def _page(self, status: int, said: str = "") -> Response:
        words = f'<p role="alert">{html.escape(said)}</p>' if said else ""
        page = _PAGE.format(action=html.escape(self._path + SIGN_IN), said=words)
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page, status_code=status, headers=headers)


async def _key_in(request: Request) -> str | None:
    """Read the one field of the form, of a body that cannot be long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            return None
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=4)
    return fields.get("key", [None])[0]
