"""The Streamlit app inside a FastAPI process: one process, one port."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from penumbra.errors import MissingExtraError
from penumbra.serving.keys import ApiKeys
from penumbra.serving.ui.backend import Backend, register
from penumbra.serving.ui.gate import Gate

SCRIPT = Path(__file__).resolve().parents[1] / "streamlit_app.py"
_MIB = 2**20

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

    One process holds one such app. With keys a page asks for one before anything else is sent.

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
    import streamlit as st  # noqa: PLC0415 - an extra

    from penumbra.serving.ui import theme  # noqa: PLC0415

    theme.apply({"server.maxUploadSize": max(1, math.ceil(max_upload_bytes / _MIB))})
    register(backend)
    inner = st.App(SCRIPT, on_script_error=_said)
    lifespan: Lifespan = inner.lifespan()
    outer: ASGIApp = inner
    if keys:
        outer = Gate(inner, accepts=lambda key: keys.holder(key) is not None, path=path, wait=wait)
    app.mount(path, outer, name="ui")
    return lifespan


def _said(error: Exception) -> bool:
    """Show an unforeseen error without its traceback; the log has that."""
    import streamlit as st  # noqa: PLC0415 - an extra

    st.error(f"Something went wrong here ({type(error).__name__}). The server's log has more.")
    return True
