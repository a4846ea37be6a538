"""The OpenAPI document: forms with their images, and the errors of every route."""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from penumbra.serving.described import describe_fields
from penumbra.serving.options import Asked, Output, PromptBody, ReloadBody, Rle
from penumbra.serving.problems import ProblemDocument, declared

UPLOAD_ERRORS = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
"""What a request with an image can be refused for."""

_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"


def form(options: type[Asked], *, about: str = "PNG, JPEG, TIFF or DICOM.") -> dict[str, Any]:
    """Describe the body of a route that takes a form.

    Args:
        options: the fields beside the image.
        about: what the image may be.
    """
    described = options.model_json_schema()
    properties = {name: _plain(field) for name, field in described["properties"].items()}
    if "outputs" in properties:
        one = "|".join(get_args(Output))
        properties["outputs"] = {
            "type": "string",
            "pattern": f"^({one})(,({one}))*$",
            "examples": ["mask,probability,entropy"],
            "description": "Comma-separated, each once.",
        }
    image = {"type": "string", "format": "binary", "description": about}
    schema = {
        "type": "object",
        "title": options.__name__,
        "properties": {"image": image, **properties},
        "required": ["image"],
        "additionalProperties": False,
    }
    describe_fields(schema, options)
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def form_errors(*further: int) -> dict[int | str, dict[str, Any]]:
    """Declare what a request with an image can be refused for."""
    return declared(*UPLOAD_ERRORS, *further)


def with_problems(app: FastAPI) -> None:
    """Have an application describe itself with our errors, and without those of others."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["ProblemDocument"] = ProblemDocument.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            for name, inner in schemas["ProblemDocument"].pop("$defs", {}).items():
                schemas[name] = inner
            for body in (PromptBody, ReloadBody, Rle):
                if body.__name__ in schemas:
                    describe_fields(schemas[body.__name__], body)
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            # The last, empty one: a server without keys asks for none.
            document["security"] = [{"bearer": []}, {"key": []}, {}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """Leave null out: a form has no such value, its fields are left out instead."""
    described = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    kinds = [kind for kind in field.get("anyOf", []) if kind.get("type") != "null"]
    described |= kinds[0] if kinds else {}
    if field.get("default") is not None:
        described["default"] = field["default"]
    return described
