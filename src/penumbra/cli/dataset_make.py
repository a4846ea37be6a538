"""`penumbra dataset make`: sets that are generated, phantom or id-cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from penumbra.cli.dataset_cards import id_cards
from penumbra.cli.session import Finished, Json, Seed, command, track, verb

if TYPE_CHECKING:
    from penumbra.data.phantom import PhantomKind

_SETS = {"phantom": "phantom.json", "id-cards": "id_cards.json"}
"""What can be made, and the file that tells a whole set of it."""

_OWN = {
    "phantom": ("size", "kinds"),
    "id-cards": ("frame", "templates", "geometry", "backgrounds", "upside_down", "jobs"),
}
"""The options that only one of the sets has."""


@verb
def make(
    context: typer.Context,
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
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier set.")] = False,
    json: Json = False,
) -> Finished:
    """Generate a data set in the folder layout.

    phantom: ultrasound-, X-ray- and card-like images whose boundary is ambiguous on purpose.
    truth/ holds the true foreground probability of every pixel, readers/ simulated readers.

    id-cards: photographs of cards of states and people that do not exist. corners.csv holds the
    true corners (TL, TR, BR, BL), also outside the frame; groups share no template and no ground.
    """
    _check(context, name, out, force=force)
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
    from penumbra.data.phantom import make_phantom
    from penumbra.pages.words import count as counted

    chosen = cast("tuple[PhantomKind, ...]", tuple(kind.strip() for kind in kinds.split(",")))
    make_phantom(out, count=count, size=size, seed=seed, kinds=chosen, progress=track)
    document = {"out": str(out), "count": count, "size": size, "seed": seed, "kinds": list(chosen)}
    what = counted(count, "image")
    return Finished(
        document,
        (
            f"{what} of {size}×{size} pixels with masks, true probabilities and readers.",
            f"They are in {out}.",
            f"Next: {command('split', f'folder:{out}', '--out', 'manifest.csv')}",
        ),
    )


def _check(context: typer.Context, name: str, out: Path, *, force: bool) -> None:
    """Refuse what there is not, options of the other set, and a place that holds a set.

    Raises:
        SettingsError: no such set, or an option that it does not have.
        StorageError: `out` holds an earlier set, and is not to be replaced.
    """
    import difflib

    from penumbra.errors import SettingsError, StorageError, expected

    if name not in _SETS:
        near = difflib.get_close_matches(name.casefold(), _SETS, n=1) or ["phantom"]
        raise SettingsError(
            expected("the data set", " or ".join(_SETS), repr(name), f"`dataset make {near[0]}`")
        )
    for owner, options in _OWN.items():
        for option in options if owner != name else ():
            source = context.get_parameter_source(option)
            if source is not None and source.name != "DEFAULT":
                flag = f"--{option.replace('_', '-')}"
                raise SettingsError(
                    expected(flag, f"given with {owner}, the set that has it", name,
                             f"leaving {flag} out")
                )  # fmt: skip
    if not force and any((out / file).is_file() for file in _SETS.values()):
        raise StorageError(
            expected(f"--out {out}", "a new folder", "one that holds an earlier set", "--force")
        )
