"""The Streamlit app inside a FastAPI process, over real sockets and in a real browser."""

import io
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("streamlit")

import uvicorn
from fastapi import FastAPI

from penumbra.errors import SettingsError
from penumbra.pages.render import render
from penumbra.serving.keys import ApiKeys
from penumbra.serving.ui.backend import DoubtMap, ModelFacts, Outcome, register
from penumbra.serving.ui.mount import mount_streamlit

KEY = "a key that is long enough"
ELSEWHERE = "http://127.0.0.1:9/elsewhere"


class Bright:
    """Segments what is bright; refuses what is no PNG."""

    def __init__(self):
        self.asked = []
        self.runs = {}

    def models(self):
        return [ModelFacts(name="bright", classes=("background", "nerve"), sampler="noise:8",
                           calibrated=True, has_noise=True, size=64)]  # fmt: skip

    def most_samples(self):
        return 16

    def revision(self):
        return ""

    def folders(self):
        return self.runs

    def segment(self, upload, question):
        self.asked.append(question)
        if not upload.startswith(b"\x89PNG"):
            raise SettingsError("Expected the image to be a PNG file, but got another. Try a PNG.")
        picture = np.asarray(Image.open(io.BytesIO(upload)).convert("RGB"))
        share = picture[..., 0].astype(np.float32) / 255
        doubt = np.minimum(share, 1 - share)
        return Outcome(
            picture=picture, mask=(share > question.threshold).astype(np.uint8), foreground=share,
            confidence=1 - doubt, doubt={"entropy": DoubtMap(doubt, (0.0, 0.693), "nat")},
            classes=("background", "nerve"), sampler="noise:8", passes=8, seed=question.seed,
            cut=share,
        )  # fmt: skip


@contextmanager
def serving(backend, keys=None):
    inside = []

    @asynccontextmanager
    async def lifespan(app):
        async with inside[0](app):
            yield

    app = FastAPI(lifespan=lifespan)
    inside.append(mount_streamlit(app, backend=backend, keys=keys, max_upload_bytes=2**20))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        register(None)
    assert not thread.is_alive()


