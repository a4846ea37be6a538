"""The whole application with real workers: a classical run, a tiny SAM, the Streamlit app."""

import io
import os
import re
import signal
import time

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from penumbra.errors import PenumbraError
from penumbra.imaging.files import read_image
from penumbra.imaging.rle import decode_coco, encode_coco
from penumbra.inference.contract import load_predictor
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.serving.app import create_app
from penumbra.serving.settings import ServeSettings
from penumbra.serving.ui.backend import Question, registered

RUN = "classical:otsu,foreground=bright"


@pytest.fixture(scope="module")
def client(tiny_sam):
    settings = ServeSettings(runs={"otsu": RUN}, promptable={"tiny": str(tiny_sam)}, threads=1)
    with TestClient(create_app(settings), base_url="http://localhost") as started:
        wait = started.app.state.service.loaded.wait
        started.portal.call(wait)
        assert started.app.state.service.failure is None
        yield started


@pytest.fixture
def photo(cell_png, tmp_path):
    """The cell as pixels, read as any file is."""
    path = tmp_path / "cell.png"
    path.write_bytes(cell_png)
    return read_image(path)


def post(client, path, png, headers=None, **fields):
    return client.post(path, files={"image": png}, data=fields, headers=headers)


def test_answers_are_those_of_the_predictor_bit_for_bit(client, cell_png, photo):
    prediction = load_predictor(RUN)([photo], seed=0)[0]
    document = post(client, "/v1/segment", cell_png, outputs="mask,probability").json()
    assert document["masks"][0]["rle"] == encode_coco(prediction.mask == 1)
    answer = post(client, "/v1/segment", cell_png, {"accept": "application/x-npz"})
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["probabilities"], prediction.probabilities)
    linked = client.get(document["maps"]["probability"]["href"])
    stored = np.asarray(Image.open(io.BytesIO(linked.content)))
    assert np.abs(stored / 255 - prediction.probabilities[1]).max() <= 0.5 / 255 + 1e-6
    picture = post(client, "/v1/segment", cell_png, {"accept": "image/png"})
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.content))), prediction.mask)


def test_a_running_estimate_of_what_makes_one_pass_is_done_at_once(client, cell_png):
    headers = {"accept": "text/event-stream"}
    answer = post(client, "/v1/uncertainty", cell_png, headers, noise_mode="disabled")
    assert re.findall(r"^event: (\w+)$", answer.text, re.MULTILINE) == ["done"]


def test_doubt_of_what_has_no_network_is_that_of_its_one_pass(client, cell_png):
    document = post(client, "/v1/uncertainty", cell_png).json()
    assert (document["passes"], document["noise_mode"]) == (1, None)
    assert "entropy" in document["maps"]
    assert any("mutual_information" in note for note in document["notes"])
    refused = post(client, "/v1/uncertainty", cell_png, noise_mode="monte_carlo")
    assert refused.status_code == 422
    streamed = post(client, "/v1/uncertainty", cell_png, {"accept": "text/event-stream"})
    assert re.findall(r"^event: (\w+)$", streamed.text, re.MULTILINE) == ["done"]


def test_prompts_are_answered_as_without_a_server(client, cell_png, photo, tiny_sam):
    session = post(client, "/v1/sessions", cell_png).json()
    assert session["model"] == "tiny"
    body = {"boxes": [[8, 6, 40, 34]], "points": [[22, 20]], "labels": [1]}
    mask = client.post(f"/v1/sessions/{session['id']}/prompt", json=body).json()["masks"][0]
    segmenter = PromptableSegmenter.from_pretrained(str(tiny_sam))
    answer = segmenter.predict(
        segmenter.embed(photo), boxes=np.array([[8, 6, 40, 34]], np.float32),
        points=np.array([[[22, 20]]], np.float32), labels=np.array([[1]], np.int8),
    )[0]  # fmt: skip
    assert mask["area_px"] == int((answer.mask > 0).sum())
    if mask["box"] is not None:
        x0, y0, x1, y1 = mask["box"]
        assert np.array_equal(decode_coco(mask["rle"]), (answer.mask > 0)[y0:y1, x0:x1])


def test_a_reload_keeps_answering(client, cell_png):
    before = post(client, "/v1/segment", cell_png).json()["masks"]
    assert client.post("/v1/models/reload", json={"name": "otsu"}).status_code == 200
    assert post(client, "/v1/segment", cell_png).json()["masks"] == before


def test_the_streamlit_app_is_there_and_asks_the_same_workers(client, cell_png, photo):
    page = client.get("/ui")  # As people write it.
    assert page.url.path == "/ui/"
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    backend = registered()
    assert [model.name for model in backend.models()] == ["otsu"]
    outcome = backend.segment(cell_png, Question(model="otsu", mode="disabled"))
    prediction = load_predictor(RUN)([photo], seed=0)[0]
    assert np.array_equal(outcome.mask, prediction.mask)
    assert np.array_equal(outcome.foreground, prediction.probabilities[1])
    assert outcome.picture.shape == (40, 48, 3)
    assert "entropy" in outcome.doubt
    with pytest.raises(PenumbraError):
        backend.segment(b"no image", Question(model="otsu", mode="disabled"))
    with pytest.raises(PenumbraError):
        backend.segment(cell_png, Question(model="otsu", mode="monte_carlo", samples=4))


def test_the_studio_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
    for address in re.findall(r"(?:src|href)=\"([^\"#:]+)\"", page.text):
        assert client.get(f"/{address.lstrip('./')}").status_code == 200, address


def test_a_worker_that_dies_is_reported_and_replaced(client, cell_png):
    before = post(client, "/v1/segment", cell_png).json()["masks"]
    seen, until = [], time.monotonic() + 120
    while len(rows := client.get("/readyz").json()["workers"]) > 1:  # The reload before.
        assert time.monotonic() < until
        time.sleep(0.01)
    row = rows[0]
    os.kill(row["pid"], signal.SIGKILL)
    while time.monotonic() < until:
        answer = client.get("/readyz")
        workers = answer.json()["workers"]
        seen.append((answer.status_code, workers[0]["state"]))
        if answer.status_code == 200 and workers[0]["pid"] != row["pid"]:
            break
        time.sleep(0.01)
    assert seen[-1][0] == 200
    assert (503, "starting") in seen
    assert "penumbra_worker_restarts_total 1.0" in client.get("/metrics").text
    assert post(client, "/v1/segment", cell_png).json()["masks"] == before
