"""How long the canvas takes to show a change on an image of 4000 × 4000 pixels, in a real browser.

    python benchmarks/canvas_frames.py            two minutes; writes docs/results.md
    python benchmarks/canvas_frames.py --tables   only writes docs/results.md
    python benchmarks/canvas_frames.py --smoke    seconds, a small image, keeps nothing

The page holds an image, a mask of two classes and a map of doubt of 16 bits, all of one size, in a
window of 1600 × 1000 pixels. A step changes one thing and waits for two animation frames: in the
first the canvas draws, in the second the browser has shown it. With nothing to draw that is two
ticks of the display, 33 ms at 60 Hz, the least there can be. Each kind of step is taken many times,
after a few that do not count. "pixels" draws without WebGL; "webgl" in a browser without a graphics
card means that the processor plays the card, where the canvas would choose "pixels" by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
from _record import ROOT, conditions, load, put_table, save
from page_pictures import FLAGS

from penumbra.pages.words import count

NAME = "canvas_frames"
MARKER = "canvas-frames"
KINDS = {
    "nothing": "nothing to draw",
    "zoom": "zoom in and out",
    "pan": "drag, far out",
    "near": "drag, at four times the size",
    "threshold": "move the threshold",
    "opacity": "change the opacity of the doubt",
    "swipe": "move the swipe between two results",
}
STEPS = """async ({ side, times, renderer }) => {
  const { mountCanvas } = await import("/canvas/index.js");
  const host = document.createElement("div");
  host.style.cssText = "position:fixed;inset:0";
  document.body.replaceChildren(host);
  const canvas = mountCanvas(host, { renderer });
  const [image, pixels] = [new ImageData(side, side), side * side];
  const [data, heat] = [new Uint8Array(pixels), new Uint16Array(pixels)];
  for (let at = 0; at < pixels; at += 1) {
    const [x, y] = [(at % side) / side, Math.floor(at / side) / side];
    const wave = Math.sin(x * 40) * Math.cos(y * 33);
    image.data.set([128 + wave * 90, 128 + wave * 90, 128 + wave * 90, 255], at * 4);
    data[at] = wave > 0.3 ? 1 : wave < -0.6 ? 2 : 0;
    heat[at] = (wave + 1) * 32767;
  }
  await canvas.setImage(image);
  canvas.setMask({ width: side, height: side, data });
  canvas.setHeat({ width: side, height: side, data: heat, scale: [0, 1] });
  canvas.setProbability({ width: side, height: side, data: heat, scale: [0, 1] });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const shifted = (by) => (canvas.view = { ...canvas.view, x: canvas.view.x + by });
  const kinds = {
    nothing: [() => canvas.fit(), () => {}],
    zoom: [() => canvas.fit(), (step) => canvas.zoomBy(step % 12 < 6 ? 1.4 : 1 / 1.4)],
    pan: [() => canvas.fit(), (step) => shifted(step % 2 ? 40 : -40)],
    near: [() => canvas.zoomBy(4 / canvas.view.zoom), (step) => shifted(step % 2 ? 9 : -9)],
    threshold: [() => canvas.fit(), (step) => canvas.setThreshold(0.3 + (step % 20) * 0.02)],
    opacity: [() => {}, (step) => canvas.setOpacity("heat", 0.3 + (step % 20) * 0.02)],
    swipe: [
      () => canvas.setThreshold(null),
      (step) => canvas.setCompare({ ...canvas.layers, threshold: 0.7 }, 0.3 + (step % 20) * 0.02),
    ],
  };
  const found = {};
  for (const [kind, [ready, act]] of Object.entries(kinds)) {
    ready();
    await frame();
    await frame();
    found[kind] = [];
    for (let step = 0; step < times + 5; step += 1) {
      await frame(); // A step begins with a tick, so that its time is not rounded by chance.
      const begun = performance.now();
      act(step);
      await frame();
      await frame();
      if (step >= 5) found[kind].push(Math.round((performance.now() - begun) * 10) / 10);
    }
  }
  const name = canvas.renderer;
  canvas.destroy();
  return { renderer: name, found };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Gives the modules of the canvas, and an empty page."""

    extensions_map: ClassVar = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def do_GET(self) -> None:
        """Answer with a file of the folder, or with nothing at all for the page."""
        if self.path != "/":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>frames</title><body>")
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@contextlib.contextmanager
def modules() -> Iterator[str]:
    """Serve `src/penumbra/web` on a free port of this machine; gives the address."""
    answer = partial(Quiet, directory=str(ROOT / "src" / "penumbra" / "web"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def measure(
    side: int, times: int, chromium: str, window: tuple[int, int] = (1600, 1000)
) -> dict[str, Any]:
    """Take all steps with every renderer; gives milliseconds by renderer and kind of step."""
    from playwright.sync_api import sync_playwright

    by_renderer = {}
    with modules() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for renderer in ("pixels", "webgl"):
            page = browser.new_page(viewport={"width": window[0], "height": window[1]})
            page.set_default_timeout(300_000)
            page.goto(address)
            given = {"side": side, "times": times, "renderer": renderer}
            answer = page.evaluate(STEPS, given)
            if answer["renderer"] == renderer:
                by_renderer[renderer] = answer["found"]
            page.close()
        version = browser.version
        browser.close()
    return {"side": side, "renderers": by_renderer, "chromium": version}


def table() -> str:
    """Give the table of a kept measurement."""
    found = load(NAME)
    renderers = found["renderers"]
    heads = " | ".join(f"{name}: median, 95th percentile" for name in renderers)
    lines = [f"| step | {heads} |", "| --- |" + " --- |" * len(renderers)]
    for kind, words in KINDS.items():
        cells = []
        for times in renderers.values():
            middle, late = np.percentile(times[kind], [50, 95])
            cells.append(f"{middle:.0f}, {late:.0f}")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    on = found["conditions"]
    steps = count(len(next(iter(renderers.values()))["zoom"]), "step")
    note = f"Milliseconds; {steps} of each kind; {found['side']} × {found['side']} pixels"
    machine = f"Chromium {found['chromium']} without a graphics card, {on['machine']}"
    return "\n".join(lines) + f"\n\n*{note}. {machine}, {on['date']}.*"


def main() -> None:
    """Measure and keep, or only write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small image, kept nowhere")
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    if given.smoke:
        found = measure(200, 2, given.chromium, window=(320, 240))
        middle = {
            name: float(np.median(kinds["zoom"])) for name, kinds in found["renderers"].items()
        }
        print(f"zoom, milliseconds of the median step: {middle}")
        return
    if not given.tables:
        found = measure(4000, 60, given.chromium)
        save(NAME, {**found, "conditions": conditions()}, compact=True)
    put_table(MARKER, table())


if __name__ == "__main__":
    main()
