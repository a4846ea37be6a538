"""The `penumbra` command: one thin file per verb.

The verbs import what is heavy only when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import typer

from penumbra.cli import (
    audit,
    benchmark,
    calibrate,
    dataset,
    embed,
    evaluate,
    export,
    models,
    predict,
    quick_start,
    segment,
    serve,
    split,
    study,
    submit,
    train,
)
from penumbra.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"penumbra {__version__}")
        raise typer.Exit


@app.callback()
def overview(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Segment images and see where the mask is in doubt.

    SOURCE is LAYOUT:PATH (folder:photos), a bare path, or a manifest.csv.

    Every verb takes --help and --json.
    """
    del version


app.command("split")(split.split)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("segment")(segment.segment)
app.command("embed")(embed.embed)
app.command("calibrate")(calibrate.calibrate)
app.command("submit")(submit.submit)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("benchmark")(benchmark.benchmark)
app.add_typer(audit.app, name="audit")
app.add_typer(dataset.app, name="dataset")
app.add_typer(study.app, name="study")
app.command("serve")(serve.serve)
app.command("models")(models.models)
app.command("quick-start")(quick_start.quick_start)


def main() -> None:
    """Run the command line of this process."""
    app()
