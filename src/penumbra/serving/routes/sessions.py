"""`POST /v1/sessions`: an image embedded once, and prompts on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from penumbra.serving.forms import read_request
from penumbra.serving.openapi import form, form_errors
from penumbra.serving.options import PromptBody, SessionOptions
from penumbra.serving.problems import Problem, declared
from penumbra.serving.replies import json_reply
from penumbra.serving.routes.sizes import size_of
from penumbra.serving.schemas import PromptAnswer, SessionAnswer
from penumbra.serving.service import service_of
from penumbra.serving.sessions import Session

router = APIRouter(tags=["prompts"])

SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@router.post(
    "/v1/sessions",
    status_code=201,
    response_class=Response,
    responses={
        201: {"model": SessionAnswer, "description": "Prompts can be asked."},
        **form_errors(),
    },
    openapi_extra=form(SessionOptions),
    summary="Embed an image for prompts",
)
async def open_session(request: Request) -> Response:
    """Embed an image once, so that each prompt on it is quick."""
    service = service_of(request)
    settings = service.settings
    upload, asked = await read_request(
        request, SessionOptions, most_image=settings.max_upload_bytes,
        most_samples=settings.max_samples,
    )  # fmt: skip
    model = service.model(asked.model, "promptable")
    size = await service.within(size_of(upload, settings))
    job = service.job("embed", model, upload, asked.plain(), size)
    answer = await service.answer(request, job)
    holder = request.scope.get("penumbra.holder")
    if not service.sessions.open(job.id, Session(model, upload, size, holder)):
        raise Problem(413, "The image takes more memory than all sessions may together.")
    document = {
        "id": job.id,
        "model": model,
        "size": {"height": size[0], "width": size[1]},
        "expires_in_s": settings.session_ttl_s,
        "accepts": ["box", "point", "mask"],
        **answer.document,
    }
    return json_reply(document, 201, Location=f"/v1/sessions/{job.id}")


@router.post(
    "/v1/sessions/{session}/prompt",
    response_class=Response,
    responses={
        200: {"model": PromptAnswer, "description": "Masks, cropped to their boxes."},
        **form_errors(404),
    },
    summary="Ask a prompt",
)
async def prompt(request: Request, session: SessionId, body: PromptBody) -> Response:
    """Give a mask for each box, for points together, or for an earlier mask."""
    service = service_of(request)
    found = service.sessions.get(session, request.scope.get("penumbra.holder"))
    if found is None:
        raise _no_session()
    options = body.model_dump(mode="json") | {"session": session}
    job = service.job("prompt", found.model, found.upload, options, found.size)
    answer = await service.answer(request, job)
    return json_reply(answer.document)


@router.delete(
    "/v1/sessions/{session}",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is closed."}, **declared(401, 403, 404, 422, 429)},
    summary="Close a session",
)
async def close_session(request: Request, session: SessionId) -> Response:
    """Forget an image before its time is over."""
    if not service_of(request).sessions.close(session, request.scope.get("penumbra.holder")):
        raise _no_session()
    return Response(status_code=204)


def _no_session() -> Problem:
    return Problem(404, "There is no such session any more. Upload the image again.")
