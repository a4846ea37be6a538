"""`penumbra dataset`: make, export and download data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from penumbra.cli.dataset_download import download
from penumbra.cli.dataset_export import export
from penumbra.cli.session import Finished, Json, Seed, command, track, verb

if TYPE_CHECKING:
    from penumbra.data.phantom import PhantomKind

app = typer.Typer(no_args_is_help=True, help="Make, export and download data sets.")


@app.callback()
def dataset() -> None:
    """Make, export and download data sets."""


app.command("export")(export)
app.command("download")(download)


@app.command("make")
@verb
def make(
    name: Annotated[str, typer.Argument(help="What to make: phantom.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Number of images.")] = 120,
    size: Annotated[int, typer.Option("--size", min=32, help="Side of an image in pixels.")] = 128,
    kinds: Annotated[
        str, typer.Option("--kinds", help="Some of ultrasound,xray,card.")
    ] = "ultrasound,xray,card",
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Generate a data set in the folder layout.

    phantom: ultrasound-, X-ray- and card-like images whose boundary is ambiguous on purpose.
    truth/ holds the true foreground probability of every pixel, readers/ simulated readers.
    """
    from penumbra.data.phantom import make_phantom
    from penumbra.errors import SettingsError, expected

    if name != "phantom":
        raise SettingsError(
            expected("the data set", "phantom", repr(name), "`dataset make phantom`")
        )
    chosen = cast("tuple[PhantomKind, ...]", tuple(kind.strip() for kind in kinds.split(",")))
    make_phantom(out, count=count, size=size, seed=seed, kinds=chosen, progress=track)
    document = {"out": str(out), "count": count, "size": size, "seed": seed, "kinds": list(chosen)}
    return Finished(
        document,
        (
            f"{count} images of {size}×{size} pixels with masks, true probabilities and readers.",
            f"They are in {out}.",
            f"Next: {command('split', f'folder:{out}', '--out', 'manifest.csv')}",
        ),
    )
