"""Pictures of the studio for the documentation, of drawn phantoms alone.

Needs a running server, playwright and a chromium::

    penumbra serve RUN --port 8000
    python benchmarks/studio_screenshots.py http://127.0.0.1:8000/ docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
SIZES = {"light": (1280, 800), "dark": (1920, 1080)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="of the server")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=FLAGS)
        for scheme, (width, height) in SIZES.items():
            viewport = {"width": width, "height": height}
            page = browser.new_page(viewport=viewport, color_scheme=scheme)
            pictures(page, given.address, given.folder, scheme)
            page.close()
        browser.close()


def pictures(page: Any, address: str, folder: Path, scheme: str) -> None:
    """Take the page with a result, and with two results under the swipe."""
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("#status:text-is('Ready.')")
    page.click("#phantom")
    settled(page)
    page.screenshot(path=folder / f"studio_{scheme}.png")
    if page.locator("#beside").is_visible():
        page.keyboard.press("c")
        page.wait_for_selector(".pc-swipe:visible")
        settled(page)
        page.screenshot(path=folder / f"studio_{scheme}_swipe.png")
    print(folder / f"studio_{scheme}.png")


def settled(page: Any) -> None:
    """Wait until nothing is under way."""
    page.wait_for_selector("#status:has-text('network')")
    page.wait_for_selector("#busy", state="hidden")
    page.wait_for_function("() => document.querySelector('.pc').dataset.dimmed === 'false'")
    page.wait_for_function("() => document.getAnimations().length === 0")


if __name__ == "__main__":
    main()
