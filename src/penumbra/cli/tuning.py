"""`penumbra train --model sam:NAME`: tuning of a promptable model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penumbra.cli.session import Finished, command, command_line, counted, track

_PREFIX = "sam:"
_EXPERIMENT = "experiment.yaml"


def is_tuning(
    model: str | None, mode: str | None, experiment: Path | None, run: Path | None
) -> bool:
    """Tell whether `train` was asked to tune a promptable model.

    Args:
        model: of `--model`.
        mode: of `--tune`.
        experiment: of `--experiment`.
        run: the folder that is resumed, if one is.

    Raises:
        SettingsError: `--tune` with a network that is none.
    """
    from penumbra.errors import SettingsError, expected

    prefixed = model is not None and model.startswith(_PREFIX)
    if mode is not None and model is not None and not prefixed:
        raise SettingsError(
            expected("--model beside --tune", "sam:NAME", model, "--model sam:small")
        )
    if prefixed or mode is not None:
        return True
    files = [experiment, None if run is None else run / _EXPERIMENT]
    # Looked for by its words first: torch takes seconds to import, most experiments tune nothing.
    return any(file is not None and _may_tune(file) for file in files)


def _may_tune(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if "tune:" not in text:
        return False
    from penumbra.promptable.tuning.settings import holds_tuning

    return holds_tuning(file)


def tune_run(
    experiment: Path | None,
    out: Path,
    *,
    resume: bool,
    changes: list[str],
    top: dict[str, Any],
    training: dict[str, Any],
    model: str | None,
    mode: str | None,
    width: int | None,
) -> Finished:
    """Tune and say what came of it.

    Args:
        experiment: settings as YAML.
        out: the run folder.
        resume: go on with it.
        changes: of `--set`.
        top: options of the whole experiment; ``None`` leaves what is there.
        training: options of its section `training`, likewise.
        model: sam:NAME.
        mode: what is tuned.
        width: refused, since a given model has its width.
    """
    from rich.console import Console

    from penumbra.errors import SettingsError, expected
    from penumbra.promptable.tuning.settings import TuningExperiment
    from penumbra.promptable.tuning.tune import tune
    from penumbra.training.run import Run

    if width is not None:
        raise SettingsError(
            expected("--width", "left out beside sam:NAME, whose width is given", width, "nothing")
        )
    settings = TuningExperiment.read(experiment) if experiment else TuningExperiment()
    document = settings.with_settings(changes).model_dump(mode="json")
    document |= {key: value for key, value in top.items() if value is not None}
    document["training"] |= {key: value for key, value in training.items() if value is not None}
    if model is not None:
        document["model"]["name"] = model
    if mode is not None:
        document["tune"]["mode"] = mode
    settings = TuningExperiment.parse(document, origin="the command line")
    trained = tune(settings, out, resume=resume, console=Console(stderr=True), progress=track)
    Run(out).write_info({"command": command_line()})
    unusable = any(finding.severity == "error" for finding in trained.findings)
    score = "none (no validation split)"
    if trained.validation_dice is not None:
        score = f"{trained.validation_dice:.4f}"
    return Finished(
        trained.to_json(),
        (
            f"Best validation Dice of first prompts {score} after "
            f"{counted(trained.epochs, 'epoch')} ({trained.seconds / 60:.1f} min).",
            f"The run is {out}.",
            "Next: " + command("segment", "IMAGE", "--box", "x0,y0,x1,y1", "--model", out),
        ),
        code=1 if unusable else 0,
    )
