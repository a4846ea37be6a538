"""Train on generated photographs of ID cards, and crop cards that nobody trained on.

    python benchmarks/id_cards_crop.py --out FOLDER            make, train, test; go on
    python benchmarks/id_cards_crop.py --out FOLDER --seeds 0 1 2 --threads 1 --minutes 40
    python benchmarks/id_cards_crop.py --tables                write docs/results.md
    python benchmarks/id_cards_crop.py --smoke                 a minute on small ones, keeps nothing

Training photographs have 640 × 1138 pixels; the 500 that are tested have 1080 × 1920, and other
templates and grounds, since another seed has none in common. Where `MIDV_500` lies among the real
data, its one photograph with corners is tested too; nothing of it was trained on, and nothing was
chosen by it. Settings were chosen on the validation part of the training photographs.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _card_scores import CardScore, score_photo, summary
from _options import run_benchmark
from _record import ROOT, conditions, load, save

from penumbra.data.cards import make_id_cards, read_corners
from penumbra.documents import RectifySettings
from penumbra.documents.write import write_cards
from penumbra.imaging.files import read_image
from penumbra.inference.predictor import Predictor
from penumbra.pages.words import count
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

MIDV = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data")) / "midv500"
REAL_FRAME = "CA43_01"
REAL_CORNERS = Path("data", "43_tur_id", "ground_truth", "CA", f"{REAL_FRAME}.json")
NAME = "id_cards_crop"
TRAINED = {"count": 1500, "frame": (640, 1138), "seed": 1, "templates": 60}
TESTED = {"count": 500, "frame": (1080, 1920), "seed": 4, "templates": 40}
SETTINGS: dict[str, Any] = {
    "model": {"name": "unet", "arguments": {"width": 16}},
    # Nine by sixteen, as the photographs are: 144 × 256 without any padding.
    "image": {"size": 256, "fit": "scale", "multiple": 16, "channels": 3},
    "augmentation": {
        "symmetry": "horizontal", "rotation": 10.0, "scale": 0.2, "shift": 0.1,
        "brightness": 0.3, "contrast": 0.3, "gamma": 1.4, "noise": 0.05, "blur": 0.5,
    },
    "training": {"loss": "ce", "batch_size": 4},
}  # fmt: skip


def run_seed(out: Path, seed: int, *, minutes: float, threads: int) -> Run:
    """Train one seed, or go on with it."""
    budget = {"max_minutes": minutes, "seed": seed, "threads": threads}
    document = {
        **SETTINGS,
        "source": f"folder:{out / 'trained'}",
        "split": {"seed": seed, "fractions": (0.85, 0.15, 0.0)},
        "training": {**SETTINGS["training"], **budget},
    }
    run = Run(out / f"seed-{seed}")
    if run.info().get("status") != "finished":
        train(Experiment.parse(document), run.folder, resume=run.exists)
    return run


def test_generated(predictor: Predictor, folder: Path) -> list[CardScore]:
    """Score every photograph that was held out."""
    scores = []
    for truth in read_corners(folder).values():
        image = read_image(folder / "images" / f"{truth.id}.jpg")
        scores.append(score_photo(truth.id, image, predictor([image])[0], truth.corners))
    return scores


def test_real(predictor: Predictor, crops: Path) -> dict[str, Any]:
    """Score the real photograph, and crop it and the one without corners for a person to see."""
    if not (MIDV / f"{REAL_FRAME}.tif").is_file():
        return {}
    crops.mkdir(parents=True, exist_ok=True)
    truth = np.array(json.loads((MIDV / REAL_CORNERS).read_text("utf-8"))["quad"], np.float64)
    found: dict[str, Any] = {}
    for name, corners in ((REAL_FRAME, truth), ("unlabelled_photo", None)):
        image = read_image(MIDV / f"{name}.tif")
        score = score_photo(name, image, predictor([image])[0], corners)
        write_cards(crops, name, [score.card])
        found[name] = score.to_json()
    return found


def measure(out: Path, *, seeds: list[int], minutes: float, threads: int) -> None:
    """Make what is missing, then measure every seed; each that is finished is kept at once."""
    tested = out / f"tested-{TESTED['seed']}"
    for folder, wanted in ((out / "trained", TRAINED), (tested, TESTED)):
        if not folder.is_dir():
            make_id_cards(folder, **wanted, jobs=threads)
    for seed in seeds:
        run = run_seed(out, seed, minutes=minutes, threads=threads)
        predictor = Predictor.load(run.folder)
        scores = test_generated(predictor, tested)
        info = run.info()
        row = {
            "seed": seed,
            "minutes": run.experiment().training.max_minutes,
            "threads": run.experiment().training.threads,
            "epochs": info["epochs"],
            "validation_dice": info["validation_dice"],
            "generated": summary(scores, limit=RectifySettings().limit),
            "photographs": [score.to_json() for score in scores],
            "real": test_real(predictor, out / f"seed-{seed}-crops"),
        }
        print("seed", seed, row["generated"], row["real"], flush=True)
        try:
            others = [known for known in load(NAME)["rows"] if known["seed"] != seed]
        except FileNotFoundError:
            others = []
        rows = sorted([*others, row], key=lambda known: known["seed"])
        made = {"trained": TRAINED, "tested": TESTED, "experiment": SETTINGS}
        save(NAME, {"rows": rows, **made, "conditions": conditions()}, compact=True)


def table() -> str:
    """Write the table: a row per figure, a column per seed."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    rows = kept["rows"]
    lines = [
        "| photographs | figure | by seed | wanted | met |",
        "| --- | --- | --- | --- | --- |",
    ]
    for where, what, values, wanted, met in _figures(rows):
        text = ", ".join(format(value, ".4g") for value in values)
        lines.append(f"| {where} | {what} | {text} | {wanted} | {met} |")
    where, first = kept["conditions"], rows[0]
    return "\n".join(lines) + (
        f"\n\n*{first['generated']['photographs']} photographs of {TESTED['frame'][0]} × "
        f"{TESTED['frame'][1]} held out; {TRAINED['count']} of {TRAINED['frame'][0]} × "
        f"{TRAINED['frame'][1]} to train and choose on, at most {first['minutes']:g} min of "
        f"training on {count(first['threads'], 'thread')}, U-Net of width "
        f"{kept['experiment']['model']['arguments']['width']} at "
        f"{kept['experiment']['image']['size']} pixels, {where['machine']}, "
        f"Penumbra {where['versions']['penumbra']}, torch {where['versions']['torch']}, "
        f"{where['date']}.*"
    )


