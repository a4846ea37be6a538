"""`penumbra train`: from a source or manifest to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penumbra.cli.session import (
    Classes,
    Finished,
    Json,
    Target,
    check_source,
    class_names,
    command,
    command_line,
    counted,
    track,
    verb,
)

if TYPE_CHECKING:
    from penumbra.training.experiment import Experiment


@verb
def train(
    source: Annotated[str | None, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")] = Path("runs/run"),
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="Settings as YAML; options go over them.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="An architecture, see `penumbra models`; or sam:NAME to tune that one."
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option("--tune", help="What of a sam:NAME is tuned: decoder, lora or full."),
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", min=1, help="Channels of a U-Net's first level.")
    ] = None,
    target: Target = None,
    classes: Classes = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", help="Bound on the training time.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Bound on the epochs; 60 without a bound.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Decides every draw.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Same weights each time, bit for bit.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, such as training.loss=ce.")
    ] = None,
    json: Json = False,
) -> Finished:
    """Train a network and write a run folder, which every other verb reads.

    Without a manifest the source is split first (see `penumbra split`). Everything that is
    needed to repeat the training is in the run's experiment.yaml.

    With --model sam:NAME a promptable model is tuned: NAME is `small`, a name on the hub, a folder,
    a .pth file or a tuned run.
    """
    if source is not None and not resume:
        check_source(source, target)
    from rich.console import Console

    from penumbra.cli.tuning import is_tuning, tune_run

    if is_tuning(model, tune, experiment, out if resume else None):
        return tune_run(
            experiment,
            out,
            resume=resume,
            changes=change or [],
            top={"source": source, "target": target, "classes": class_names(classes)},
            training={
                "max_minutes": max_minutes,
                "epochs": epochs,
                "seed": seed,
                "device": device,
                "deterministic": deterministic or None,
            },
            model=model,
            mode=tune,
            width=width,
        )

    from penumbra.training.experiment import Experiment
    from penumbra.training.loop import train as train_run
    from penumbra.training.run import Run

    settings = Experiment.read(experiment) if experiment else Experiment()
    settings = settings.with_settings(change or [])
    settings = _with_options(
        settings,
        top={"source": source, "target": target, "classes": class_names(classes)},
        training={
            "max_minutes": max_minutes,
            "epochs": epochs,
            "seed": seed,
            "device": device,
            "deterministic": deterministic or None,
        },
        model=model,
        width=width,
    )
    trained = train_run(settings, out, resume=resume, console=Console(stderr=True), progress=track)
    Run(out).write_info({"command": command_line()})
    unusable = any(finding.severity == "error" for finding in trained.findings)
    score = "none (no validation split)"
    if trained.validation_dice is not None:
        score = f"{trained.validation_dice:.4f}"
    return Finished(
        trained.to_json(),
        (
            f"Best validation Dice {score} after {counted(trained.epochs, 'epoch')} "
            f"({trained.seconds / 60:.1f} min).",
            f"The run is {out}.",
            "Next: "
            + command(
                "evaluate", out, out / "manifest.csv", "--split", "test", "--out", out / "test"
            ),
        ),
        code=1 if unusable else 0,
    )


def _with_options(
    settings: Experiment,
    *,
    top: dict[str, Any],
    training: dict[str, Any],
    model: str | None,
    width: int | None,
) -> Experiment:
    """Lay the command line's options over the experiment; what was not given stays."""
    from penumbra.training.experiment import Experiment

    document = settings.model_dump(mode="json")
    document |= {key: value for key, value in top.items() if value is not None}
    document["training"] |= {key: value for key, value in training.items() if value is not None}
    if model is not None:
        document["model"]["name"] = model
    if width is not None:
        document["model"]["arguments"]["width"] = width
    return Experiment.parse(document, origin="the command line")
