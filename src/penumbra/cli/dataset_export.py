"""`penumbra dataset export`: a source in the form that another program reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penumbra.cli.session import (
    Classes,
    Finished,
    Json,
    Target,
    class_names,
    command,
    counted,
    say_findings,
    track,
    verb,
)

# What opens each form again; yolo is for other programs alone.
_OPENED_AS = {"folder": "folder", "coco": "coco", "rsna": "rsna", "nerve": "nerve"}


@verb
def export(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path, or a manifest.csv.")],
    to: Annotated[str, typer.Option("--to", help="folder, coco, rsna, nerve or yolo.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    target: Target = None,
    classes: Classes = None,
    with_masks: Annotated[
        bool, typer.Option("--with-masks", help="rsna: keep the masks in hidden/, to check boxes.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export in that folder.")
    ] = False,
    json: Json = False,
) -> Finished:
    """Write a source in another form; the originals are only read.

    folder: images and masks. coco: polygons and run lengths. rsna: boxes instead of masks.
    nerve: TIFFs and run lengths. yolo: polygons.
    """
    from penumbra.data.export import export_source, form_named
    from penumbra.data.layouts import open_source
    from penumbra.errors import SettingsError, expected

    form = form_named(to)
    if with_masks and form.name != "rsna":
        raise SettingsError(
            expected("--with-masks", "given with --to rsna", f"--to {to}", "leaving it out")
        )
    opened = open_source(source, target=target, class_names=class_names(classes))
    exported = export_source(
        opened,
        out,
        form=form.name,
        with_masks=with_masks,
        overwrite=overwrite,
        progress=track,
    )
    if not json:
        say_findings(exported.findings)
    lines = [
        f"{exported.samples} of {counted(len(opened), 'sample')} of {opened.name}, "
        f"{exported.masks} with masks, as {form.name}: {form.describe}.",
        f"They are in {out}.",
    ]
    if form.name in _OPENED_AS:
        again = f"{_OPENED_AS[form.name]}:{out}"
        lines.append(f"Next: {command('audit', again, '--out', 'AUDIT')}")
    document = {"source": opened.name, "target": opened.target, **exported.to_json()}
    failed = any(finding.severity == "error" for finding in exported.findings)
    return Finished(document, lines, code=1 if failed else 0)