def _figures(rows: list[dict[str, Any]]) -> list[tuple[str, str, list[float], str, str]]:
    """Give (photographs, figure, values by seed, wanted, met) for every line of the table."""
    generated: list[tuple[str, str, str, float | None]] = [
        ("mask_iou", "mean IoU of the mask", "≥ 0.97", 0.97),
        ("mask_accuracy", "mean accuracy of the mask", "", None),
        ("corner_px", "median corner error, px", "≤ 4", -4.0),
        ("corner_px_90", "90th percentile of it, px", "", None),
        ("cropped", "share cropped", "", None),
        ("cropped_whole", "share cropped of cards that the frame holds whole", "", None),
        ("wrong", "share cropped with IoU < 0.9", "≤ 0.005", -0.005),
        ("turned", "share cropped, first corner elsewhere", "", None),
    ]
    lines = [
        _line("generated", what, [row["generated"][key] for row in rows], wanted, bound)
        for key, what, wanted, bound in generated
    ]
    real = [row["real"].get(REAL_FRAME) for row in rows]
    if all(real):
        lines += [
            _line("real, one", "IoU of the mask", [r["mask_iou"] for r in real], "≥ 0.93", 0.93),
            _line("real, one", "mean corner error, % of the diagonal",
                  [100 * r["corner_share"] for r in real], "≤ 1", -1.0),
            _line("real, one", "quality", [r["quality"] for r in real], "", None),
        ]  # fmt: skip
    return lines


def _line(
    where: str, what: str, values: list[float], wanted: str, bound: float | None
) -> tuple[str, str, list[float], str, str]:
    """Say whether every seed keeps the bound: at least it, or at most its negative."""
    if bound is None:
        return where, what, values, wanted, ""
    kept = all(value >= bound if bound > 0 else value <= -bound for value in values)
    return where, what, values, wanted, "yes" if kept else "**no**"


def smoke() -> None:
    """Go the whole way on few and small photographs."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        make_id_cards(out / "trained", count=24, frame=(160, 284), seed=1, templates=8)
        make_id_cards(out / "tested", count=4, frame=(240, 426), seed=2, templates=4)
        SETTINGS["image"] = {**SETTINGS["image"], "size": 64}
        run = run_seed(out, 0, minutes=0.15, threads=1)
        found = summary(test_generated(Predictor.load(run.folder), out / "tested"), limit=0.5)
    if not 0 <= found["mask_iou"] <= 1 or found["photographs"] != 4:
        raise SystemExit(f"figures out of their range: {found}")
    print(f"generated cards: mean IoU {found['mask_iou']:.3f}, {found['cropped']:.0%} cropped")


if __name__ == "__main__":
    run_benchmark(
        __doc__, name=NAME, holds="the sets, runs and crops", measure=measure, table=table,
        smoke=smoke, minutes=20,
    )  # fmt: skip
