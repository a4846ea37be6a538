"""The studio page at the root, and the interface described for people at `/docs`."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Penumbra: the interface</title>
<style>
:root {{ color-scheme: light dark; --paper: #FAFAF7; --ink: #15171A; --rule: #8B8D8655; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #101216; --ink: #E8E6E1; }} }}
body {{ margin: 3rem auto; max-width: 60rem; padding: 0 1.5rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
code, pre, td:first-child {{ font-family: ui-monospace, monospace; font-size: .875rem; }}
section {{ border-top: 1px solid var(--rule); padding: 1rem 0; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ padding: .25rem 1rem .25rem 0; vertical-align: top; }}
pre {{ overflow-x: auto; padding: .75rem; border: 1px solid var(--rule); border-radius: 4px; }}
h1, h2 {{ font-size: 1.25rem; margin: 0; }}
</style>
<h1>Penumbra {version}</h1>
<p>{about} The same for machines: <a href="openapi.json">openapi.json</a>.</p>
<pre>curl -F image=@photo.png -F outputs=mask,entropy {base}v1/segment</pre>
{sections}
</html>
"""
_SECTION = """<section><h2><code>{method} {path}</code></h2><p><b>{summary}.</b> {description}</p>
<table>{fields}</table><p>Answers: {answers}</p></section>
"""


@router.get("/")
async def studio() -> Response:
    """Give the studio page."""
    page = resources.files("penumbra.web").joinpath("studio", "index.html")
    return HTMLResponse(page.read_bytes(), headers={"Cache-Control": "no-cache"})


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Describe every route; made of the OpenAPI document, and of nothing from elsewhere."""
    document = request.app.openapi()
    sections = [
        _section(path, method, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    page = _PAGE.format(
        version=html.escape(document["info"]["version"]),
        about=html.escape(document["info"]["description"]),
        base=html.escape(str(request.base_url)),
        sections="".join(sections),
    )
    return HTMLResponse(page)


def _section(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    body: dict[str, Any] = next(
        iter(operation.get("requestBody", {}).get("content", {}).values()), {}
    )
    schema = body.get("schema", {})
    schema = schema.get("anyOf", [schema])[0]  # A body that may be left out.
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    fields = {field["name"]: field["schema"] for field in operation.get("parameters", [])}
    fields |= schema.get("properties", {})
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(field.get('description', ''))}</td>"
        f"<td>{html.escape(_values(field))}</td></tr>"
        for name, field in fields.items()
    ]
    answers = ", ".join(
        f"{status} {answer['description'].rstrip('.')}"
        for status, answer in operation["responses"].items()
    )
    return _SECTION.format(
        method=method.upper(),
        path=html.escape(path),
        summary=html.escape(operation.get("summary", "")),
        description=html.escape(operation.get("description", "")),
        fields="".join(rows),
        answers=html.escape(answers),
    )


def _values(field: dict[str, Any]) -> str:
    """Say in a line what a field may be."""
    if "enum" in field:
        said = " | ".join(map(str, field["enum"]))
    else:
        said = str(field.get("type", "value"))
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said += "".join(f", {sign} {field[name]:g}" for name, sign in bounds.items() if name in field)
    if "default" in field:
        said += f"; by default {field['default']}"
    if field.get("examples"):
        said += f"; such as {json.dumps(field['examples'][0], ensure_ascii=False)}"
    return said
