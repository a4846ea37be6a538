"""`penumbra quick-start`: the whole job once, from images to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penumbra.cli.session import (
    Finished,
    Json,
    Seed,
    Target,
    check_source,
    command,
    command_line,
    now,
    say,
    track,
    verb,
)

_PHANTOM_COUNT = 180
_PHANTOM_SIZE = 128
_SHOWN = 6


@verb
def quick_start(
    out: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path(
        "quick_start_output"
    ),
    data: Annotated[
        str | None, typer.Option("--data", help="LAYOUT:PATH; a phantom set without it.")
    ] = None,
    target: Target = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.01, help="Bound on the training time.")
    ] = 2.0,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Make or take images, split, train a U-Net, calibrate and evaluate it, write the report.

    Each start writes a new folder run-1, run-2, … under --out; nothing is overwritten.
    """
    import time

    from rich.console import Console

    from penumbra.calibration.calibrate import calibrate
    from penumbra.evaluation.of_run import evaluate_run
    from penumbra.training.experiment import Experiment
    from penumbra.training.loop import train

    started = time.monotonic()
    if data is not None:
        check_source(data, target)
    source = data if data is not None else _phantom(out, seed)
    where = _new_folder(out)
    small = data is None
    experiment = Experiment.parse(
        {
            "source": source,
            "target": target,
            "split": {"seed": seed},
            "image": {"size": _PHANTOM_SIZE if small else 256},
            "model": {"name": "unet", "arguments": {"width": 16}},
            "training": {"max_minutes": minutes, "seed": seed},
        },
        origin="quick-start",
    )
    say(f"1/4 training a U-Net on {source} for at most {minutes:g} min")
    train(experiment, where / "run", console=Console(stderr=True), progress=track)
    manifest = where / "run" / "manifest.csv"
    say("2/4 calibrating its doubt on the validation split")
    calibration = calibrate(where / "run", manifest, progress=track)
    say(f"3/4 evaluating it on the test split, by {calibration.sampler}")
    scored = evaluate_run(
        where / "run",
        manifest,
        where / "evaluation",
        split="test",
        seed=seed,
        command=command_line(),
        created=now(),
        progress=track,
    )
    say("4/4 drawing masks and doubt of some test images")
    pictures = _draw(where, scored, seed)
    overall = scored.evaluation.overall
    dice, ece = overall["dice"]["mean"], overall["ece"]["mean"]
    seconds = time.monotonic() - started
    document: dict[str, Any] = {
        "source": str(source),
        "run": str(where / "run"),
        "calibration": str(where / "run" / "calibration.json"),
        "sampler": calibration.sampler,
        "report": str(where / "evaluation" / "report.html"),
        "metrics": str(where / "evaluation" / "metrics.json"),
        "pictures": str(pictures),
        "overall": overall,
        "seconds": round(seconds, 1),
    }
    return Finished(
        document,
        (
            f"Test Dice {dice:.3f}, calibration error {ece:.3f}, in {seconds / 60:.1f} min.",
            f"Report: {document['report']}",
            f"Overlays and doubt heatmaps: {pictures}",
            "Next: " + command("predict", where / "run", "YOUR_IMAGE.png", "--out", "predictions"),
        ),
    )


def _phantom(out: Path, seed: int) -> str:
    from penumbra.data.phantom import make_phantom

    folder = out / "phantom"
    say(f"making {_PHANTOM_COUNT} phantom images in {folder}")
    make_phantom(folder, count=_PHANTOM_COUNT, size=_PHANTOM_SIZE, seed=seed, progress=track)
    return f"folder:{folder}"


def _new_folder(out: Path) -> Path:
    number = 1
    while (out / f"run-{number}").exists():
        number += 1
    return out / f"run-{number}"


def _draw(where: Path, scored: Any, seed: int) -> Path:
    from penumbra.inference.outputs import write_prediction
    from penumbra.inference.predictor import Predictor

    predictor = Predictor.load(where / "run")
    folder = where / "pictures"
    chosen = {image.id for image in scored.evaluation.sorted_by("dice")[:_SHOWN]}
    for index, record in enumerate(scored.source.records):
        if record.id in chosen:
            sample = scored.source[index]
            prediction = predictor([sample.image], seed=seed)[0]
            write_prediction(folder, record.id, sample.image, prediction, extra={"split": "test"})
    return folder
