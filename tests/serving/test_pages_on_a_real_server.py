"""The studio and the Streamlit app in a real browser, against real workers."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("streamlit")

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 40, 48


@pytest.fixture(scope="module")
def addresses(tiny_sam):
    """Where the pages of a server with a classical method and a tiny promptable model are."""
    command = [sys.executable, "-m", "penumbra", "serve", "otsu=classical:otsu,foreground=bright",
               "--promptable", f"tiny={tiny_sam}", "--port", "0", "--threads", "1",
               "--max-upload-mib", "0.1", "--json"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()
            assert server.wait(60) == 0


@pytest.fixture
def page(chromium, addresses):
    """A page that has no error of its own and asks this server alone."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(90_000)
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = (addresses["studio"], "blob:", "data:")
    page.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
    yield page
    context.close()
    assert not wrong


@pytest.fixture(scope="module")
def cell_png():
    """A bright cell whose edge is soft, so that a threshold has something to move."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    grey = 60 + 130 * np.exp(-((rows - 20) ** 2 + (columns - 22) ** 2) / 160)
    held = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(held, "PNG")
    return held.getvalue()


def file_of(png, name="cell.png"):
    held = io.BytesIO()
    Image.open(io.BytesIO(png)).save(held, "TIFF" if name.endswith("tif") else "PNG")
    return {"name": name, "mimeType": "application/octet-stream", "buffer": held.getvalue()}


def until(page, selector, words):
    page.wait_for_function(
        "([where, words]) => document.querySelector(where)?.textContent.includes(words)",
        arg=[selector, words],
    )


def shown(page, address, file):
    page.goto(address)
    page.wait_for_selector("#status:text-is('Ready.')")
    page.set_input_files("#file", [file])
    page.wait_for_selector("#canvas", state="visible")


def place(page, x, y):
    """Where a pixel of the image is on the page, while the whole image is shown."""
    box = page.locator(".pc").bounding_box()
    room = [max(side - 48, side / 2) for side in (box["width"], box["height"])]
    zoom = min(room[0] / WIDTH, room[1] / HEIGHT, 8)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + (x - WIDTH / 2) * zoom, middle[1] + (y - HEIGHT / 2) * zoom


def area(page):
    text = page.locator("#classes output").first.text_content()
    return int("".join(filter(str.isdigit, text)))


def heat(page):
    """How far the page is from grey over the image; heat colours it."""
    x, y = place(page, 4, 4)
    clip = {"x": x, "y": y, "width": 240, "height": 200}
    page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => done(true)))")
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"), int)
    return float(np.ptp(pixels, axis=2).mean())


def test_the_studio_segments_moves_its_threshold_and_saves(page, addresses, cell_png, tmp_path):
    shown(page, addresses["studio"] + "#mode=disabled&o-mask=0", file_of(cell_png))
    until(page, "#status", "1 pass")
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    before = area(page)
    page.locator("#threshold").fill("0.05")
    until(page, "#v-threshold", "0.05")
    after = area(page)
    assert after > before > 0
    page.check("input[name=layer][value='']")
    plain = heat(page)
    page.check("input[name=layer][value='probability']")
    assert heat(page) > plain + 20
    assert not [each for each in asked if "/v1/" in each], "nothing of this needs the server"
    with page.expect_download() as waiting:
        page.keyboard.press("d")
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        mask = np.asarray(Image.open(io.BytesIO(packed.read("mask.png"))))
        assert {"maps/entropy.png", "maps/probability.png", "cell.png"} <= set(packed.namelist())
    assert int(mask.sum()) == after


def test_clicks_and_boxes_are_answered_by_a_promptable_model(page, addresses, cell_png):
    # A browser reads no TIFF: the server shows it, also where no run is asked.
    shown(page, addresses["studio"] + "#model=tiny", file_of(cell_png, "cell.tif"))
    until(page, "#status", "prepare")
    assert page.locator("#how").is_visible()
    page.keyboard.press("p")
    with page.expect_response("**/prompt") as answer:
        page.mouse.click(*place(page, 22, 20))
    assert answer.value.status == 200
    assert np.allclose(answer.value.request.post_data_json["points"], [[22, 20]], atol=0.6)
    until(page, "#status", "predicted IoU")
    page.keyboard.press("b")
    page.mouse.move(*place(page, 8, 6))
    page.mouse.down()
    page.mouse.move(*place(page, 40, 34), steps=3)
    with page.expect_response("**/prompt") as answer:
        page.mouse.up()
    assert answer.value.status == 200
    assert np.allclose(answer.value.request.post_data_json["boxes"], [[8, 6, 40, 34]], atol=0.6)
    until(page, "#classes", "Prompted")
    assert area(page) == answer.value.json()["masks"][0]["area_px"]


def test_refusals_are_shown_and_the_image_stays(page, addresses, cell_png):
    shown(page, addresses["studio"] + "#mode=disabled", file_of(cell_png))
    until(page, "#status", "1 pass")
    before = area(page)
    for name, content, words in (
        ("notes.dcm", b"no image at all", "Expected the image to be"),
        ("large.png", bytes(200_000), "bytes at most"),
    ):
        given = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        page.set_input_files("#file", [given])
        until(page, "#notice", words)
        assert page.locator("#file-name").text_content() == "cell.png"
        assert area(page) == before
        page.click("#dismiss")


def test_the_streamlit_app_draws_uploads_and_saves(page, addresses, cell_png):
    page.goto(addresses["ui"])
    page.wait_for_selector(".frame[data-ready] .pc canvas")
    page.get_by_test_id("stButtonGroup").get_by_text("Upload", exact=True).click()
    chooser = page.locator("input[type=file]")
    chooser.set_input_files(file_of(cell_png, "cell.tif"))
    page.get_by_text("48 × 40").wait_for()
    page.wait_for_selector(".pc-scale:visible")
    assert page.locator(".pc-scale:visible").count() == 1
    page.get_by_text("Area of").first.wait_for()
    # The threshold under the image is the browser's own business.
    slider = page.get_by_label("Threshold, drawn here at once")
    before = page.locator(".place").screenshot()
    slider.fill("0.05")
    page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => done(true)))")
    assert page.locator(".place").screenshot() != before
    assert page.get_by_test_id("stStatusWidget").count() == 0
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download everything").click()
    with zipfile.ZipFile(waiting.value.path()) as packed:
        assert packed.testzip() is None
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"hello"}
    chooser.set_input_files(bad)
    page.get_by_text("Expected the image to be").wait_for()
