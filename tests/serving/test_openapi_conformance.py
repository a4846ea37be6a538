"""Schemathesis: what the OpenAPI document says of the interface is so."""

import io

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks
from starlette.testclient import TestClient

from penumbra.serving.app import create_app
from penumbra.serving.settings import ServeSettings

CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]


@st.composite
def images(draw):
    """Small pictures, and now and then something else."""
    kind = draw(st.sampled_from(["PNG", "PNG", "JPEG", "TIFF", "nothing", "cut"]))
    if kind == "nothing":
        return draw(st.binary(max_size=200))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    target = io.BytesIO()
    Image.new("L", size, draw(st.integers(0, 255))).save(
        target, format="PNG" if kind == "cut" else kind
    )
    whole = target.getvalue()
    return whole[: draw(st.integers(0, len(whole)))] if kind == "cut" else whole


@pytest.fixture(scope="module")
def application(fake_pool):
    """An application; its document is read once."""
    schemathesis.openapi.format("binary", images())
    app = create_app(ServeSettings(runs={"first": "runs/first"}, ui=False), pool=fake_pool())
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def test_the_document_describes_every_route_and_its_errors(application):
    client = application
    document = client.get("/openapi.json").json()
    routes = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert routes >= {
        ("/v1/segment", "post"), ("/v1/uncertainty", "post"), ("/v1/sessions", "post"),
        ("/v1/sessions/{session}/prompt", "post"), ("/v1/sessions/{session}", "delete"),
        ("/v1/rectify", "post"), ("/v1/models", "get"), ("/v1/models/reload", "post"),
        ("/v1/results/{answer}/{name}", "get"), ("/livez", "get"), ("/readyz", "get"),
        ("/metrics", "get"),
    }  # fmt: skip
    for path, method in routes:
        responses = document["paths"][path][method]["responses"]
        for status, described in responses.items():
            if int(status) >= 400:
                assert list(described["content"]) == ["application/problem+json"], (path, status)
    for path in ("/v1/segment", "/v1/uncertainty", "/v1/sessions", "/v1/rectify"):
        assert {"413", "415", "422", "429", "503"} <= document["paths"][path]["post"][
            "responses"
        ].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


OPERATIONS = [
    "POST /v1/segment", "POST /v1/uncertainty", "POST /v1/rectify", "POST /v1/sessions",
    "POST /v1/sessions/{session}/prompt", "DELETE /v1/sessions/{session}",
    "GET /v1/results/{answer}/{name}", "GET /v1/models", "POST /v1/models/reload", "GET /livez",
    "GET /readyz", "GET /metrics",
]  # fmt: skip


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_what_the_document_says(application, label, mode):
    client = application
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    method, path = label.split()
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not _takes_anything(operation):
        pytest.skip("there is nothing to be wrong about")
    statuses = set()

    @settings(
        max_examples=12, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        response = _send(client, case)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
    assert statuses
    if mode is GenerationMode.POSITIVE and "{" not in path:
        assert statuses & {200, 201}


def _send(client, case):
    """Send a case by the client whose application runs; `case.call` would start and end it."""
    given = case.as_transport_kwargs(base_url="http://localhost")
    names = ("method", "url", "headers", "params", "data", "json", "files", "cookies")
    made = requests.Request(**{name: given[name] for name in names if name in given}).prepare()
    return client.request(made.method, made.url, content=made.body, headers=dict(made.headers))


def _takes_anything(operation):
    return bool(operation.body or operation.path_parameters or operation.query)
