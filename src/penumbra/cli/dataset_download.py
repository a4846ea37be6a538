"""`penumbra dataset download`: public data sets from their official addresses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penumbra.cli.session import Finished, Json, command, say, say_findings, track, verb

if TYPE_CHECKING:
    from penumbra.data.download import Collection


@verb
def download(
    name: Annotated[
        str | None, typer.Argument(help="Which data set; without it, what there is is listed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A new or empty folder.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--only", help="Some of its archives, comma-separated.")
    ] = None,
    by_hand: Annotated[
        Path | None, typer.Option("--from", help="A folder with archives fetched by hand.")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep the archives beside what was in them.")
    ] = False,
    json: Json = False,
) -> Finished:
    """Fetch a public data set: licence first, resumed where it was cut, checked, unpacked.

    Nothing else in Penumbra reaches for the network.
    """
    from penumbra.data.download import collection_named
    from penumbra.data.download import download as fetch_collection
    from penumbra.errors import SettingsError, expected

    if name is None:
        return _list()
    collection = collection_named(name)
    if out is None:
        raise SettingsError(expected("--out", "given", "nothing", f"--out data/{name}"))
    _show(collection)
    accepted = accept_licence or _asked()
    got = fetch_collection(
        collection,
        out,
        accept_licence=accepted,
        only=[part.strip() for part in (only or "").split(",") if part.strip()],
        by_hand=by_hand,
        keep_archives=keep_archives,
        progress=track,
    )
    if not json:
        say_findings(got.findings)
    recorded = sum(not entry.official for entry in got.files.values())
    told = f"; {recorded} recorded for the next time, not published by its makers"
    return Finished(
        got.to_json(),
        (
            f"{len(got.new)} archives fetched and unpacked, {len(got.files)} here in all. "
            f"SHA-256 checked{told if recorded else ' against those published'}.",
            f"The data set is in {out}.",
            f"Next: {command('audit', f'{got.layout}:{out}', '--out', 'AUDIT')}",
        ),
        code=1 if got.findings else 0,
    )


def _list() -> Finished:
    from penumbra.data.download import COLLECTIONS

    listed = [
        {
            "name": each.name,
            "title": each.title,
            "licence": each.licence,
            "homepage": each.homepage,
            "layout": each.layout,
            "files": [file.url for file in each.files],
        }
        for each in COLLECTIONS
    ]
    lines = [f"{each.name:<12}{each.title}. {each.licence}." for each in COLLECTIONS]
    return Finished(
        {"collections": listed},
        (*lines, f"Next: {command('dataset', 'download', 'NAME', '--out', 'FOLDER')}"),
    )


def _show(collection: Collection) -> None:
    web = "" if all(file.is_web for file in collection.files) else " (FTP, which is not encrypted)"
    say(f"{collection.title}.")
    say(f"From: {collection.files[0].url}, {len(collection.files)} archive(s){web}.")
    say(f"Licence: {collection.licence}. {collection.licence_url}")
    say(f"Cite: {collection.cite}.")


def _asked() -> bool:
    """Ask a person; a script is not asked and has not answered."""
    return sys.stdin.isatty() and typer.confirm("Do you accept the licence?", err=True)
