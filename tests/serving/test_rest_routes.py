"""What the routes answer, with a pool that answers at once."""

import asyncio
import json

import pytest


def post(client, path, png, headers=None, **fields):
    return client.post(path, files={"image": png}, data=fields, headers=headers)


def events_in(text):
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_segment_answers_in_json_with_links_that_work(serve, cell_png):
    client = serve()
    document = post(client, "/v1/segment", cell_png, seed="7", threshold="0.25").json()
    assert (document["seed"], document["threshold"], document["model"]) == (7, 0.25, "first")
    assert document["timings"].keys() >= {"queue", "decode", "network"}
    file = client.get(document["href"])
    assert (file.status_code, file.headers["content-type"]) == (200, "image/png")
    assert file.content == b"\x89PNG fake"


@pytest.mark.parametrize(
    ("accept", "media"),
    [("image/png", "image/png"), ("application/x-npz", "application/x-npz"),
     ("*/*", "application/json"), ("image/*", "image/png"),
     ("image/png;q=0.5, application/json", "application/json"),
     ("text/html, image/png;q=0.9", "image/png"), ("application/json;q=x, image/png", "image/png")],
)  # fmt: skip
def test_accept_decides_the_form(serve, cell_png, accept, media):
    response = post(serve(), "/v1/segment", cell_png, {"accept": accept})
    assert response.headers["content-type"] == media
    if media != "application/json":
        assert response.headers["penumbra-answer"]


def test_forms_that_nobody_makes_are_refused(serve, cell_png):
    client = serve()
    assert post(client, "/v1/segment", cell_png, {"accept": "text/html"}).status_code == 406
    assert post(client, "/v1/rectify", cell_png, {"accept": "application/x-npz"}).status_code == 406
    two = post(client, "/v1/segment", cell_png, {"accept": "image/png"}, outputs="mask,entropy")
    assert two.status_code == 422


def test_empty_fields_are_what_nobody_chose(serve, cell_png):
    assert post(serve(), "/v1/segment", cell_png, model="", samples="").status_code == 200


