"""`penumbra dataset`: make, export and download data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from penumbra.cli.dataset_cards import id_cards
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
    name: Annotated[str, typer.Argument(help="What to make: phantom or id-cards.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Number of images.")] = 120,
    size: Annotated[
        int, typer.Option("--size", min=32, help="phantom: side of an image in pixels.")
    ] = 128,
    kinds: Annotated[
        str, typer.Option("--kinds", help="phantom: some of ultrasound,xray,card.")
    ] = "ultrasound,xray,card",
    seed: Seed = 0,
    frame: Annotated[
        str, typer.Option("--frame", help="id-cards: WIDTHxHEIGHT of an image in pixels.")
    ] = "640x1138",
    templates: Annotated[
        int, typer.Option("--templates", min=1, help="id-cards: how many kinds of card.")
    ] = 40,
    geometry: Annotated[
        Path | None,
        typer.Option(
            "--geometry",
            help="id-cards: a COCO JSON of quadrilaterals, or MIDV's JSON files, to place cards "
            "as in them; by default as described in MIDV-500.",
        ),
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option("--backgrounds", help="id-cards: a folder of photographs to lay cards on."),
    ] = None,
    upside_down: Annotated[
        float,
        typer.Option("--upside-down", min=0, max=1, help="id-cards: share that reads upside down."),
    ] = 0.0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="id-cards: processes.")] = 1,
    json: Json = False,
) -> Finished:
    """Generate a data set in the folder layout.

    phantom: ultrasound-, X-ray- and card-like images whose boundary is ambiguous on purpose.
    truth/ holds the true foreground probability of every pixel, readers/ simulated readers.

    id-cards: photographs of cards of states and people that do not exist. corners.csv holds the
    true corners (TL, TR, BR, BL), also outside the frame; groups share no template and no ground.
    """
    from penumbra.data.phantom import make_phantom
    from penumbra.errors import SettingsError, expected

    if name == "id-cards":
        return id_cards(
            out,
            count=count,
            frame=frame,
            seed=seed,
            templates=templates,
            geometry=geometry,
            backgrounds=backgrounds,
            upside_down=upside_down,
            jobs=jobs,
            quiet=json,
        )
    if name != "phantom":
        raise SettingsError(
            expected("the data set", "phantom or id-cards", repr(name), "`dataset make phantom`")
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
