"""Hands and eyes for the studio's page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image


class Hands:
    """What a person does on the page, and sees of it."""

    def __init__(self, page, fake):
        self.page, self.fake = page, fake

    def opened(self, address=""):
        self.page.goto(self.fake.url + address)
        self.page.wait_for_selector("#status:text-is('Ready.')")

    def done(self):
        self.page.wait_for_selector("#status:has-text('network')")
        self.settled()

    def settled(self):
        """Nothing is under way: what is shown can be kept."""
        self.page.wait_for_selector("#download:enabled")
        self.page.wait_for_selector("#busy", state="hidden")

    def with_image(self, file, address=""):
        self.opened(address)
        self.page.set_input_files("#file", [file])
        self.done()

    def place(self, x, y, width=320, height=240):
        """Where a pixel of the image is on the page, while the whole image is shown."""
        box = self.page.locator(".pc").bounding_box()
        room = [max(side - 48, side / 2) for side in (box["width"], box["height"])]
        zoom = min(room[0] / width, room[1] / height, 8)
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        return middle[0] + (x - width / 2) * zoom, middle[1] + (y - height / 2) * zoom

    def frame(self):
        self.page.wait_for_function(
            "() => new Promise((done) => requestAnimationFrame(() => done(true)))"
        )

    def colour(self, x, y):
        """What is on the screen over a pixel of the image."""
        left, top = self.place(x, y)
        self.page.wait_for_function("() => document.getAnimations().length === 0")
        self.frame()
        clip = {"x": left - 1, "y": top - 1, "width": 3, "height": 3}
        shot = Image.open(io.BytesIO(self.page.screenshot(clip=clip)))
        return np.asarray(shot.convert("RGB"), dtype=float).mean(axis=(0, 1))

    def until(self, selector, text):
        self.page.wait_for_function(
            "([where, words]) => document.querySelector(where)?.textContent.includes(words)",
            arg=[selector, text],
        )

    def slide(self, name, *values):
        """Move a slider, through all values without a pause."""
        self.page.locator(f"#{name}").evaluate(
            """(input, values) => { for (const value of values) { input.value = value;
              for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind)); } }""",
            [str(value) for value in values],
        )

    def area(self):
        words = self.page.locator("#classes output").text_content()
        return int("".join(filter(str.isdigit, words)))

    def inferences(self):
        return sum(len(self.fake.of(path)) for path in ("/v1/segment", "/v1/uncertainty"))

    def prompts(self, count):
        """Wait until so many prompts were asked; gives all."""
        for _ in range(400):
            asked = list(self.fake.asked)
            found = [fields for _, path, fields in asked if path.endswith("/prompt")]
            if len(found) >= count:
                return found
            self.frame()
        pytest.fail(f"{len(found)} prompts, not {count}")


@pytest.fixture
def hands(page, fake):
    """A person at the page."""
    return Hands(page, fake)
