"""Make the picture in docs/how-to/filters.md: every filter and every mode on generated images.

    python benchmarks/filters_picture.py            a second; writes docs/images/filters.png
    python benchmarks/filters_picture.py --smoke    the same on small images, writes nothing

Only generated images are shown. The first image is a radiograph phantom with its contrast reduced,
so that there is something for the filters to do; the second one is in colour.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from _record import ROOT
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from penumbra.data.phantom.sample import phantom_sample
from penumbra.imaging.filters import FilterChain
from penumbra.imaging.overlay import overlay_mask, to_display
from penumbra.promptable.edge_prompts import edge_prompts
from penumbra.promptable.prompts import Prompts
from penumbra.storage import atomic_path

PAPER, INK, TEAL = (250, 250, 247), (21, 23, 26), (18, 165, 148)
SIDE, GAP, LINE, COLUMNS = 232, 10, 22, 4
LUNG = (0.09, 0.09, 0.46, 0.80)
"""A box drawn around one lung of the phantom, xyxy in shares of the side."""
Picture = tuple[str, NDArray[np.uint8]]


def faint(size: int) -> tuple[NDArray[np.generic], list[int]]:
    """Give a radiograph phantom at 60 % of its contrast, and a box around one lung."""
    sample = phantom_sample("xray", size=size, seed=0, index=6)
    image = np.rint(70 + 0.6 * sample.image.astype(np.float32)).clip(0, 255).astype(np.uint8)
    return image, [round(share * size) for share in LUNG]


def shown(title: str, image: NDArray[np.generic], *chain: Any) -> Picture:
    """Filter an image and name it."""
    return title, to_display(FilterChain.parse(list(chain)).apply(image))


def prompted(image: NDArray[np.generic], box: list[int]) -> list[Picture]:
    """Draw what the edges in a box become."""
    prompts = Prompts.of(boxes=box, size=image.shape[:2])
    mask = edge_prompts(FilterChain.parse({"sobel": {"mode": "prompt"}}), image, prompts).masks
    points = edge_prompts(
        FilterChain.parse({"sobel": {"mode": "prompt", "form": "points"}}), image, prompts
    ).points
    if mask is None or points is None:
        raise SystemExit("no prompts")
    drawn = []
    for title in ("mode: prompt, a mask", "mode: prompt, points"):
        canvas = to_display(image)
        if title.endswith("mask"):
            canvas = overlay_mask(image, (mask[0] >= 0.5).astype(np.uint8))
        page = Image.fromarray(canvas)
        pen = ImageDraw.Draw(page)
        pen.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], outline=TEAL)
        if title.endswith("points"):
            radius = max(2, round(image.shape[0] / 80))
            for x, y in points[0]:
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], TEAL, PAPER)
        drawn.append((title, np.asarray(page)))
    return drawn


def pictures(size: int) -> list[Picture]:
    """Draw all of them, row by row."""
    image, box = faint(size)
    card = phantom_sample("card", size=size, seed=0, index=0).image
    half = {"mode": "blend", "weight": 0.3}
    return [
        shown("image", image),
        shown("sobel", image, "sobel"),
        shown("canny", image, "canny"),
        shown("log", image, "log"),
        shown("clahe", image, "clahe"),
        shown("window", image, "window"),
        shown("unsharp", image, "unsharp"),
        shown("clahe, then sobel blend 0.3", image, "clahe", {"sobel": half}),
        shown("sobel, mode: channels", image, {"sobel": {"mode": "channels"}}),
        shown("sobel, mode: blend 0.3", image, {"sobel": half}),
        *prompted(image, box),
        shown("image in colour", card),
        shown("sobel", card, "sobel"),
        shown("clahe", card, "clahe"),
        shown("unsharp", card, "unsharp"),
    ]


def compose(found: list[Picture]) -> Image.Image:
    """Lay the pictures out on paper, each with its title above."""
    rows = math.ceil(len(found) / COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * (SIDE + GAP), GAP + rows * (SIDE + LINE + GAP)), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=15)
    for place, (title, pixels) in enumerate(found):
        row, column = divmod(place, COLUMNS)
        left, top = GAP + column * (SIDE + GAP), GAP + row * (SIDE + LINE + GAP)
        pen.text((left, top), title, fill=INK, font=font)
        picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        page.paste(picture, (left, top + LINE))
    return page


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    page = compose(pictures(64 if options.smoke else 256))
    if options.smoke:
        print("a page of", page.size)
        return
    with atomic_path(ROOT / "docs" / "images" / "filters.png") as temporary:
        page.save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
