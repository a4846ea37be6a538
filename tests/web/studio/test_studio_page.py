"""The studio in a real browser, against a server that speaks the REST interface."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser


def test_an_image_is_segmented_and_the_doubt_is_streamed(page, fake, hands, image_file):
    hands.with_image(image_file())
    asked = fake.of("/v1/uncertainty")
    assert len(asked) == 1
    assert asked[0]["noise_mode"] == "monte_carlo"
    assert asked[0]["samples"] == "8"
    assert page.locator("#classes li .name").all_text_contents() == ["nerve"]
    hands.until("#status", "network 412 ms")
    assert [worker.url.rpartition("/")[2] for worker in page.workers] == ["levels_worker.js"]
    inside, outside = hands.colour(160, 108), hands.colour(20, 20)
    assert inside[1] - inside[0] > 20, "teal over the body"
    assert abs(outside[1] - outside[0]) < 12, "nothing over the ground"
    page.keyboard.down("h")
    page.wait_for_selector(".pc-scale[data-side=left]", state="hidden")
    assert np.ptp(hands.colour(160, 108)) < 4
    page.keyboard.up("h")
    page.wait_for_selector(".pc-scale[data-side=left]", state="visible")


def test_sliders_that_need_no_inference_ask_nobody(page, fake, hands, image_file):
    hands.with_image(image_file())
    page.wait_for_load_state("networkidle")
    before, area = fake.count(), page.locator("#classes output").text_content()
    for threshold in (0.2, 0.8, 0.9):
        hands.slide("threshold", threshold)
    page.wait_for_function(
        "(area) => document.querySelector('#classes output').textContent !== area", arg=area
    )
    for layer in ("variance", "probability", "", "mutual_information"):
        page.check(f"input[name=layer][value='{layer}']")
    hands.slide("o-mask", 0.9)
    hands.slide("o-heat", 0.1)
    hands.slide("classes input", 0.5)
    page.check("#own")
    page.mouse.move(*hands.place(100, 100))
    page.mouse.wheel(0, -400)
    page.wait_for_function("() => location.hash.includes('view=')")
    page.wait_for_load_state("networkidle")
    assert fake.count() == before
    hands.slide("strength", 0.8)
    page.wait_for_function("() => location.hash.includes('strength=0.8')")
    hands.until("#v-strength", "0.80")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'true'")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'false'")
    assert [fields["noise_strength"] for fields in fake.of("/v1/uncertainty")[1:]] == ["0.8"]
    assert "threshold" not in fake.of("/v1/uncertainty")[1]


def test_the_threshold_is_drawn_from_the_probability(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=none&o-mask=1")
    teal = np.array([18, 165, 148])
    assert np.abs(hands.colour(160, 108) - teal).max() < 8
    hands.slide("threshold", 0.01)
    areas = []
    for threshold in (0.01, 0.5, 0.99):
        hands.slide("threshold", threshold)
        areas.append(hands.area())
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[2]
    own = areas[1]
    page.focus("#threshold")
    page.keyboard.press("Delete")
    hands.until("#v-threshold", "0.50")
    assert hands.area() == own, "the server's mask at its threshold is the page's at the same"
    assert page.locator("#own-threshold").is_disabled()


def test_the_old_result_stays_dimmed_until_the_new_one_is_there(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=none&o-mask=1")
    fake.hold = threading.Event()
    page.click("#modes label:has-text('Disabled')")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'true'")
    assert page.locator("#busy").is_visible()
    assert page.locator("#classes li").count() == 1
    fake.hold.set()
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'false'")
    assert fake.of("/v1/segment")[0]["noise_mode"] == "disabled"
    fake.hold = None
    page.click("#modes label:has-text('Monte Carlo')")
    hands.until("#status", "8 passes")
    assert hands.inferences() == 2, "what is known is not asked again"


def test_two_modes_are_compared_with_a_swipe(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=none&o-mask=1")
    page.keyboard.press("c")
    handle = page.get_by_role("slider", name="Swipe between the two results")
    handle.wait_for()
    hands.until("#side-b", "Disabled")
    assert page.locator("#side-a").text_content() == "Monte Carlo"
    # The stand-in's undisturbed mask is smaller: its left edge lies further in.
    edge = 100
    handle.focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('.pc-swipe').ariaValueNow === '100'")
    left = hands.colour(edge, 108)
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.pc-swipe').ariaValueNow === '0'")
    right = hands.colour(edge, 108)
    assert left[1] - left[0] > 60
    assert abs(right[1] - right[0]) < 40
    frame = page.locator(".pc").bounding_box()
    grip = handle.bounding_box()
    page.mouse.move(grip["x"] + 12, grip["y"] + 200)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.25, grip["y"] + 200, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('.pc-swipe').ariaValueNow === '25'")
    page.wait_for_function("() => location.hash.includes('swipe=0.25')")


def test_prompts_by_click_and_by_box_go_straight_to_a_session(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=none")
    page.keyboard.press("p")
    page.mouse.click(*hands.place(60, 60))
    hands.until("#classes", "Prompted")
    pink = hands.colour(60, 72)
    assert pink[0] - pink[1] > 20
    page.mouse.click(*hands.place(75, 60), button="right")
    hands.until("#status", "predicted IoU 0.91")
    page.keyboard.press("b")
    page.mouse.move(*hands.place(200, 150))
    page.mouse.down()
    page.mouse.move(*hands.place(300, 230), steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelectorAll('#classes li').length === 2")
    asked = hands.prompts(3)
    assert np.allclose(asked[0]["points"], [[60, 60]], atol=0.6)
    assert asked[1]["labels"] == [1, 0]
    assert np.allclose(asked[2]["boxes"], [[200, 150, 300, 230]], atol=0.6)
    assert asked[2]["points"] == []
    assert len(fake.of("/v1/sessions")) == 1, "one image is embedded once"
    page.keyboard.press("z")
    assert hands.prompts(4)[3]["labels"] == [1, 0]
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.querySelectorAll('#classes li').length === 1")
    assert hands.inferences() == 1


def test_all_is_downloaded_in_one_file(page, fake, hands, image_file, tmp_path):
    file = image_file()
    hands.with_image(file, "#threshold=0.3")
    with page.expect_download() as waiting:
        page.keyboard.press("d")
    assert waiting.value.suggested_filename == "one_penumbra.zip"
    path = tmp_path / "all.zip"
    waiting.value.save_as(path)
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        assert packed.read("one.png") == file["buffer"]
        mask = np.asarray(Image.open(io.BytesIO(packed.read("mask.png"))))
        name = "maps/mask_probability.png"
        probability = np.asarray(Image.open(io.BytesIO(packed.read(name)))).astype(np.float64)
        facts = json.loads(packed.read("answer.json"))
        assert {"maps/entropy.png", "maps/mutual_information.png"} <= set(packed.namelist())
    assert np.array_equal(mask, probability / 65535 >= 0.3)
    assert facts["settings"]["threshold"] == 0.3
    assert facts["answer"]["passes"] == 8


def test_what_the_browser_cannot_read_is_shown_by_the_server(page, fake, hands, image_file):
    hands.with_image(image_file("scan.tif"), "#layer=none&o-mask=0")
    assert fake.of("/v1/uncertainty")[0]["outputs"].endswith("image")
    bright, dark = hands.colour(160, 108).mean(), hands.colour(20, 20).mean()
    assert bright > dark + 60


def test_an_error_is_shown_where_the_hand_is(page, fake, hands, image_file):
    hands.with_image(image_file())
    hands.slide("strength", 1.95)
    error = page.locator("#error-noise_strength")
    error.wait_for()
    assert "at most 1.9" in error.text_content()
    assert page.locator("#strength").get_attribute("aria-invalid") == "true"
    assert page.locator("#classes li").count() == 1, "the old result is still there"
    hands.slide("strength", 0.5)
    error.wait_for(state="hidden")


def test_a_file_that_is_no_image_is_named_as_such(page, fake, hands, image_file):
    hands.opened()
    words = {"name": "notes.dcm", "mimeType": "text/plain", "buffer": b"not an image"}
    page.set_input_files("#file", [words])
    hands.until("#error-image", "notes.dcm: Expected the upload to be PNG")
    assert page.locator(".thumb[data-failed=true]").text_content().startswith("Not read: notes.dcm")
    page.set_input_files("#file", [image_file()])
    hands.done()
    page.set_input_files("#file", [words])
    hands.until("#notice", "got other bytes")
    assert page.locator("#file-name").text_content() == "one.png", "it is still there"
    assert page.locator("#classes li").count() == 1


def test_a_full_queue_is_waited_for(page, fake, hands, image_file):
    fake.refuse = 1
    hands.with_image(image_file())
    assert len(fake.of("/v1/uncertainty")) == 2
    assert page.locator("#notice").is_hidden()


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(page, fake, hands, image_file):
    fake.key = "a-key-of-sixteen-signs"
    page.goto(fake.url)
    page.wait_for_selector("#ask[open]")
    page.fill("#api-key", "wrong")
    page.keyboard.press("Enter")
    hands.until("#ask-why", "That key is not known here.")
    page.wait_for_selector("#ask[open]")
    page.fill("#api-key", fake.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#status:text-is('Ready.')")
    page.set_input_files("#file", [image_file()])
    hands.done()
    kept = page.evaluate("() => [sessionStorage.length, JSON.stringify(localStorage)]")
    assert kept == [1, "{}"]


def test_a_link_shows_the_same_view(page, fake, hands, image_file):
    link = "#mode=disabled&threshold=0.3&layer=confidence&o-heat=0.4&view=3,150,100"
    hands.with_image(image_file(), link)
    assert page.is_checked("input[name=mode][value=disabled]")
    assert page.is_checked("input[name=layer][value=confidence]")
    assert page.locator("#v-threshold").text_content() == "0.30"
    assert page.locator("#v-o-heat").text_content() == "40 %"
    page.keyboard.press("l")
    page.wait_for_function("() => location.hash.includes('layer=probability')")
    for part in ("mode=disabled", "threshold=0.3", "o-heat=0.4", "view=3%2C150%2C100"):
        assert part in page.url


def test_images_wait_in_the_strip_and_keep_their_results(page, fake, hands, image_file):
    hands.opened()
    files = [image_file("a.png"), image_file("b.png", height=160, width=200, seed=3)]
    page.set_input_files("#file", files)
    hands.done()
    assert page.locator("#strip [role=option]").count() == 2
    page.click("#strip [role=option] >> nth=1")
    page.wait_for_function("() => document.querySelector('#file-name').textContent === 'b.png'")
    page.wait_for_selector("#busy", state="hidden")
    page.wait_for_function("() => document.querySelectorAll('#classes li').length === 1")
    page.focus("#strip")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('#file-name').textContent === 'a.png'")
    page.wait_for_function("() => document.querySelectorAll('#classes li').length === 1")
    assert hands.inferences() == 2


def test_every_key_is_shown_and_everything_has_a_name(page, fake, hands):
    hands.opened()
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    words = page.locator("#key-list").text_content()
    assert "hold to hide all overlays" in words
    assert "compare two modes" in words
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys", state="hidden")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=slider]")]
          .filter((each) => !each.textContent.trim() && !each.labels?.length)
          .filter((each) => !each.getAttribute("aria-label"))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("Tab")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_dark_and_light_by_the_system_and_by_hand(page, fake, hands):
    page.emulate_media(color_scheme="dark")
    hands.opened()
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(16, 18, 22)"
    page.keyboard.press("t")
    assert page.evaluate(ground) == "rgb(250, 250, 247)"
    page.reload()
    page.wait_for_selector("#status:text-is('Ready.')")
    assert page.evaluate(ground) == "rgb(250, 250, 247)"
