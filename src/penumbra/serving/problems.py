"""Errors as RFC 9457 has them: ``application/problem+json`` with a title, a status, a detail."""

from __future__ import annotations

import http
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

TITLES = {
    "bad-request": "The request cannot be read",
    "unauthorized": "An API key is needed",
    "forbidden": "This page or host is not allowed here",
    "not-found": "There is no such thing here",
    "method-not-allowed": "This address has other methods",
    "not-acceptable": "The answer has other forms",
    "timeout": "It took too long",
    "too-large": "The request is too large",
    "too-many-pixels": "The image has too many pixels",
    "media-type": "This kind of content is not read here",
    "not-valid": "The request does not fit",
    "damaged-image": "The image is damaged",
    "unknown-format": "This kind of file is not read here",
    "no-file": "The answer has no such picture",
    "bad-option": "An option does not fit",
    "not-finite": "The model gave no finite number",
    "unknown-model": "There is no such model here",
    "missing-extra": "Something is not installed here",
    "crashed": "The image cannot be decoded safely",
    "closing": "The server is closing",
    "no-worker": "No worker is ready",
    "not-loaded": "A model cannot be loaded",
    "rate": "Too many requests",
    "queue-full": "The queue is full",
    "internal": "Something went wrong here",
    "not-ready": "The models are not ready",
}

_OF_STATUS = {
    400: "bad-request", 401: "unauthorized", 403: "forbidden", 404: "not-found",
    405: "method-not-allowed", 406: "not-acceptable", 408: "timeout", 413: "too-large",
    415: "media-type", 422: "not-valid", 429: "queue-full", 500: "internal", 503: "not-ready",
}  # fmt: skip


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["threshold"])
    message: str = Field(examples=["Input should be less than 1"])


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["urn:penumbra:queue-full"])
    title: str = Field(examples=["The queue is full"])
    status: int = Field(ge=400, le=599, examples=[429])
    detail: str = Field(examples=["16 requests are waiting. Try again in 2 s."])
    instance: str = Field(description="Number of the request.", examples=["5f2c9a1be07d4433"])
    errors: list[FieldProblem] | None = Field(default=None, description="By field, of a 422.")


class Problem(HTTPException):
    """An error that is told to the client.

    Args:
        status: of HTTP.
        detail: what happened and what to do, for a person; holds nothing of the image or its file.
        code: short name, the end of ``type``; by default that of the status.
        retry_after: seconds after which it may go well.
        errors: by field.
        close: whether the connection is closed, as the rest of a body is not wanted.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
        close: bool = False,
    ) -> None:
        headers = {"Retry-After": str(max(1, math.ceil(retry_after)))} if retry_after else {}
        if close:
            headers["Connection"] = "close"
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="penumbra"'
        super().__init__(status, detail, headers)
        self.code = code or _OF_STATUS.get(status, "bad-request")
        self.errors = errors


def problem_document(problem: Problem, instance: str) -> dict[str, Any]:
    """Write a problem as plain values.

    Args:
        problem: what happened.
        instance: number of the request.

    Examples:
        >>> problem_document(Problem(404, "No."), "5f")["type"]
        'urn:penumbra:not-found'
    """
    document: dict[str, Any] = {
        "type": f"urn:penumbra:{problem.code}",
        "title": TITLES.get(problem.code, "The request cannot be answered"),
        "status": problem.status_code,
        "detail": problem.detail,
        "instance": instance,
    }
    if problem.errors is not None:
        document["errors"] = list(problem.errors)
    return document


def problem_response(problem: Problem, instance: str) -> Response:
    """Write a problem as a response; see `problem_document`."""
    text = json.dumps(problem_document(problem, instance), ensure_ascii=False)
    body = text.encode("utf-8", "replace")
    headers = dict(problem.headers or {}) | {"Cache-Control": "no-store"}
    return Response(body, problem.status_code, headers, media_type=MEDIA_TYPE)


def not_valid(error: ValidationError | RequestValidationError, *, less: int = 0) -> Problem:
    """Turn what pydantic found into a 422; values that were given are not repeated.

    Args:
        error: with one entry per field.
        less: leading parts of each place that say nothing, such as ``body``.
    """
    found = []
    for entry in list(error.errors())[:20]:
        place = ".".join(str(part)[:40] for part in entry["loc"][less:])
        message = str(entry["msg"]).removeprefix("Value error, ")
        found.append({"field": place, "message": message[:300]})
    first = found[0] if found else {"field": "", "message": "it does not fit"}
    where = f"`{first['field']}`: " if first["field"] else ""
    return Problem(422, f"{where}{first['message']}", errors=found)


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declare errors for the OpenAPI document."""
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {
            "description": http.HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        if status in (429, 503):
            found[status]["headers"] = retry
    return found


def instance_of(request: Request) -> str:
    """Give the number of a request."""
    return str(request.scope.get("penumbra.request", ""))


def install(app: FastAPI) -> None:
    """Have an application tell every error in this form."""

    async def of_http(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, HTTPException) else HTTPException(500)
        return problem_response(_as_problem(known), instance_of(request))

    async def of_fields(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return problem_response(not_valid(error, less=1), instance_of(request))

    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_fields)


def _as_problem(error: HTTPException) -> Problem:
    if isinstance(error, Problem):
        return error
    details = {
        400: "The body cannot be read as what its Content-Type says.",
        404: "There is nothing at this address. GET /docs lists what there is.",
        405: "This address does not take this method. GET /docs lists what there is.",
    }
    problem = Problem(error.status_code, details.get(error.status_code, str(error.detail)))
    problem.headers = dict(problem.headers or {}) | dict(error.headers or {})
    return problem
