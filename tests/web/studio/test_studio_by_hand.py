"""The studio where things go wrong, wait, or are done without a mouse or without eyes."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser


def test_a_presence_rule_has_the_server_cut_the_mask(page, fake, hands, image_file):
    fake.presence = True
    hands.with_image(image_file(), "#mode=single")
    before = hands.area()
    hands.slide("threshold", 0.3, 0.4, 0.7)
    assert page.locator("#download").is_disabled()
    hands.settled()
    assert [asked.get("threshold") for asked in fake.of("/v1/segment")] == [None, "0.7"]
    assert 0 < hands.area() < before
    assert page.locator("#emptied").is_hidden()
    hands.slide("threshold", 0.9)
    page.wait_for_selector("#emptied:has-text('nothing is there')")
    assert hands.area() == 0
    page.click("#own-threshold")
    page.wait_for_selector("#emptied", state="hidden")
    assert hands.area() == before
    assert hands.inferences() == 3


def test_both_sides_of_a_comparison_have_one_scale(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=variance&strength=1&own=true")
    wide = page.locator(".pc-scale:visible").get_attribute("aria-label")
    page.select_option("#compare", "ensemble")
    page.wait_for_selector(".pc-swipe", state="visible")
    assert page.locator(".pc-scale:visible").get_attribute("aria-label") == wide
    page.click("#modes label:has-text('Ensemble')")
    page.select_option("#compare", "monte_carlo")
    page.wait_for_function("() => document.querySelector('#side-a').textContent === 'Ensemble'")
    page.wait_for_selector("#download:enabled")
    assert page.locator(".pc-scale:visible").count() == 1
    assert page.locator(".pc-scale:visible").get_attribute("aria-label") == wide
    page.select_option("#compare", "off")
    page.wait_for_selector(".pc-swipe", state="hidden")
    assert page.locator(".pc-scale:visible").get_attribute("aria-label") != wide


def test_a_session_that_has_expired_is_opened_again(page, fake, hands, image_file):
    hands.with_image(image_file())
    fake.expired = 1
    page.keyboard.press("p")
    page.mouse.click(*hands.place(60, 60))
    hands.until("#classes", "Prompted")
    assert len(fake.of("/v1/sessions")) == 2
    assert page.locator("#notice").is_hidden()


def test_a_full_queue_keeps_no_prompt_waiting_for_ever(page, fake, hands, image_file):
    hands.with_image(image_file())
    fake.refuse_prompts = 1
    page.keyboard.press("p")
    page.mouse.click(*hands.place(60, 60))
    hands.until("#classes", "Prompted")
    page.wait_for_selector("#busy", state="hidden")
    fake.refuse_prompts = 4
    page.mouse.click(*hands.place(75, 60))
    hands.until("#notice", "The queue is full")
    page.wait_for_selector("#busy", state="hidden")
    before = len(hands.prompts(6))
    page.click("#again")
    page.wait_for_function("() => document.querySelector('#notice').hidden")
    assert hands.prompts(before + 1)[-1]["labels"] == [1, 1]
    assert hands.inferences() == 1, "it was not the inference that failed"


def test_a_box_is_drawn_by_keys(page, fake, hands, image_file):
    hands.with_image(image_file(), "#layer=none&o-mask=0")
    page.keyboard.press("b")
    page.locator(".pc").focus()
    page.keyboard.press("Enter")
    hands.until(".pc-said", "First corner at 160, 120")
    page.keyboard.press("v")
    until_empty = "() => document.querySelector('.pc-said').textContent === ''"
    page.wait_for_function(until_empty)
    page.keyboard.press("b")
    page.locator(".pc").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    hands.until("#classes", "Prompted")
    left, top, right, bottom = hands.prompts(1)[0]["boxes"][0]
    assert (left, top) == pytest.approx((160, 120), abs=1)
    assert right - left == pytest.approx(bottom - top, abs=0.2)
    assert right > 165


def test_prompts_need_no_mouse(page, fake, hands, image_file):
    hands.with_image(image_file())
    page.keyboard.press("x")
    page.keyboard.press("p")
    page.locator(".pc").focus()
    page.keyboard.press("Enter")
    asked = hands.prompts(1)
    assert np.allclose(asked[0]["points"], [[160, 120]], atol=1)


def test_nothing_is_downloaded_of_two_images_at_once(page, fake, hands, image_file, tmp_path):
    hands.with_image(image_file("mask.png"))
    fake.hold = threading.Event()
    page.set_input_files("#file", [image_file("scan.tif")])
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'true'")
    assert page.locator("#download").is_disabled()
    page.keyboard.press("d")
    fake.hold.set()
    page.wait_for_selector("#download:enabled")
    page.keyboard.press("p")
    page.mouse.click(*hands.place(60, 60))
    hands.until("#classes", "Prompted")
    with page.expect_download() as waiting:
        page.click("#download:enabled")
    assert waiting.value.suggested_filename == "scan_penumbra.zip"
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        facts = json.loads(packed.read("answer.json"))
        assert np.asarray(Image.open(io.BytesIO(packed.read("mask.png")))).max() == 2
    assert facts["prompted"]["prompts"]["labels"] == [1]
    assert facts["prompted"]["answer"]["masks"][0]["predicted_iou"] == 0.91
    page.click("#strip [role=option] >> nth=0")
    page.wait_for_function("() => document.querySelector('#file-name').textContent === 'mask.png'")
    page.wait_for_selector("#download:enabled")
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.read("image_mask.png") == image_file("mask.png")["buffer"]
        assert np.asarray(Image.open(io.BytesIO(packed.read("mask.png")))).max() == 1


def test_an_address_that_is_edited_changes_the_page(page, fake, hands, image_file):
    hands.with_image(image_file())
    page.evaluate("() => { location.hash = '#layer=confidence&o-heat=0.4&view=3,150,100'; }")
    hands.until("#v-o-heat", "40 %")
    assert page.is_checked("input[name=layer][value=confidence]")
    assert hands.inferences() == 1
    fake.hold = threading.Event()
    page.evaluate("() => { location.hash = '#model=gone&mode=disabled'; }")
    hands.until("#error-model", "“gone” is not served here")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'true'")
    assert page.locator("#classes li").count() == 1, "the old result is still there"
    fake.hold.set()
    page.wait_for_selector("#download:enabled")
    assert "model" not in fake.of("/v1/segment")[0]
    assert page.locator("#notice").is_hidden()
    page.evaluate("() => { location.hash = '#model=nerve&mode=disabled'; }")
    page.wait_for_selector("#error-model", state="hidden")


def test_images_are_removed_from_the_strip(page, fake, hands, image_file):
    hands.opened()
    files = [image_file(f"{name}.png", seed=place) for place, name in enumerate("abc")]
    page.set_input_files("#file", files)
    hands.done()
    page.focus("#strip")
    page.keyboard.press("Delete")
    named = "(name) => document.querySelector('#file-name').textContent === name"
    page.wait_for_function(named, arg="b.png")
    page.hover("#strip [role=option] >> nth=1")
    page.click("#strip [role=option] >> nth=1 >> .away")
    assert page.locator("#strip [role=option]").count() == 1
    page.wait_for_selector("#download:enabled")
    page.focus("#strip")
    page.keyboard.press("Delete")
    page.wait_for_function(named, arg="")
    assert page.locator("#empty h1").is_visible()
    assert page.locator("#download").is_disabled()
    page.set_input_files("#file", files[1:2])
    page.wait_for_function(named, arg="b.png")
    page.wait_for_selector("#download:enabled")


def test_sliders_and_buttons_speak_to_those_who_do_not_see(page, fake, hands, image_file):
    hands.with_image(image_file())
    spoken = "(id) => document.getElementById(id).ariaValueText"
    assert page.evaluate(spoken, "o-mask") == "35 %"
    assert page.evaluate(spoken, "threshold") == "own 0.50"
    assert page.evaluate(spoken, "strength").startswith("own")
    assert page.get_by_role("slider", name="Opacity of the mask").count() == 1
    assert page.get_by_role("slider", name="Opacity of the map").count() == 1
    for key in ("Space", "Enter"):
        page.focus("#hide")
        page.keyboard.down(key)
        page.wait_for_selector(".pc-scale[data-side=left]", state="hidden")
        page.keyboard.up(key)
        page.wait_for_selector(".pc-scale[data-side=left]", state="visible")
    hands.slide("strength", 0.8)
    page.wait_for_selector("#own-strength:enabled")
    page.click("#own-strength")
    page.wait_for_selector("#own-strength:disabled")
    assert page.evaluate(spoken, "strength").startswith("own")
    hands.settled()
    assert hands.inferences() <= 2, "the run's own strength is what was asked for at first"
