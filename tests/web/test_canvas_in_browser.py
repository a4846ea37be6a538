"""The canvas in a real browser: its two renderers, and large images."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser


def opened(page, fake):
    page.goto(fake.url)
    page.wait_for_selector("#status:text-is('Ready.')")


BOTH = """async () => {
  const { mountCanvas } = await import("/web/canvas/index.js");
  const [width, height] = [40, 30];
  const image = new ImageData(width, height);
  const mask = { width, height, data: new Uint8Array(width * height) };
  const heat = { width, height, data: new Uint16Array(width * height), scale: [0, 1] };
  for (let at = 0; at < width * height; at += 1) {
    const [x, y] = [at % width, Math.floor(at / width)];
    image.data.set([120, 120, 120, 255], at * 4);
    mask.data[at] = x > 5 && x < 20 && y > 4 && y < 22 ? 1 : x > 24 && y > 8 ? 2 : 0;
    heat.data[at] = (x / width) * 65535;
  }
  const names = [];
  for (const [place, renderer] of ["webgl", "pixels"].entries()) {
    const host = document.createElement("div");
    host.style.cssText = "position:fixed;top:0;width:400px;height:300px;background:white;z-index:9";
    host.style.left = `${place * 400}px`;
    document.body.append(host);
    const canvas = mountCanvas(host, { renderer });
    await canvas.setImage(image);
    canvas.setMask(mask);
    canvas.setHeat(heat);
    canvas.setProbability({ ...heat, data: Uint8Array.from(heat.data, (level) => level >> 8) });
    canvas.setCompare({ ...canvas.layers, threshold: 0.7 }, 0.5);
    canvas.setOpacity("class:2", 0.5);
    names.push(canvas.renderer);
  }
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (let count = 0; count < 3; count += 1) await frame();
  return names;
}"""


def test_both_renderers_draw_the_same_picture(page, fake):
    opened(page, fake)
    first, second = page.evaluate(BOTH)
    assert second == "pixels"
    if first != "webgl":
        # Without a graphics card the processor plays it, but not in every browser.
        if os.environ.get("PENUMBRA_REQUIRE_BROWSER") == "1":
            pytest.fail("PENUMBRA_REQUIRE_BROWSER=1, but the browser has no WebGL 2")
        pytest.skip("this browser has no WebGL 2")
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": 800, "height": 300})
    picture = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int)
    one, other = picture[:, :400], picture[:, 400:]
    assert np.ptp(one[60:200, 60:340]) > 150, "there is something to see"
    far = np.abs(one - other).max(axis=2) > 6
    assert far.mean() < 0.002, f"{far.mean():.4f} of the pixels differ"


def test_the_canvas_keeps_one_image_and_a_bar_for_every_scale(page, fake):
    opened(page, fake)
    closed, sizes, bars = page.evaluate(
        """async () => {
          const { mountCanvas } = await import("/web/canvas/index.js");
          const host = document.createElement("div");
          host.style.cssText = "position:fixed;inset:0;z-index:9";
          document.body.append(host);
          const canvas = mountCanvas(host);
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const drawn = (side) => createImageBitmap(new ImageData(side, side));
          const [one, other] = [await drawn(8), await drawn(8)];
          await canvas.setImage(one);
          await canvas.setImage(other);
          const closed = [one.width, other.width];
          const late = canvas.setImage(new ImageData(4, 4));
          await canvas.setImage(await drawn(6));
          await late;
          const sizes = [canvas.size.width];
          const data = new Uint8Array(36).fill(200);
          const field = { width: 6, height: 6, data, scale: [0, 1] };
          const shown = () => [...host.querySelectorAll(".pc-scale")]
            .filter((bar) => !bar.hidden).map((bar) => bar.getAttribute("aria-label"));
          const bars = [];
          canvas.setHeat({ ...field, label: "Variance", scale: [0, 0.5] });
          const kept = canvas.layers;
          canvas.setHeat({ ...field, label: "Variance" });
          canvas.setCompare(kept);
          await frame();
          bars.push(shown());
          canvas.setHeat({ ...field, label: "Entropy" });
          await frame();
          bars.push(shown());
          canvas.setHeat(null);
          await frame();
          bars.push(shown());
          const last = await drawn(6);
          await canvas.setImage(last);
          canvas.destroy();
          sizes.push(last.width);
          return [closed, sizes, bars];
        }"""
    )
    assert closed == [0, 8], "the one that is replaced is closed"
    assert sizes == [6, 0], "the later image stays, until the canvas goes"
    right = "Variance: from 0 to 0.5"
    assert bars == [["Variance: from 0 to 1"], ["Entropy: from 0 to 1", right], [right]]


def test_an_image_of_16_megapixels_is_looked_at_without_waiting(page, fake):
    opened(page, fake)
    slowest = page.evaluate(
        """async () => {
          const { mountCanvas } = await import("/web/canvas/index.js");
          const host = document.createElement("div");
          host.style.cssText = "position:fixed;inset:0;width:900px;height:640px;z-index:99";
          document.body.append(host);
          const canvas = mountCanvas(host);
          const side = 4000;
          await canvas.setImage(new ImageData(side, side));
          const data = new Uint8Array(side * side).fill(1, side * 900, side * 3000);
          canvas.setMask({ width: side, height: side, data });
          canvas.setHeat({ width: side, height: side, data, scale: [0, 1] });
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          await frame();
          await frame();
          const times = [];
          for (let step = 0; step < 12; step += 1) {
            const begun = performance.now();
            canvas.zoomBy(step < 6 ? 1.4 : 0.7);
            await frame();
            times.push(performance.now() - begun);
          }
          canvas.destroy();
          return times.sort((a, b) => a - b)[6];
        }"""
    )
    assert slowest < 400, "milliseconds of the median frame, on whatever machine this is"
