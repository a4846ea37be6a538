"""Train and test a U-Net on the eleven classes of CamVid, from scratch, on the set's own split.

    python benchmarks/camvid.py --out FOLDER               train and test; again, it goes on
    python benchmarks/camvid.py --out FOLDER --minutes 10  another budget
    python benchmarks/camvid.py --tables                   write docs/results.md from what is kept
    python benchmarks/camvid.py --smoke                    a minute on drawn scenes, keeps nothing

Void is ignored in training and in scoring. The figure that the field gives is the IoU of each
class pooled over all test pixels, averaged over the eleven; the mean over images stands beside it.
Settings were set once, before any figure was seen; the weights kept are the best on
validation. A stopped training goes on from its last epoch, and
FOLDER/seed-N/report holds the report with its row for every class.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _options import run_benchmark
from _record import ROOT, conditions, load, save
from PIL import Image

from penumbra.data.layouts.camvid import CLASS_NAMES
from penumbra.evaluation.of_run import RunEvaluation, evaluate_run
from penumbra.pages.words import count
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data")) / "camvid"
NAME = "camvid"
WANTED = 0.40
METRICS = ("iou_pooled", "iou", "dice", "boundary_f1")
SETTINGS: dict[str, Any] = {
    "split": {"strategy": "given"},
    "model": {"name": "unet", "arguments": {"width": 24, "depth": 4}},
    # Half the size: scenes are large, and thirty minutes on two cores are short.
    "image": {"size": 256, "fit": "resize", "channels": 3},
    "augmentation": {"symmetry": "horizontal", "rotation": 5.0, "brightness": 0.3},
    "training": {"loss": "dice_ce", "batch_size": 4, "balanced": False, "foreground_crops": 0.0},
}


def run_seed(source: str, out: Path, *, seed: int, minutes: float, threads: int) -> dict[str, Any]:
    """Train one seed, or go on with it, and test it."""
    document = SETTINGS | {"source": source}
    budget = {"max_minutes": minutes, "seed": seed, "threads": threads}
    document["training"] = SETTINGS["training"] | budget
    run = Run(out / f"seed-{seed}" / "run")
    if run.info().get("status") != "finished":
        train(Experiment.parse(document), run.folder, resume=run.exists)
    scored = evaluate_run(run.folder, source, out / f"seed-{seed}" / "report", split="test")
    info = run.info()
    return _row(scored) | {
        "seed": seed,
        "minutes": minutes,
        "threads": threads,
        "seconds": round(info.get("seconds", 0)),
        "epochs": len(run.history()),
    }


def _row(scored: RunEvaluation) -> dict[str, Any]:
    evaluation = scored.evaluation
    return {
        "overall": {metric: evaluation.overall[metric]["mean"] for metric in METRICS},
        "per_class": {
            name: {metric: values[metric]["mean"] for metric in METRICS}
            for name, values in evaluation.per_class.items()
        },
        "n_images": evaluation.n_images,
    }


def measure(out: Path, *, seeds: list[int], minutes: float, threads: int) -> None:
    """Measure every seed; each that is finished is kept at once."""
    for seed in seeds:
        row = run_seed(f"camvid:{DATA}", out, seed=seed, minutes=minutes, threads=threads)
        print("seed", seed, row["overall"], flush=True)
        try:
            others = [known for known in load(NAME)["rows"] if known["seed"] != seed]
        except FileNotFoundError:
            others = []
        rows = sorted([*others, row], key=lambda known: known["seed"])
        save(NAME, {"rows": rows, "experiment": SETTINGS, "conditions": conditions()})


def table() -> str:
    """Write the table: a row for every class, and one for all."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    rows = kept["rows"]
    lines = [
        "| class | IoU, pooled | IoU | Dice | boundary F1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in (*CLASS_NAMES, "mean"):
        found = [row["overall"] if name == "mean" else row["per_class"][name] for row in rows]
        cells = [f"{np.mean([each[metric] for each in found]):.3f}" for metric in METRICS]
        lines.append("| " + " | ".join([f"**{name}**" if name == "mean" else name, *cells]) + " |")
    by_seed = ", ".join(f"{row['overall']['iou_pooled']:.3f}" for row in rows)
    mean = np.mean([row["overall"]["iou_pooled"] for row in rows])
    where = kept["conditions"]
    return "\n".join(lines) + (
        f"\n\n*Wanted: a mean IoU of {WANTED:.2f}, met: {'yes' if mean >= WANTED else '**no**'}. "
        f"By seed: {by_seed}. {rows[0]['n_images']} test images, at most {rows[0]['minutes']:g} "
        f"min of training on {count(rows[0]['threads'], 'thread')}, U-Net of width "
        f"{kept['experiment']['model']['arguments']['width']}, {where['machine']}, "
        f"Penumbra {where['versions']['penumbra']}, torch {where['versions']['torch']}, "
        f"{where['date']}.*"
    )


def draw_scenes(root: Path, *, count: int = 6, size: tuple[int, int] = (48, 64)) -> None:
    """Draw scenes of eleven bands and a void rim in the layout of the set."""
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 255, (12, 3))
    for split in ("train", "val", "test"):
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        for index in range(count):
            bands = np.arange(size[1]) * 11 // size[1]
            mask = np.broadcast_to(np.roll(bands, 3 * index), size).astype(np.uint8).copy()
            mask[:2] = 11
            image = np.clip(palette[mask] + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{split}_{index}.png")
            Image.fromarray(mask).save(root / f"{split}annot" / f"{split}_{index}.png")


def smoke() -> None:
    """Go the whole way on drawn scenes, twice: the second time nothing is trained again."""
    with tempfile.TemporaryDirectory() as folder:
        draw_scenes(Path(folder) / "set")
        for _ in range(2):
            row = run_seed(
                f"camvid:{folder}/set", Path(folder) / "out", seed=0, minutes=0.15, threads=1
            )
        report = (Path(folder) / "out" / "seed-0" / "report" / "report.html").read_text("utf-8")
    missing = [name for name in CLASS_NAMES if name not in row["per_class"] or name not in report]
    if missing:
        message = f"no row for {', '.join(missing)}"
        raise SystemExit(message)
    print(f"drawn scenes: mean IoU {row['overall']['iou_pooled']:.3f} over {len(CLASS_NAMES)}")


if __name__ == "__main__":
    run_benchmark(
        __doc__, name=NAME, holds="the runs and reports", measure=measure, table=table,
        smoke=smoke, minutes=30,
    )  # fmt: skip
