"""The Streamlit app inside a FastAPI process: one process, one port."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penumbra.errors import MissingExtraError
from penumbra.serving.keys import ApiKeys
from penumbra.serving.ui.backend import Backend, register
from penumbra.serving.ui.gate import Gate

SCRIPT = Path(__file__).resolve().parents[1] / "streamlit_app.py"
_MIB = 2**20
_POLICY = b"frame-src 'none'; object-src 'none'; frame-ancestors 'self'"
"""A report is in a frame without an address, which goes to none."""
_NOT_HERE = "The pages are not open here now. Try again in a moment."
_LOG = logging.getLogger(__name__)

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def is_installed() -> bool:
    """Tell whether the extra ``[ui]`` is installed."""
    return importlib.util.find_spec("streamlit") is not None


def mount_streamlit(
    app: FastAPI,
    *,
    backend: Backend,
    path: str = "/ui",
    keys: ApiKeys | None = None,
    max_upload_bytes: int = 32 * _MIB,
    wait: Callable[[str], float] | None = None,
) -> Lifespan:
    """Mount the app and give the lifespan that starts and stops what runs its pages.

    One process shows one such app at a time. With keys a page asks for one before anything else
    is sent.

    Args:
        app: where it is mounted.
        backend: who computes for the pages.
        path: where.
        keys: that are let in; without any, everybody is.
        max_upload_bytes: of a file given in the page.
        wait: told the address of who showed a wrong key; gives the seconds until they may try
            again, 0 for at once.

    Returns:
        To be entered within the application's own lifespan:
        ``async with mount_streamlit(app, …)(app): …``.

    Raises:
        MissingExtraError: the extra ``[ui]`` is not installed.
    """
    if not is_installed():
        raise MissingExtraError("The Streamlit app needs the extra [ui]: pip install "
                                "'penumbra-segmentation[ui]'.")  # fmt: skip
    pages = Pages(backend, max_upload_bytes=max_upload_bytes)
    outer: ASGIApp = pages
    if keys:
        outer = Gate(pages, accepts=lambda key: keys.holder(key) is not None, path=path, wait=wait)
    app.mount(path, outer, name="ui")
    return pages.lifespan


class Pages:
    """ASGI: the app while it runs, and a refusal before and after.

    Streamlit holds one runtime in a process and makes it together with its application; here that
    is made when the server starts, and given up when it ends, so that an application that is only
    built, or one after another, stands in nobody's way.

    Args:
        backend: who computes for the pages.
        max_upload_bytes: of a file given in the page.
    """

    def __init__(self, backend: Backend, *, max_upload_bytes: int) -> None:
        self._backend = backend
        self._max_upload_bytes = max_upload_bytes
        self._inner: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to the app, where it runs."""
        if self._inner is not None:
            await self._inner(scope, receive, _guarding(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013, "reason": ""})
        else:
            await PlainTextResponse(_NOT_HERE, status_code=503)(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncGenerator[None, None]:
        """Run the app; where another one runs in this process, this one stays away."""
        import streamlit as st  # noqa: PLC0415 - an extra
        from streamlit.runtime import Runtime  # noqa: PLC0415

        from penumbra.serving.ui import theme  # noqa: PLC0415 - it needs the extra

        if Runtime.exists():
            _LOG.warning("One process shows one Streamlit app; this one is not shown.")
            yield
            return
        theme.apply({"server.maxUploadSize": max(1, math.ceil(self._max_upload_bytes / _MIB))})
        inner = st.App(SCRIPT, on_script_error=_said)
        started = inner.lifespan()
        runtime = Runtime.instance()
        register(self._backend)
        try:
            async with started(app):
                self._inner = inner
                yield
            await runtime.stopped
        finally:
            self._inner = None
            register(None)
            # It has no other way to make room for the next one.
            Runtime._instance = None  # noqa: SLF001


def _guarding(send: Send) -> Send:
    """Add the policy to the headers of every answer."""

    async def with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (b"content-security-policy", _POLICY)
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return with_policy


def _said(error: Exception) -> bool:
    """Show an unforeseen error without its traceback; the log has that."""
    import streamlit as st  # noqa: PLC0415 - an extra

    st.error(f"Something went wrong here ({type(error).__name__}). The server's log has more.")
    return True
