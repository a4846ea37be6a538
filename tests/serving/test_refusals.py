"""What is refused, when, and how it is said."""

import asyncio
import json

import pytest

FORM = {"content-type": "multipart/form-data; boundary=b"}


def problem(response, status):
    """Check a problem document and give it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:penumbra:")
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.headers["x-request-id"]
    return document


def segment(client, png, headers=None, **fields):
    return client.post("/v1/segment", files={"image": png}, data=fields, headers=headers)


# --- how errors look ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/segment", 405), ("DELETE", "/v1/models", 405),
     ("GET", "/v1/results/abc/mask.png", 404), ("GET", "/v1/results/abc/..%2Fkeys", 404),
     ("GET", "/v1/results/abc/mask.exe", 422), ("DELETE", "/v1/sessions/abc", 404),
     ("GET", "/web/../app.py", 404), ("GET", "/web/%2e%2e/serving/app.py", 404)],
)  # fmt: skip
def test_every_error_is_a_problem_document(serve, method, path, status):
    problem(serve().request(method, path), status)


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"threshold": "1"}, "threshold"), ({"threshold": "nan"}, "threshold"),
     ({"noise_strength": "2.1"}, "noise_strength"), ({"samples": "65"}, "samples"),
     ({"samples": "0"}, "samples"), ({"seed": "-1"}, "seed"), ({"seed": str(2**63)}, "seed"),
     ({"noise_mode": "loud"}, "noise_mode"), ({"outputs": "mask,keys"}, "outputs.1"),
     ({"outputs": "mask,mask"}, "outputs"), ({"bits": "12"}, "bits"),
     ({"sampler": "noise:9999"}, "samples"), ({"sampler": "x; rm"}, "sampler"),
     ({"sampler": "noise:8", "samples": "8"}, ""), ({"model": "../x"}, "model"),
     ({"model": "sam"}, "model"), ({"path": "/etc/passwd"}, "path"),
     ({"url": "http://a.example"}, "url"), ({"masks_as": "gif"}, "masks_as")],
)  # fmt: skip
def test_a_wrong_field_is_named(serve, cell_png, fields, field):
    document = problem(segment(serve(), cell_png, **fields), 422)
    assert document["errors"][0]["field"] == field
    assert "passwd" not in document["detail"]


def test_what_was_not_foreseen_has_no_traceback(serve, cell_png, fake_pool, caplog):
    class Broken(fake_pool):
        def messages(self, job):
            raise ZeroDivisionError("Mr Smith /secret/path")

    client = serve(pool=Broken())
    document = problem(segment(client, cell_png), 500)
    assert "Smith" not in json.dumps(document)
    assert "Traceback" not in json.dumps(document)


def test_an_error_in_a_route_is_logged_without_its_words(serve, cell_png, monkeypatch, caplog):
    async def broken(*_):
        raise LookupError("Mr Smith /secret/path")

    monkeypatch.setattr("penumbra.serving.routes.images.size_of", broken)
    document = problem(segment(serve(), cell_png), 500)
    assert document["instance"] in caplog.text
    assert "LookupError" in caplog.text
    assert "Smith" not in caplog.text


def test_answers_carry_headers_that_bind_browsers(serve):
    client = serve()
    for path in ("/livez", "/docs", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors" in headers["content-security-policy"]


def test_the_description_for_people_needs_nothing_from_elsewhere(serve):
    page = serve().get("/docs").text
    assert "/v1/segment" in page
    assert "Decides every draw" in page
    assert "such as 0.3" in page
    assert "src=" not in page
    assert "https://" not in page


# --- too large, of another kind ----------------------------------------------------------------


def test_an_announced_length_is_refused_before_the_body(serve):
    client = serve(max_upload_bytes=2048)
    read = []

    def body():
        read.append(1)
        yield b"x"

    headers = FORM | {"content-length": str(2**40)}
    document = problem(client.post("/v1/segment", content=body(), headers=headers), 413)
    assert "bytes at most" in document["detail"]


def test_a_body_without_length_is_counted_and_stopped(serve):
    """By the application itself, as the client here reads its whole body before it is sent."""
    client = serve(max_upload_bytes=2048)
    given, sent = [0], []
    chunk = b"--b\r\n" + b"x" * 65_531

    async def receive():
        given[0] += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", FORM["content-type"].encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
        "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    for path, most in (("/v1/segment", 6), ("/v1/models/reload", 2), ("/livez", 6)):
        given[0], sent[:] = 0, []
        given_scope = scope | {"path": path, "raw_path": path.encode()}
        if path.endswith("reload"):
            given_scope["headers"] = [(b"host", b"localhost"),
                                      (b"content-type", b"application/json")]  # fmt: skip
        client.portal.call(client.app, given_scope, receive, send)
        assert given[0] <= most
        status = sent[0]["status"]
        assert status in ((413, 400) if path != "/livez" else (405,))


@pytest.mark.parametrize(("leaves", "status"), [(False, 408), (True, 499)])
def test_a_body_that_does_not_come_holds_no_place(serve, leaves, status):
    client = serve(request_timeout_s=0.05)
    sent = []

    async def receive():
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/segment", "raw_path": b"/v1/segment",
        "headers": [(b"host", b"localhost"), (b"content-type", FORM["content-type"].encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
        "http_version": "1.1", "root_path": "", "query_string": b"",
    }  # fmt: skip
    for _ in range(40):
        client.portal.call(client.app, dict(scope), receive, send)
    starts = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert starts == [status] * 40


def test_a_large_part_of_a_small_form_is_refused(serve, cell_png):
    client = serve(max_upload_bytes=2048)
    problem(segment(client, bytes(4096)), 413)
    problem(segment(client, cell_png[:64], sampler="x" * 5000), 422)
    many = {f"field{n}": "1" for n in range(40)}
    problem(segment(client, cell_png[:64], **many), 422)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/segment", {"content-type": "application/json"}), ("/v1/segment", {}),
     ("/v1/rectify", {"content-type": "image/png"}),
     ("/v1/models/reload", {"content-type": "text/plain"}),
     ("/v1/sessions/a/prompt", FORM),
     ("/v1/segment", FORM | {"content-encoding": "gzip"})],
)  # fmt: skip
def test_other_kinds_of_bodies_are_refused(serve, path, headers):
    problem(serve().post(path, content=b"{}", headers=headers), 415)


def test_what_is_no_image_or_has_too_many_pixels_is_refused_by_its_header(serve, cell_png):
    client = serve(max_pixels=1000)
    problem(segment(client, b"GIF is none"), 415)
    problem(segment(client, cell_png), 413)
    problem(segment(client, cell_png[:20]), 422)
    assert client.pool.batches == []


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\n\r\nx\r\n--b--", b"nonsense",
     b"--b\r\nContent-Disposition: form-data\r\n\r\n",
     b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nhalf of'],
)  # fmt: skip
def test_a_form_that_is_not_whole_is_refused(serve, body):
    problem(serve().post("/v1/segment", content=body, headers=FORM), 400)


def test_a_field_given_twice_is_refused(serve, cell_png):
    parts = [("image", ("a", cell_png)), ("image", ("b", cell_png))]
    problem(serve().post("/v1/segment", files=parts), 422)


# --- not now -----------------------------------------------------------------------------------


def test_a_full_queue_refuses_before_the_body_is_read(serve, cell_png):
    client = serve(gated=True, max_queue=2)
    service = client.app.state.service

    async def fill():
        # One more than wait: the first runs already.
        for _ in range(3):
            job = service.job("segment", "first", cell_png, {"seed": 0, "accept": "json",
                                                             "threshold": None})  # fmt: skip
            filling.append(asyncio.create_task(service.batcher.submit(job)))
            await asyncio.sleep(0.01)

    filling = []
    client.portal.call(fill)
    response = client.post("/v1/segment", content=b"not even a form", headers=FORM)
    document = problem(response, 429)
    assert document["type"] == "urn:penumbra:queue-full"
    assert int(response.headers["retry-after"]) >= 1

    async def empty():
        client.pool.gate.set()
        await asyncio.gather(*filling)

    client.portal.call(empty)
    assert segment(client, cell_png).status_code == 200


def test_each_asker_has_a_rate(serve):
    client = serve(rate_per_s=0.01, burst=2)
    assert [client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
    response = client.get("/v1/models")
    assert problem(response, 429)["type"] == "urn:penumbra:rate"
    assert int(response.headers["retry-after"]) > 10
    assert client.get("/livez").status_code == 200


def test_while_the_models_are_loaded_it_says_so(serve, cell_png):
    client = serve(ready=False)
    response = client.get("/readyz")
    document = problem(response, 503)
    assert document["workers"][0]["state"] == "starting"
    assert client.get("/livez").status_code == 200
    response = segment(client, cell_png)
    problem(response, 503)
    assert int(response.headers["retry-after"]) >= 1


# --- who may ask -------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text("first-key-0123456\nsecond-key-012345\n")
    return file


def test_with_keys_everything_but_health_asks_for_one(serve, keys):
    client = serve(api_key_file=keys)
    for path in ("/livez", "/readyz", "/docs"):
        assert client.get(path).status_code == 200
    assert "pid" not in client.get("/readyz").text
    for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/models/reload"),
                         ("GET", "/v1/nothing")):  # fmt: skip
        response = client.request(method, path)
        problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
    for headers in ({"Authorization": "Bearer first-key-0123456"},
                    {"X-API-Key": "second-key-012345"}):  # fmt: skip
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_keys_cannot_be_tried_out_at_leisure(serve, keys):
    client = serve(api_key_file=keys)
    wrong = {"X-API-Key": "third-key-0123456"}
    answers = [client.get("/v1/models", headers=wrong).status_code for _ in range(20)]
    assert answers[0] == 401
    assert answers[-1] == 429
    right = {"X-API-Key": "first-key-0123456"}
    assert client.get("/v1/models", headers=right).status_code == 200


def test_a_session_belongs_to_the_key_that_opened_it(serve, keys, cell_png):
    client = serve(api_key_file=keys)
    one, two = ({"X-API-Key": key} for key in ("first-key-0123456", "second-key-012345"))
    opened = client.post("/v1/sessions", files={"image": cell_png}, headers=one).json()
    path = f"/v1/sessions/{opened['id']}/prompt"
    body = {"points": [[3, 4]]}
    assert client.post(path, json=body, headers=one).status_code == 200
    problem(client.post(path, json=body, headers=two), 404)
    problem(client.delete(f"/v1/sessions/{opened['id']}", headers=two), 404)
    assert client.delete(f"/v1/sessions/{opened['id']}", headers=one).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "penumbra.example"}, 403), ({"host": "localhost.example"}, 403),
     ({"host": "127.0.0.1:9"}, 200), ({"host": "[::1]:8000"}, 200), ({"host": ""}, 403),
     ({"origin": "http://localhost:8000"}, 200), ({"origin": "http://localhost:9"}, 403),
     ({"origin": "https://a.example"}, 403), ({"origin": "null"}, 403),
     ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-origin"}, 200)],
)  # fmt: skip
def test_pages_from_elsewhere_are_refused(serve, headers, status):
    assert serve().get("/v1/models", headers=headers).status_code == status


def test_cors_is_off_unless_an_origin_is_named(serve):
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert serve().options("/v1/segment", headers=asked).status_code == 403
    client = serve(cors_origins=("https://a.example",))
    answer = client.options("/v1/segment", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    refused = client.get("/v1/models", headers={"origin": "https://b.example"})
    assert refused.status_code == 403
