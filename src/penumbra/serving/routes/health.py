"""`/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from penumbra.serving.metrics import CONTENT_TYPE
from penumbra.serving.problems import MEDIA_TYPE, declared, instance_of
from penumbra.serving.replies import json_bytes, json_reply
from penumbra.serving.schemas import LiveAnswer, ReadyAnswer
from penumbra.serving.service import Service, service_of

router = APIRouter(tags=["health"])


@router.get(
    "/livez",
    response_class=Response,
    responses={200: {"model": LiveAnswer, "description": "It runs."}, **declared(403)},
    summary="Is the server alive?",
)
async def alive() -> Response:
    """Answer, which is all that this says."""
    return json_reply({"status": "alive"})


@router.get(
    "/readyz",
    response_class=Response,
    responses={
        200: {"model": ReadyAnswer, "description": "Requests are answered."},
        **declared(403, 503),
    },
    summary="Is the server ready?",
)
async def ready(request: Request) -> Response:
    """Say whether a worker has its models loaded, and what each worker does."""
    service = service_of(request)
    workers = _workers(service)
    if not service.pool.is_ready:
        detail = _missing(service)
        document = {
            "type": "urn:penumbra:not-ready",
            "title": "The models are not ready",
            "status": 503,
            "detail": detail,
            "instance": instance_of(request),
            "workers": workers,
        }
        headers = {"Retry-After": "2", "Cache-Control": "no-store"}
        return Response(json_bytes(document), 503, headers, media_type=MEDIA_TYPE)
    names = [model["name"] for model in service.models]
    document = {"status": "ready", "workers": workers, "models": names}
    return json_reply(document | {"queue": service.batcher.depth})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.",
              "content": {"text/plain": {"schema": {"type": "string"}}}},
        **declared(401, 403, 429),
    },
    summary="What was counted",
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Give latency by stage, requests, queue depth, batch sizes, cache hits and workers."""
    return Response(service_of(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _workers(service: Service) -> list[dict[str, Any]]:
    """Describe the workers; their process numbers are nobody's business where others can ask."""
    rows = service.pool.status()
    if not service.keys:
        return rows
    return [{name: value for name, value in row.items() if name != "pid"} for row in rows]


def _missing(service: Service) -> str:
    if service.failure is not None or service.pool.problem is not None:
        return "A model cannot be loaded. The server's log says why."
    if service.loaded.is_set():
        return "No worker is left; another one is being started."
    return "The models are being loaded."