def test_uncertainty_streams_estimates(serve, cell_png):
    response = post(serve(), "/v1/uncertainty", cell_png, {"accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = list(events_in(response.text))
    assert [name for name, _ in events] == ["estimate", "done"]
    assert [document["converged"] for _, document in events] == [False, True]


def test_what_fails_before_the_first_estimate_has_its_status(serve, cell_png):
    damaged = cell_png + b"status=422"
    response = post(serve(), "/v1/uncertainty", damaged, {"accept": "text/event-stream"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_what_a_worker_says_of_a_job_is_told(serve, cell_png):
    response = post(serve(), "/v1/segment", cell_png + b"status=422")
    assert response.status_code == 422
    assert response.json()["type"] == "urn:penumbra:damaged"


def test_a_session_takes_prompts_until_it_is_closed(serve, cell_png):
    client = serve()
    opened = post(client, "/v1/sessions", cell_png)
    document = opened.json()
    assert opened.status_code == 201
    assert opened.headers["location"] == f"/v1/sessions/{document['id']}"
    assert document["size"] == {"height": 40, "width": 48}
    assert document["expires_in_s"] == 1800
    path = f"{opened.headers['location']}/prompt"
    answer = client.post(path, json={"boxes": [[1, 2, 30, 31], [0, 0, 5, 5]]})
    assert [mask["box"] for mask in answer.json()["masks"]] == [[1, 2, 30, 31], [0, 0, 5, 5]]
    assert 'penumbra_embeddings_total{cache="hit"} 1.0' in client.get("/metrics").text
    assert client.delete(opened.headers["location"]).status_code == 204
    assert client.post(path, json={"points": [[1, 1]]}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"boxes": []}, {"boxes": [[1, 2, 3]]}, {"points": [[1, 2]], "labels": [1, 0]},
     {"points": [[1, 2]], "labels": [2]}, {"boxes": [[0, 0, 1, 1]], "colour": "red"},
     {"points": [[1e9, 2]]}, {"boxes": [[0, 0, 1, 1]] * 300},
     {"mask": {"size": [0, 1], "counts": ""}},
     {"boxes": [[0, 0, 1, 1], [1, 1, 2, 2]], "points": [[0, 0]]}, [1], "x"],
)  # fmt: skip
def test_prompts_that_cannot_be_are_refused(serve, cell_png, body):
    client = serve()
    session = post(client, "/v1/sessions", cell_png).json()["id"]
    response = client.post(f"/v1/sessions/{session}/prompt", json=body)
    assert response.status_code == 422
    assert response.json()["errors"]


def test_sessions_and_results_are_forgotten_in_time(serve, cell_png):
    client = serve(results_bytes=16, session_bytes=len(cell_png) + 5)
    first, second = (post(client, "/v1/segment", cell_png).json()["href"] for _ in range(2))
    assert client.get(first).status_code == 404
    assert client.get(second).status_code == 200
    old, new = (post(client, "/v1/sessions", cell_png).json()["id"] for _ in range(2))
    prompt = {"points": [[1, 1]]}
    assert client.post(f"/v1/sessions/{old}/prompt", json=prompt).status_code == 404
    assert client.post(f"/v1/sessions/{new}/prompt", json=prompt).status_code == 200
    assert post(serve(session_bytes=10), "/v1/sessions", cell_png).status_code == 413


def test_rectify_takes_both_sides_or_none(serve, cell_png):
    client = serve()
    assert post(client, "/v1/rectify", cell_png, width="856", height="540").status_code == 200
    assert post(client, "/v1/rectify", cell_png, width="856").status_code == 422
    assert post(client, "/v1/rectify", cell_png, width="99999", height="1").status_code == 422


def test_models_are_listed_and_read_anew(serve):
    client = serve()
    assert [model["name"] for model in client.get("/v1/models").json()["models"]] == [
        "first",
        "sam",
    ]
    assert client.post("/v1/models/reload", json={"name": "first"}).status_code == 200
    assert client.post("/v1/models/reload", json={}).status_code == 200
    assert client.pool.reloads == ["first", None]
    assert client.post("/v1/models/reload", json={"name": "other"}).status_code == 404


def test_counters_are_those_of_one_application(serve, cell_png):
    client = serve()
    for _ in range(3):
        post(client, "/v1/segment", cell_png)
    client.get("/nothing/at/all")
    text = client.get("/metrics").text
    assert 'penumbra_requests_total{route="/v1/segment",status="200"} 3.0' in text
    assert 'penumbra_requests_total{route="other",status="404"} 1.0' in text
    assert 'penumbra_stage_seconds_count{stage="network"} 3.0' in text
    assert "penumbra_batch_size_count 3.0" in text
    assert "penumbra_queue_depth 0.0" in text
    assert "penumbra_workers_ready 1.0" in text
    assert "penumbra_worker_restarts_total 0.0" in text
    assert 'route="/v1/segment"' not in serve().get("/metrics").text


def test_who_goes_away_takes_the_job_along(serve, cell_png):
    client = serve(gated=True)
    batcher = client.app.state.service.batcher
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + cell_png
        + b"\r\n--b--\r\n"
    )

    async def leaves():
        """Send a request whose client leaves once it waits in the queue."""
        waits = asyncio.Event()

        async def receive():
            if not receive.given:
                receive.given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await waits.wait()
            return {"type": "http.disconnect"}

        receive.given = False

        async def send(message):
            pass

        scope = {
            "type": "http", "method": "POST", "path": "/v1/segment", "raw_path": b"/v1/segment",
            "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"localhost"),
                        (b"content-type", b"multipart/form-data; boundary=b")],
            "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        first = asyncio.create_task(client.app(dict(scope), receive, send))
        async with asyncio.timeout(20):
            while not client.pool.batches:
                await asyncio.sleep(0.005)
            receive.given = False
            second = asyncio.create_task(client.app(dict(scope), receive, send))
            while batcher.depth != 1:
                await asyncio.sleep(0.005)
            waits.set()
            await asyncio.gather(first, second)
            assert batcher.depth == 0
        client.pool.gate.set()

    client.portal.call(leaves)
    assert len(client.pool.batches) == 1
    assert 'status="499"' in client.get("/metrics").text


def test_an_answer_that_takes_too_long_is_given_up(serve, cell_png):
    client = serve(gated=True, request_timeout_s=0.05)
    response = post(client, "/v1/segment", cell_png)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:penumbra:timeout"
    client.pool.gate.set()


def test_the_pool_ends_with_the_application(serve):
    client = serve()
    assert client.get("/readyz").json()["status"] == "ready"
    client.__exit__(None, None, None)
    assert client.pool.drained
    client.__enter__()
