"""Pictures of the studio and of the Streamlit app for the documentation, of phantoms alone.

    python benchmarks/page_pictures.py            five minutes; writes docs/images/
    python benchmarks/page_pictures.py --smoke    under a minute, writes nothing that is kept

Makes a set of phantoms, trains a small run on it, serves it on a free port of this machine, and
looks at it with playwright and a chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _record import ROOT
from PIL import Image

from penumbra.data.phantom import make_phantom
from penumbra.storage import atomic_path
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
MOST_BYTES = 300_000
SIDE = 128
KIND = "xray"
SHOWN = "xray_00002.png"


def trained(folder: Path, *, epochs: int, smoke: bool) -> Path:
    """Make phantoms and train a small network on them; gives the run."""
    make_phantom(folder / "set", count=12 if smoke else 150, size=SIDE, seed=3, kinds=(KIND,))
    # By epochs, so that a busy machine makes no worse picture.
    training: dict[str, Any] = {"epochs": epochs, "samples_per_epoch": 64, "threads": 2}
    if smoke:
        training = {"epochs": 1, "samples_per_epoch": 8, "threads": 1}
    experiment = Experiment.parse(
        {
            "source": f"folder:{folder / 'set'}",
            "image": {"size": SIDE},
            "model": {"arguments": {"width": 4 if smoke else 8}},
            "training": training,
        }
    )
    train(experiment, folder / "run")
    return folder / "run"


@contextlib.contextmanager
def served(run: Path) -> Iterator[dict[str, str]]:
    """Serve a run; gives the addresses of its pages."""
    command = [sys.executable, "-m", "penumbra", "serve", f"xray={run}", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - ours
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line:
                raise SystemExit("the server did not start")
            yield json.loads(line)
        finally:
            server.terminate()
            server.wait(30)


def kept(picture: bytes, path: Path) -> None:
    """Write a picture in 256 colours at most, so that the documentation stays light."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    colours = 256
    while True:
        packed = io.BytesIO()
        small = image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(packed, "PNG", optimize=True)
        if packed.tell() <= MOST_BYTES or colours <= 32:
            break
        colours //= 2
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as target:
        target.write_bytes(packed.getvalue())
    print(f"{path}  {packed.tell() / 1000:.0f} kB")


def studio(page: Any, address: str, image: Path, folder: Path, scheme: str) -> None:
    """Take the studio with a result and, in light, with two results under the swipe."""
    # The doubt is stretched: it is the shape that a small picture can show.
    page.goto(f"{address}#own=true")
    page.wait_for_selector("#status:text-is('Ready.')")
    page.set_input_files("#file", image)
    settled(page)
    page.mouse.move(0, 0)
    kept(page.screenshot(), folder / f"studio_{scheme}.png")
    if scheme == "light":
        page.keyboard.press("c")
        page.wait_for_selector(".pc-swipe:visible")
        page.wait_for_function("() => document.querySelector('#side-b').textContent")
        settled(page)
        handle = page.locator(".pc-swipe")
        for key in ("PageUp", "ArrowRight"):  # From the middle to where this phantom has its mask.
            handle.press(key)
        page.mouse.move(0, 0)
        kept(page.screenshot(), folder / "studio_swipe.png")


def settled(page: Any) -> None:
    """Wait until nothing is under way."""
    page.wait_for_selector("#status:has-text('network')")
    page.wait_for_selector("#busy", state="hidden")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed !== 'true'")
    page.wait_for_function("() => document.getAnimations().length === 0")


def streamlit(page: Any, address: str, image: Path, folder: Path) -> None:
    """Take the Streamlit app with the same image."""
    page.goto(address)
    page.wait_for_selector(".frame[data-ready] .pc canvas")
    before = page.locator(".frame").get_attribute("data-image")
    page.get_by_test_id("stButtonGroup").get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(image)
    page.wait_for_selector(f".frame[data-ready]:not([data-image='{before}'])")
    page.get_by_text(f"{SIDE} × {SIDE}").wait_for()
    page.wait_for_selector("[data-testid=stStatusWidget]", state="hidden")
    page.wait_for_function(
        "() => document.getAnimations().every((one) => one.playState !== 'running')"
    )
    kept(page.screenshot(), folder / "streamlit_light.png")


def pictures(addresses: dict[str, str], image: Path, folder: Path, chromium: str) -> None:
    """Take all of them."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)

        def page(scheme: str) -> Any:
            opened = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            opened.set_default_timeout(120_000)
            return opened

        for scheme in ("light", "dark"):
            studio(page(scheme), addresses["studio"], image, folder, scheme)
        if "ui" in addresses:
            streamlit(page("light"), addresses["ui"], image, folder)
        browser.close()


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="seconds of training, kept nowhere")
    parser.add_argument("--epochs", type=int, default=150, help="of training")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as held:
        work = Path(held)
        folder = work / "images" if given.smoke else ROOT / "docs" / "images"
        run = trained(work, epochs=given.epochs, smoke=given.smoke)
        with served(run) as addresses:
            pictures(addresses, work / "set" / "images" / SHOWN, folder, given.chromium)


if __name__ == "__main__":
    main()
