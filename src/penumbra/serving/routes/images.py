"""`POST /v1/segment`, `/v1/uncertainty` and `/v1/rectify`; the files of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from penumbra.serving.forms import read_request
from penumbra.serving.messages import Answer, Job, Kind, media_type
from penumbra.serving.openapi import form, form_errors
from penumbra.serving.options import RectifyOptions, SegmentOptions, UncertaintyOptions
from penumbra.serving.problems import Problem, declared, problem_document
from penumbra.serving.replies import (
    EVENTS,
    JSON,
    NPZ,
    PNG,
    event,
    file_reply,
    json_reply,
    preferred,
)
from penumbra.serving.routes.sizes import size_of
from penumbra.serving.schemas import RectifyAnswer, SegmentAnswer
from penumbra.serving.service import Service, service_of, took_too_long, while_connected

router = APIRouter(tags=["images"])

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_SHORT = {JSON: "json", PNG: "png", NPZ: "npz"}


@router.post(
    "/v1/segment",
    response_class=Response,
    responses={
        200: {"model": SegmentAnswer, "description": "Masks, or one PNG, or all arrays.",
              "content": {PNG: _BINARY, NPZ: _BINARY}},
        **form_errors(406),
    },
    openapi_extra=form(SegmentOptions),
    summary="Segment an image",
)  # fmt: skip
async def segment(request: Request) -> Response:
    """Segment an image: masks as run lengths or links, maps as links to PNG files.

    With `Accept: image/png` the one output that was asked for, with `application/x-npz` all arrays.
    """
    service = service_of(request)
    accept = preferred(request, (JSON, PNG, NPZ))
    job = await _job(request, service, "segment", SegmentOptions, accept)
    return _reply(await service.answer(request, job), accept)


@router.post(
    "/v1/uncertainty",
    response_class=Response,
    responses={
        200: {"model": SegmentAnswer, "description": "Maps of doubt, or a running estimate.",
              "content": {PNG: _BINARY, NPZ: _BINARY, EVENTS: _TEXT}},
        **form_errors(406),
    },
    openapi_extra=form(UncertaintyOptions),
    summary="Say where a mask is in doubt",
)  # fmt: skip
async def uncertainty(request: Request) -> Response:
    """Segment an image with Monte Carlo passes and give every map of doubt.

    With `Accept: text/event-stream` events `estimate`, then one `done`, each with the JSON of the
    passes so far; it stops by itself when the standard error is below the tolerance.
    """
    service = service_of(request)
    accept = preferred(request, (JSON, PNG, NPZ, EVENTS))
    job = await _job(request, service, "uncertainty", UncertaintyOptions, accept)
    if accept != EVENTS:
        return _reply(await service.answer(request, job), accept)
    answers = service.stream(request, job)
    # The first one is waited for here, so that what goes wrong at once still has its status.
    first = await service.within(while_connected(request, anext(answers)))
    events = _events(first, answers, seconds=service.settings.request_timeout_s)
    return StreamingResponse(events, media_type=EVENTS)


@router.post(
    "/v1/rectify",
    response_class=Response,
    responses={
        200: {"model": RectifyAnswer, "description": "The cards, or the first crop as PNG.",
              "content": {PNG: _BINARY}},
        **form_errors(406),
    },
    openapi_extra=form(RectifyOptions, about="A photograph: PNG, JPEG or TIFF."),
    summary="Crop a card and make it straight",
)  # fmt: skip
async def rectify(request: Request) -> Response:
    """Crop the largest card in a photograph, or all, or say why there is no crop."""
    service = service_of(request)
    accept = preferred(request, (JSON, PNG))
    job = await _job(request, service, "rectify", RectifyOptions, accept)
    return _reply(await service.answer(request, job), accept)


@router.get(
    "/v1/results/{answer}/{name}",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {PNG: _BINARY, NPZ: _BINARY}},
        **declared(401, 403, 404, 422, 429),
    },
    summary="Give a file of an answer",
)
async def result(
    request: Request,
    answer: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
    name: Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,64}\.(png|npz)$")],
) -> Response:
    """Give a file that an answer links to, for some minutes after it."""
    data = service_of(request).results.get(answer, name)
    if data is None:
        raise Problem(404, "There is no such file any more. Ask for the answer again.")
    return Response(data, media_type=media_type(name))


async def _job(
    request: Request,
    service: Service,
    kind: Kind,
    options: type[SegmentOptions] | type[RectifyOptions],
    accept: str,
) -> Job:
    settings = service.settings
    upload, asked = await read_request(
        request, options, most_image=settings.max_upload_bytes, most_samples=settings.max_samples
    )
    model = service.model(asked.model, "segmenter")
    given = asked.plain() | {"accept": _SHORT.get(accept, "json")}
    if accept == EVENTS:
        given |= {"stream": True}
    if isinstance(asked, UncertaintyOptions) and service.takes_noise(model):
        given = asked.with_passes(given)
    if accept == PNG and len(given.get("outputs", [0])) != 1:
        message = "exactly one for Accept: image/png"
        raise Problem(
            422, f"`outputs`: {message}", errors=[{"field": "outputs", "message": message}]
        )
    size = await service.within(size_of(upload, settings))
    return service.job(kind, model, upload, given, size)


def _reply(answer: Answer, accept: str) -> Response:
    return json_reply(answer.document) if accept == JSON else file_reply(answer)


async def _events(
    first: Answer, answers: AsyncGenerator[Answer, None], *, seconds: float
) -> AsyncGenerator[bytes, None]:
    until = asyncio.get_running_loop().time() + seconds
    async with aclosing(answers):
        yield _event(first)
        try:
            while True:
                # Not around a yield: the time of a client that reads slowly ends the sending.
                async with asyncio.timeout_at(until):
                    answer = await anext(answers, None)
                if answer is None:
                    return
                yield _event(answer)
        except Problem as problem:
            yield _failed(problem)
        except TimeoutError:
            yield _failed(took_too_long())


def _failed(problem: Problem) -> bytes:
    return event("error", problem_document(problem, ""))


def _event(answer: Answer) -> bytes:
    return event("done" if answer.last else "estimate", answer.document)
