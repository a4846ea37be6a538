"""Generated photographs of identity cards: how long they take, and where their corners lie.

    python benchmarks/id_cards.py --make               1,000 images of 640 × 1138, two processes
    python benchmarks/id_cards.py --make --smoke       a few small ones, keeps nothing
    python benchmarks/id_cards.py --tables             write docs/results.md from what is kept
    python benchmarks/id_cards.py --describe FILE      describe real frames anew (a COCO JSON)
    python benchmarks/id_cards.py --picture            the picture in the docs

`--make` keeps its figures in benchmarks/results/id_cards_make.json, and writes the table. The
description that `--describe` writes is src/penumbra/data/cards/quads.json: quantiles and
correlations, no corners.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from _record import ROOT, conditions, load, put_table, save

from penumbra.data.cards import (
    Draw,
    described,
    leaves,
    make_id_cards,
    photograph,
    read_corners,
    read_geometry,
    share_outside,
)
from penumbra.data.cards.quads import Frames
from penumbra.pages.words import count
from penumbra.storage import atomic_path, write_json

NAME = "id_cards_make"
WANTED_SECONDS = 180
DESCRIPTION = ROOT / "src" / "penumbra" / "data" / "cards" / "quads.json"
PICTURE = ROOT / "docs" / "images" / "id_cards.jpg"


def make(*, smoke: bool, jobs: int) -> None:
    """Time a set, and compare where its cards lie with the description."""
    images, frame = (12, (160, 284)) if smoke else (1000, (640, 1138))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        make_id_cards(Path(folder) / "set", count=images, frame=frame, jobs=jobs)
        seconds = time.perf_counter() - started
        spent = sum(os.times()[:4])
        truths = list(read_corners(Path(folder) / "set").values())
        files = (Path(folder) / "set" / "images").iterdir()
        megabytes = sum(path.stat().st_size for path in files) / 1e6
    size = (float(frame[0]), float(frame[1]))
    found = {
        "images": images,
        "frame": list(frame),
        "processes": jobs,
        "seconds": round(seconds, 1),
        # What the cores worked: on a machine that is shared, the fairer figure.
        "cpu_seconds": round(spent, 1),
        "load_at_end": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "megabytes": round(megabytes, 1),
        "leaving": round(float(np.mean([leaves(t.corners, size) for t in truths])), 3),
        "leaving_described": described().leaving,
        "mean_outside": round(float(np.mean([share_outside(t.corners, size) for t in truths])), 4),
    }
    print(found)
    if not smoke:
        save(NAME, {**found, "seed": 0, "conditions": conditions()})
        put_table(NAME, table())


def table() -> str:
    """Write what the kept set took, and where its cards lie."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    met = "yes" if kept["seconds"] < WANTED_SECONDS else "**no**"
    where = kept["conditions"]
    return "\n".join(
        [
            "| making a set | figure | wanted | met |",
            "| --- | --- | --- | --- |",
            f"| seconds for {kept['images']:,} photographs | {kept['seconds']:.0f} | "
            f"< {WANTED_SECONDS} | {met} |",
            f"| seconds of the cores' work | {kept['cpu_seconds']:.0f} | | |",
            f"| megabytes of photographs | {kept['megabytes']:.0f} | | |",
            f"| share that leave the frame | {kept['leaving']:.3f} | "
            f"{kept['leaving_described']:.3f}, as the real ones | |",
            f"| mean share of the card outside | {kept['mean_outside']:.3f} | | |",
            "",
            f"*{kept['frame'][0]} × {kept['frame'][1]} pixels, seed {kept['seed']}, "
            f"{count(kept['processes'], 'process')}, {where['machine']}, Penumbra "
            f"{where['versions']['penumbra']}, {where['date']}.*",
        ]
    )


def describe(file: Path) -> None:
    """Describe the quadrilaterals of real frames, all of one size."""
    geometry = read_geometry(file)
    sizes = {size for _, size in geometry.quads}
    if len(sizes) != 1:
        raise SystemExit(f"frames of {len(sizes)} sizes; one is needed")
    quads = np.array([quad for quad, _ in geometry.quads])
    source = f"{len(quads)} frames of MIDV-500, documents 01_alb_id and 50_xpo_id"
    write_json(DESCRIPTION, Frames.of(quads, sizes.pop(), source).to_json())


def picture() -> None:
    """Draw twelve photographs side by side."""
    tiles = [
        photograph(Draw(seed=0, index=i, template=i, background=i, frame=(320, 569))).image
        for i in range(24, 36)
    ]
    small = [cv2.resize(tile, (180, 320), interpolation=cv2.INTER_AREA) for tile in tiles]
    rows = [np.concatenate(small[start : start + 6], axis=1) for start in (0, 6)]
    with atomic_path(PICTURE) as temporary:
        cv2.imwrite(str(temporary), np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--describe", type=Path)
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    asked = parser.parse_args()
    if asked.describe:
        describe(asked.describe)
    if asked.make or asked.smoke:
        make(smoke=asked.smoke, jobs=asked.jobs)
    if asked.picture:
        picture()
    if asked.tables:
        put_table(NAME, table())


if __name__ == "__main__":
    main()
