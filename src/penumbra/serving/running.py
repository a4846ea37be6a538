"""Run a server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from penumbra.errors import ModelError, SettingsError, expected
from penumbra.serving.app import UI, create_app
from penumbra.serving.service import Service
from penumbra.serving.settings import ServeSettings

_LOOK_S = 0.02
_GRACE_S = 5.0


def serve(settings: ServeSettings, *, on_ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is answered.

    Args:
        settings: how the server is set up; port 0 takes a free one.
        on_ready: told the addresses of the ``studio``, the ``docs`` and, where it is there, the
            Streamlit ``ui``, once the models are loaded.

    Raises:
        SettingsError: the address cannot be listened on.
        ModelError: a model cannot be loaded.
    """
    app = create_app(settings)
    with contextlib.closing(_listen(settings.host, settings.port)) as listening, _quiet_end():
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.request_timeout_s + _GRACE_S),
            # A client that says nothing for so long after an answer is let go.
            timeout_keep_alive=30,
            ws_max_size=settings.body_bytes,
            h11_max_incomplete_event_size=64 * 1024,
        )
        server = uvicorn.Server(config)
        asyncio.run(_run(server, app, listening, on_ready))
    failure = app.state.service.failure
    if failure is not None:
        raise ModelError(failure)


async def _run(
    server: uvicorn.Server,
    app: FastAPI,
    listening: socket.socket,
    on_ready: Callable[[dict[str, str]], None],
) -> None:
    service: Service = app.state.service
    running = asyncio.create_task(server.serve(sockets=[listening]))
    loading = asyncio.create_task(_loaded(server, service))
    await asyncio.wait({running, loading}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done() and service.failure is None and not server.should_exit:
        on_ready(_addresses(service.settings, listening, has_ui=app.state.also is not None))
    elif service.failure is not None:
        server.should_exit = True
    await running
    loading.cancel()


async def _loaded(server: uvicorn.Server, service: Service) -> None:
    while not server.started:
        await asyncio.sleep(_LOOK_S)
    await service.loaded.wait()


def _addresses(
    settings: ServeSettings, listening: socket.socket, *, has_ui: bool
) -> dict[str, str]:
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host.strip("[]") else settings.host
    base = f"http://{host}:{port}"
    found = {"studio": f"{base}/", "docs": f"{base}/docs"}
    return found | ({"ui": f"{base}{UI}/"} if has_ui else {})


def _listen(host: str, port: int) -> socket.socket:
    plain = host.strip("[]")
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    try:
        return socket.create_server((plain, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            expected("the address", "one that can be listened on",
                     f"{host}:{port} ({error.strerror})", "--port 0 for a free one")
        ) from error  # fmt: skip


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Let SIGTERM and SIGINT end with status 0: uvicorn raises them once more when it is done."""

    def nothing(number: int, frame: Any) -> None:
        del number, frame

    before = {number: signal.signal(number, nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
