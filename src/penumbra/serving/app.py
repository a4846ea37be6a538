"""The application: `create_app` for `penumbra serve`, for tests, and for ``uvicorn --factory``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from penumbra.errors import PenumbraError, SettingsError, expected
from penumbra.serving import problems
from penumbra.serving.access import Access, Origins
from penumbra.serving.addresses import is_loopback
from penumbra.serving.batcher import MicroBatcher
from penumbra.serving.guard import Guard
from penumbra.serving.kept import forget_on_time
from penumbra.serving.keys import read_keys
from penumbra.serving.limits import BodyLimits, Refusals, TokenBuckets, body_rules
from penumbra.serving.logs import servers_as_they_are, silence_decoders
from penumbra.serving.metrics import Metrics
from penumbra.serving.openapi import with_problems
from penumbra.serving.pool import WorkerPool
from penumbra.serving.results import Results
from penumbra.serving.routes import health, images, models, pages, sessions
from penumbra.serving.service import Service, ServingPool
from penumbra.serving.sessions import Sessions
from penumbra.serving.settings import ServeSettings
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.ui.mount import is_installed, mount_streamlit
from penumbra.serving.ui_backend import ServedBackend
from penumbra.version import __version__

log = logging.getLogger("penumbra.serving")

_ABOUT = (
    "Segment images and see where the mask is in doubt. Images are sent as files; no address is "
    "ever fetched. Errors are RFC 9457 problem documents."
)
_WRONG_KEYS_PER_S, _WRONG_KEYS = 0.5, 10
_LAST_S = 30.0
_BODY_S = 60.0
"""That a body may take to come."""
_SILENCE_S = 10.0
UI = "/ui"
"""Where the Streamlit app is."""


def create_app(
    settings: ServeSettings | None = None, *, pool: ServingPool | None = None
) -> FastAPI:
    """Build the application.

    Args:
        settings: how it is set up; by default from the environment, such as ``PENUMBRA_RUNS``.
        pool: what answers; by default worker processes that load the runs of `settings`.

    Returns:
        An ASGI application. Its lifespan starts the workers and ends them, after the answers to
        what was accepted.

    Raises:
        SettingsError: a setting is not possible, no model is given, or the keys cannot be read.
    """
    settings = settings or ServeSettings.from_environment()
    silence_decoders()  # Headers are read in this process.
    service = _service(settings, pool or _pool(settings))
    app = FastAPI(
        title="Penumbra",
        version=__version__,
        description=_ABOUT,
        lifespan=_lifespan(service),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for module in (images, sessions, models, health, pages):
        app.include_router(module.router)
    app.mount("/web", StaticFiles(directory=web_folder()), name="web")
    problems.install(app)
    with_problems(app)
    wrong = TokenBuckets(rate=_WRONG_KEYS_PER_S, burst=_WRONG_KEYS)
    _surround(app, service, wrong)
    app.state.also = _mount_ui(app, service, wrong)
    return app


def web_folder() -> Path:
    """Give the folder of the pages' files."""
    return Path(str(resources.files("penumbra.web")))


def _pool(settings: ServeSettings) -> WorkerPool:
    specs = [ModelSpec(name=name, source=path) for name, path in settings.runs.items()]
    specs += [
        ModelSpec(name=name, kind="promptable", source=path)
        for name, path in settings.promptable.items()
    ]
    if not specs:
        raise SettingsError(
            expected("the models", "at least one run", "none", "PENUMBRA_RUNS=first=runs/first")
        )
    return WorkerPool(
        specs,
        WorkerSettings(
            workers=settings.workers,
            threads=settings.threads,
            max_upload_bytes=settings.max_upload_bytes,
            max_pixels=settings.max_pixels,
            max_samples=settings.max_samples,
            embedding_bytes=settings.session_bytes,
            # By then everybody who waited has been told that it took too long.
            silence_timeout_s=settings.request_timeout_s + _SILENCE_S,
        ),
    )


def _service(settings: ServeSettings, pool: ServingPool) -> Service:
    results = Results(ttl_s=settings.results_ttl_s, most_bytes=settings.results_bytes)
    open_sessions = Sessions(
        ttl_s=settings.session_ttl_s, most_bytes=settings.session_bytes, on_end=pool.forget
    )
    metrics = Metrics(
        depth=lambda: batcher.depth,
        workers=pool.status,
        deaths=lambda: pool.deaths,
        sizes=lambda: {"results": results.n_bytes, "sessions": open_sessions.n_bytes},
    )
    batcher = MicroBatcher(
        pool,
        max_batch=settings.max_batch,
        max_wait_ms=settings.max_wait_ms,
        max_queue=settings.max_queue,
        on_batch=metrics.observe_batch,
    )
    keys = read_keys(settings.api_key_file)
    return Service(settings, pool, batcher, results, open_sessions, metrics, keys)


def _surround(app: FastAPI, service: Service, wrong: TokenBuckets) -> None:
    """Put what refuses around the application; what is added last comes first."""
    settings = service.settings
    app.add_middleware(
        BodyLimits,
        rule=body_rules(settings.body_bytes),
        otherwise=settings.body_bytes,
        refuse=service.refusal,
        # Each of them is held in memory, as those in the queue are.
        most_reading=settings.max_queue + settings.max_batch * settings.workers,
        seconds=min(_BODY_S, settings.request_timeout_s),
    )
    buckets = TokenBuckets(rate=settings.rate_per_s, burst=settings.burst)
    app.add_middleware(Access, keys=service.keys, buckets=buckets, wrong=wrong)
    if settings.cors_origins:
        app.add_middleware(Refusals)  # So that another origin's page can read why.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After", "X-Request-ID", "Penumbra-Answer"],
        )
    app.add_middleware(Origins, loopback=is_loopback(settings.host), allowed=settings.cors_origins)
    app.add_middleware(Guard, count=service.metrics.count)


def _mount_ui(
    app: FastAPI, service: Service, wrong: TokenBuckets
) -> Callable[[Any], AbstractAsyncContextManager[None]] | None:
    """Mount the Streamlit app where it is wanted and installed; gives its lifespan."""
    if not service.settings.ui or not service.settings.runs or not is_installed():
        return None

    async def with_slash(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}{UI}/")

    app.add_route(UI, with_slash, methods=["GET"], include_in_schema=False)
    return mount_streamlit(
        app,
        backend=ServedBackend(service),
        path=UI,
        keys=service.keys,
        max_upload_bytes=service.settings.max_upload_bytes,
        wait=lambda address: wrong.take(f"at {address}"),
    )


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        service.loop = asyncio.get_running_loop()
        # Not waited for: /livez and /readyz answer while the models are loaded.
        loading = asyncio.create_task(_load(service))
        forgetting = asyncio.create_task(forget_on_time(service.results, service.sessions))
        also = app.state.also
        async with contextlib.AsyncExitStack() as stack:
            if also is not None:
                with servers_as_they_are():
                    await stack.enter_async_context(also(app))
            try:
                yield
            finally:
                forgetting.cancel()
                await asyncio.gather(forgetting, return_exceptions=True)
                await _close(service, loading)

    return lifespan


async def _load(service: Service) -> None:
    try:
        await service.pool.start()
    except PenumbraError as error:
        service.failure = str(error)
        log.error("The models cannot be loaded: %s", error)  # noqa: TRY400 - our words
    finally:
        service.loaded.set()


async def _close(service: Service, loading: asyncio.Task[None]) -> None:
    """Answer what was accepted, then end the workers."""
    if not loading.done():
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(service.batcher.drain(), service.settings.request_timeout_s)
    await service.pool.drain(_LAST_S)
