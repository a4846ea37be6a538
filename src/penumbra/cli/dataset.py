"""`penumbra dataset`: make, export and download data sets."""

from __future__ import annotations

import typer

from penumbra.cli.dataset_download import download
from penumbra.cli.dataset_export import export
from penumbra.cli.dataset_make import make

app = typer.Typer(no_args_is_help=True, help="Make, export and download data sets.")


@app.callback()
def dataset() -> None:
    """Make, export and download data sets."""


app.command("export")(export)
app.command("download")(download)
app.command("make")(make)
