"""Make the picture in README.md: phantoms, their masks, the doubt found and the doubt there is.

    python benchmarks/readme_picture.py            some minutes; writes docs/images/
    python benchmarks/readme_picture.py --smoke    seconds, writes nothing that is kept

Only generated images are shown. The images are test images that the network never saw: of each
kind the one whose Dice is the median of its kind.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from _record import ROOT
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from penumbra.data.phantom import make_phantom
from penumbra.data.source import Source
from penumbra.evaluation.evaluation import Evaluation
from penumbra.evaluation.of_run import open_for_run, score_run
from penumbra.imaging.overlay import evaluation_overlay, heatmap, to_display
from penumbra.imaging.write import read_unit_map
from penumbra.inference.prediction import entropy
from penumbra.inference.predictor import Predictor
from penumbra.storage import atomic_path
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

KINDS = ("ultrasound", "xray", "card")
TITLES = ("image", "mask against truth", "doubt found", "doubt there is")
PAPER, INK = (250, 250, 247), (21, 23, 26)
SIDE, GAP, HEAD = 256, 10, 34


def median_of_kind(evaluation: Evaluation, kind: str) -> str:
    """Give the id of the sample with the median Dice among those that hold an object."""
    filled = {row.id for row in evaluation.per_image if row.scored and row.area_truth}
    ranked = [
        image.id
        for image in evaluation.sorted_by("dice")
        if image.id.startswith(kind) and image.id in filled
    ]
    return ranked[len(ranked) // 2]


def row(source: Source, predictor: Predictor, folder: Path, name: str) -> list[NDArray[np.uint8]]:
    """Draw the four pictures of one sample."""
    index = next(i for i, record in enumerate(source.records) if record.id == name)
    sample = source[index]
    if sample.mask is None:
        raise SystemExit(f"{name} has no mask")
    prediction = predictor([sample.image])[0]
    truth = read_unit_map(folder / "truth" / f"{name}.png", scale=1.0)
    there_is = entropy(np.stack([1 - truth, truth]).astype(np.float32))
    highest = math.log(2)
    return [
        to_display(sample.image),
        evaluation_overlay(sample.image, prediction.mask, sample.mask),
        heatmap(sample.image, prediction.uncertainty["entropy"], maximum=highest),
        heatmap(sample.image, there_is, maximum=highest),
    ]


def compose(rows: list[list[NDArray[np.uint8]]]) -> Image.Image:
    """Lay the pictures out on paper, titles above."""
    width = len(TITLES) * (SIDE + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + len(rows) * (SIDE + GAP)), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=16)
    for column, title in enumerate(TITLES):
        pen.text((GAP + column * (SIDE + GAP), 8), title, fill=INK, font=font)
    for line, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            shown = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            page.paste(shown, (GAP + column * (SIDE + GAP), HEAD + line * (SIDE + GAP)))
    return page


def make(folder: Path, *, count: int, size: int, minutes: float) -> Image.Image:
    """Make phantoms, train on them, and draw."""
    make_phantom(folder / "set", count=count, size=size, seed=0, kinds=KINDS)
    experiment = Experiment.parse(
        {
            "source": f"folder:{folder / 'set'}",
            "image": {"size": size},
            "model": {"arguments": {"width": 16}},
            "training": {"max_minutes": minutes, "threads": 2},
        }
    )
    train(experiment, folder / "run")
    run, predictor = Run(folder / "run"), Predictor.load(folder / "run")
    samples = open_for_run(run, str(run.manifest), split="test")
    evaluation = score_run(run, samples, split="test", predictor=predictor).evaluation
    print("test Dice", evaluation.overall["dice"])
    names = [median_of_kind(evaluation, kind) for kind in KINDS]
    return compose([row(samples, predictor, folder / "set", name) for name in names])


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--minutes", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            page = make(Path(folder), count=96, size=32, minutes=0.05)
            print("a page of", page.size)
            return
        page = make(Path(folder), count=360, size=128, minutes=options.minutes)
    with atomic_path(ROOT / "docs" / "images" / "phantom_result.png") as temporary:
        page.save(temporary, optimize=True)


if __name__ == "__main__":
    main()
