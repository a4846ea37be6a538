"""Who is refused wherever the application is mounted and whatever listens; places in memory."""

import threading

import pytest
from starlette.testclient import TestClient

from penumbra.errors import ModelError
from penumbra.serving.app import create_app
from penumbra.serving.routes import images
from penumbra.serving.settings import ServeSettings

KEY = "k" * 24


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text(KEY)
    return file


def asked(fake_pool, path, *, method="GET", root="/api", client=("127.0.0.1", 1), **settings):
    """Ask an application that a proxy or another application has put under a prefix."""
    headers = settings.pop("headers", None)
    app = create_app(ServeSettings.of(runs={"first": "a"}, ui=False, **settings), pool=fake_pool())
    with TestClient(app, base_url="http://localhost:8000", root_path=root, client=client) as http:
        return http.request(method, path, headers=headers)


@pytest.mark.parametrize("root", ["", "/api", "/v1"])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_a_prefix_before_the_application_does_not_go_around_its_keys(fake_pool, keys, root, path):
    answer = asked(fake_pool, root + path, root=root, api_key_file=keys)
    assert answer.status_code == 401
    let_in = {"X-API-Key": KEY}
    answer = asked(fake_pool, root + path, root=root, api_key_file=keys, headers=let_in)
    assert answer.status_code == 200


def test_a_prefix_does_not_go_around_the_rules_of_bodies(fake_pool):
    answer = asked(fake_pool, "/api/v1/segment", method="POST", headers={"content-type": "x/y"})
    assert answer.status_code == 415
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert asked(fake_pool, "/api/v1/models", headers=headers).status_code == 403
    assert asked(fake_pool, "/api/v1/models").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("10.1.2.3", 403),
     ("2001:db8::1", 403)],
)  # fmt: skip
def test_without_keys_other_machines_are_refused_whatever_listens(fake_pool, address, status):
    answer = asked(fake_pool, "/v1/models", root="", client=(address, 50_000))
    assert answer.status_code == status


def test_pages_of_allowed_origins_can_read_why_they_are_refused(serve, keys):
    origin = "https://labelling.example"
    client = serve(api_key_file=keys, cors_origins=(origin,))
    for answer in (
        client.get("/v1/models", headers={"Origin": origin}),
        client.post("/v1/segment", headers={"Origin": origin, "X-API-Key": KEY}, content=b"x"),
    ):
        assert answer.status_code in (401, 415)
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_image_keeps_its_place_until_it_waits_in_the_queue(serve, cell_png, monkeypatch):
    """However long its header takes to read, no more are held in memory than may be."""
    goes_on, inside, most, counting = threading.Event(), [], [], threading.Lock()
    size_of = images.size_of

    async def slowly(upload, settings):
        with counting:
            inside.append(1)
            most.append(len(inside))
        while not goes_on.is_set():
            await images.asyncio.sleep(0.005)
        inside.pop()
        return await size_of(upload, settings)

    monkeypatch.setattr(images, "size_of", slowly)
    client = serve(max_queue=2, max_batch=1)
    statuses = []

    def ask():
        statuses.append(client.post("/v1/segment", files={"image": cell_png}).status_code)
        if len(statuses) == 9:  # All but the three that have a place.
            goes_on.set()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(most) == 3
    assert sorted(statuses) == [200] * 3 + [429] * 9
    assert client.post("/v1/segment", files={"image": cell_png}).status_code == 200


def test_a_header_that_takes_too_long_is_given_up(serve, cell_png, monkeypatch):
    async def never(*_):
        await images.asyncio.sleep(60)

    monkeypatch.setattr(images, "size_of", never)
    client = serve(request_timeout_s=0.1)
    answer = client.post("/v1/segment", files={"image": cell_png})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:penumbra:timeout")


def test_while_models_are_loaded_the_body_is_not_read(serve):
    client = serve(ready=False)
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": "9"}
    answer = client.post("/v1/segment", headers=headers, content=b"not a form")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_a_picture_that_the_answer_does_not_have_is_no_fault_of_the_server(
    serve, cell_png, fake_pool
):
    class Without(fake_pool):
        def files(self, job):
            return {}

        def document(self, job):
            if job.kind == "rectify":
                return {"cards": [{"found": False, "reasons": ["Nothing here is a card."]}]}
            return super().document(job) | {"notes": ["One pass has no variance."]}

    client = serve(pool=Without())
    for path, field, words in (
        ("segment", {"outputs": "variance"}, "One pass has no variance."),
        ("rectify", {}, "Nothing here is a card."),
    ):
        answer = client.post(
            f"/v1/{path}", files={"image": cell_png}, data=field, headers={"Accept": "image/png"}
        )
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:penumbra:no-file")
        assert words in answer.json()["detail"]


def test_files_that_cannot_be_kept_are_said_to_be_too_large(serve, cell_png):
    answer = serve(results_bytes=3).post("/v1/segment", files={"image": cell_png})
    assert answer.status_code == 413
    assert "fewer outputs" in answer.json()["detail"]


def test_models_that_could_not_be_loaded_can_be_read_again_once_they_are_mended(
    serve, cell_png, fake_pool
):
    class Mended(fake_pool):
        async def start(self):
            raise ModelError("no weights")

        async def reload(self, name=None):
            self.is_ready = True

    client = serve(pool=Mended())
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/models/reload", json={}).status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/segment", files={"image": cell_png}).status_code == 200


def test_a_body_of_a_million_values_is_refused_before_it_is_read(serve):
    client = serve()
    body = "{" + ",".join(f'"{key}":0' for key in range(100_000)) + "}"
    answer = client.post(
        "/v1/sessions/abc/prompt", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert "more values" in answer.json()["detail"]


def test_workers_forget_what_is_closed(serve, cell_png):
    client = serve()
    number = client.post("/v1/sessions", files={"image": cell_png}).json()["id"]
    assert client.delete(f"/v1/sessions/{number}").status_code == 204
    assert client.pool.forgotten == [number]


@pytest.mark.parametrize(
    ("files", "field", "words"),
    [({"foo": b"x" * 5000}, "foo", "there are image, model"), ({"image": b""}, "image", "empty"),
     ({"model": b"first"}, "image", "missing")],
)  # fmt: skip
def test_what_is_wrong_with_a_part_is_said_as_it_is(serve, files, field, words):
    answer = serve().post("/v1/segment", files=files)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["message"]


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"name": "first"}}])
def test_models_are_read_anew_with_or_without_a_body(serve, body):
    client = serve()
    assert client.post("/v1/models/reload", **body).status_code == 200
    assert client.pool.reloads == [body.get("json", {}).get("name")]


def test_a_body_that_is_not_json_is_refused_where_there_need_be_none(serve):
    answer = serve().post("/v1/models/reload", content=b"name=first")
    assert answer.status_code == 415
