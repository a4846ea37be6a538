"""`penumbra export`: one whole model of a run, for programs that know nothing of Penumbra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penumbra.cli.segment import Offline
from penumbra.cli.session import Finished, Json, command, verb


@verb
def export(
    run: Annotated[Path, typer.Argument(help="A run that tuned a promptable model.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="A new or empty folder for transformers, or a new FILE.pth."),
    ],
    offline: Offline = False,
    json: Json = False,
) -> Finished:
    """Write a tuned promptable model as a whole, what was tuned merged into its weights.

    A folder is what transformers loads by from_pretrained; a .pth file has the names that Meta's
    own code loads. Filters of the run are no part of a model. Networks that need no prompt cannot
    be exported yet.
    """
    del json
    from penumbra.imaging.filters import FilterChain
    from penumbra.models.storage import read_model_json
    from penumbra.promptable.tuning.merge import merge
    from penumbra.promptable.tuning.stored import is_tuned_run

    if not is_tuned_run(run):
        _refuse(run)
    written = merge(run, out, offline=offline)
    document = read_model_json(run)
    filters = FilterChain.parse(document.get("filters", []))
    form = "file" if written.is_file() else "folder"
    small = document["base"]["family"] == "small"
    reader = "for Penumbra; transformers does not know it." if small else "for transformers."
    lines = [
        f"{run} is one whole model in {written}, "
        + ("under the names of Meta." if form == "file" else reader),
    ]
    if filters:
        lines.append(f"Apply its filters to the images yourself: {filters.label}.")
    lines.append(f"Next: {command('segment', 'IMAGE', '--model', written)} and a --box or --point")
    return Finished(
        {
            "run": str(run),
            "out": str(written),
            "form": "meta" if form == "file" else "transformers",
            "base": document["base"],
            "filters": filters.model_dump(mode="json"),
        },
        lines,
    )


def _refuse(run: Path) -> None:
    """Say why a folder cannot be exported.

    Raises:
        RunError: always.
    """
    from penumbra.errors import RunError, expected
    from penumbra.models.storage import MODEL_FILE

    tuned = "a run that tuned a promptable model"
    if (run / MODEL_FILE).is_file():
        got = "a network that needs no prompt, and exporting such runs is not there yet"
        try_ = "its weights in the run folder, with `penumbra.Predictor`"
    else:
        got = "no run" if run.is_dir() else "no such folder"
        try_ = "the folder that `penumbra train … --model sam:NAME --out` wrote"
    raise RunError(expected(str(run), tuned, got, try_))