@pytest.fixture
def visit(chromium):
    """Open pages that ask nobody but their server, and have no error of their own."""
    wrong, contexts = [], []

    def opened(base, theme="light"):
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800}, color_scheme=theme, accept_downloads=True
        )
        contexts.append(context)
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((base, "blob:", "data:"))
                else wrong.append(f"asked elsewhere: {asked.url}"))  # fmt: skip
        page.on("websocket", lambda socket: None if socket.url.startswith("ws" + base[4:])
                else wrong.append(f"asked elsewhere: {socket.url}"))  # fmt: skip
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def png(side=32):
    held = io.BytesIO()
    Image.fromarray(np.full((side, side), 200, np.uint8)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.browser
def test_the_app_is_used_in_a_browser(visit, tmp_path):
    run = tmp_path / "run"
    (run / "test").mkdir(parents=True)
    template = tmp_path / "one.html.j2"
    template.write_text(
        "{% extends 'page.html.j2' %}{% block body %}<h1>The report</h1><a href='" + ELSEWHERE +
        "'>away</a><script>location = '" + ELSEWHERE + "'</script>{% endblock %}"
    )  # fmt: skip
    (run / "test" / "report.html").write_text(render(template, title="Report"))
    (run / "old").mkdir()
    (run / "old" / "report.html").write_text(
        f"<!doctype html><meta http-equiv=refresh content='0;url={ELSEWHERE}'><h1>The old one</h1>"
    )
    backend = Bright()
    backend.runs["bright"] = run
    with serving(backend) as base:
        page = visit(base)
        page.goto(f"{base}/ui/")
        # The canvas has drawn: WebGL or not, it is the same module as in the studio.
        page.wait_for_selector(".frame[data-ready] .pc canvas")
        page.get_by_text("Area of nerve").wait_for()
        assert page.locator(".chart").count() == 1
        asked = len(backend.asked)

        # The opacity is the browser's own business, and the image alone is one key away.
        page.get_by_label("Opacity of the mask").fill("0.8")
        assert page.locator(".bar label output").first.text_content() == "80 %"
        assert len(backend.asked) == asked

        page.get_by_test_id("stRadio").get_by_text("Ensemble", exact=True).click()
        page.get_by_text("The mean of several noisy passes").wait_for()
        deadline = time.monotonic() + 30
        while backend.asked[-1].mode != "ensemble" and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        assert backend.asked[-1].mode == "ensemble"

        # The file is made of what the page shows once it has run.
        page.wait_for_selector("[data-test-script-state='notRunning']")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download everything").click()
        assert Path(waiting.value.path()).read_bytes()[:2] == b"PK"

        page.get_by_test_id("stButtonGroup").get_by_text("Upload", exact=True).click()
        chooser = page.locator("input[type=file]")
        chooser.set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": png()})
        page.get_by_text("32 × 32").wait_for()
        chooser.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": b"hello"})
        page.get_by_text("Expected the image to be a PNG file").wait_for()
        assert page.get_by_text("Traceback").count() == 0

        page.goto(f"{base}/ui/report")
        report = page.frame_locator("iframe[title='Report of the run']")
        # A page that loads another one by itself stays where it is.
        report.get_by_role("heading", name="The old one").wait_for()
        page.get_by_test_id("stSelectbox").nth(1).click()
        page.get_by_role("option", name="test").click()
        # Penumbra's own script runs, and no other; nor is a link followed.
        report.get_by_role("heading", name="The report").wait_for()
        report.get_by_role("button", name="Dark theme").click()
        report.get_by_role("button", name="Light theme").click()
        report.get_by_role("link", name="away").click()
        report.get_by_text("This content is blocked").first.wait_for(state="attached")
        assert {frame.url for frame in page.frames[1:]} <= {"chrome-error://chromewebdata/"}


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_with_keys_the_page_asks_for_one_first(visit, theme):
    backend = Bright()
    with serving(backend, ApiKeys([KEY])) as base:
        page = visit(base, theme)
        page.goto(f"{base}/ui/")
        page.get_by_label("This server asks for an API key.").fill("not the key at all")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("none of the keys").wait_for()
        assert backend.asked == []
        page.get_by_label("This server asks for an API key.").fill(KEY)
        page.get_by_role("button", name="Open").click()
        page.wait_for_selector(".frame[data-ready]")
        paper = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert paper == {"light": "rgb(250, 250, 247)", "dark": "rgb(16, 18, 22)"}[theme]
        assert page.evaluate("document.cookie").find("penumbra_ui") == -1


def test_without_a_key_nothing_is_sent():
    with serving(Bright(), ApiKeys([KEY])) as base, httpx.Client(base_url=base) as client:
        browser = {"Accept": "text/html"}
        page = client.get("/ui/", headers=browser)
        assert page.status_code == 401
        assert "API key" in page.text
        assert "<script" not in page.text
        for path in ("/ui/_stcore/health", "/ui/static/js/x.js", "/ui/_stcore/upload_file/a/b"):
            assert client.get(path).status_code == 401
        socket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
        assert client.get("/ui/_stcore/stream", headers=socket).status_code == 403
        for wrong in ("", "key=", "key=wrong", "other=1", "key=" + "x" * 10_000):
            answer = client.post("/ui/sign-in", content=wrong)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        answer = client.post("/ui/sign-in", data={"key": KEY})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=strict", "path=/ui"):
            assert part in cookie
        assert KEY not in cookie
        assert client.get("/ui/_stcore/health").status_code == 200


def test_frames_of_the_pages_go_nowhere():
    with serving(Bright()) as base, httpx.Client(base_url=base) as client:
        assert "frame-src 'none'" in client.get("/ui/").headers["content-security-policy"]


def test_pages_of_other_origins_open_no_websocket():
    with serving(Bright()) as base, httpx.Client(base_url=base) as client:
        socket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                  "Origin": "http://elsewhere.example"}  # fmt: skip
        assert client.get("/ui/_stcore/stream", headers=socket).status_code == 403
        assert client.get("/ui/").status_code == 200
