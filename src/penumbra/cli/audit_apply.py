"""`penumbra audit apply`: write the corrected set that the decisions ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penumbra.cli.session import Finished, Json, verb


@verb
def apply(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path, or a manifest.")],
    decisions: Annotated[Path, typer.Option("--decisions", help="The decisions.jsonl.")],
    out: Annotated[str, typer.Option("--out", help="manifest.csv, or folder:DIR.")],
    json: Json = False,
) -> Finished:
    """Apply decisions to a copy; the original is never touched."""
    from penumbra.errors import SettingsError, expected

    raise SettingsError(
        expected("`audit apply`", "a verb of this version", "one of the next", "a later version")
    )
