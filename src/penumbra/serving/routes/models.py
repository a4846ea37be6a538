"""`GET /v1/models` and `POST /v1/models/reload`."""

from __future__ import annotations

import logging

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from penumbra.errors import PenumbraError, SettingsError
from penumbra.serving.options import ReloadBody
from penumbra.serving.problems import Problem, declared
from penumbra.serving.replies import json_reply
from penumbra.serving.schemas import ModelsAnswer
from penumbra.serving.service import service_of

router = APIRouter(tags=["models"])
log = logging.getLogger("penumbra.serving")


@router.get(
    "/v1/models",
    response_class=Response,
    responses={
        200: {"model": ModelsAnswer, "description": "What there is."},
        **declared(401, 403, 429, 503),
    },
    summary="List the models",
)
async def models(request: Request) -> Response:
    """List what segments and what answers prompts; the first of each kind is the default."""
    return json_reply({"models": service_of(request).models})


@router.post(
    "/v1/models/reload",
    response_class=Response,
    responses={
        200: {"model": ModelsAnswer, "description": "The models as they are now."},
        **declared(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
    },
    summary="Read the models anew",
)
async def reload(request: Request, body: ReloadBody | None = None) -> Response:
    """Read models anew from their files; requests that run are finished, none is dropped."""
    service = service_of(request)
    # By the settings, so that what could not be loaded can be tried again once it is mended.
    known = [*service.settings.runs, *service.settings.promptable]
    name = body.name if body else None
    if name is not None and name not in known:
        raise Problem(404, f"There is no model of this name; there is {', '.join(known)}.")
    try:
        await service.pool.reload(name)
    except SettingsError as error:
        raise Problem(404, str(error)) from None
    except PenumbraError as error:
        log.error("models were not read anew: %s", error)  # noqa: TRY400 - our words, no traceback
        raise Problem(
            409, "A model cannot be loaded; the old ones stay. The log says why.", code="not-loaded"
        ) from None
    service.failure = None
    return json_reply({"models": service.models})
