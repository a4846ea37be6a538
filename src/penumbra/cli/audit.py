"""`penumbra audit`: find what is wrong with a data set, and apply what was decided about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from penumbra.cli.audit_apply import apply
from penumbra.cli.session import (
    Classes,
    Finished,
    Json,
    KeepIdentifiers,
    Target,
    class_names,
    command,
    command_line,
    now,
    say,
    say_findings,
    track,
    verb,
)

if TYPE_CHECKING:
    from penumbra.audit.audit import Audit
    from penumbra.data.sample import Finding

_AUDIT = "SOURCE"
"""The hidden command behind `penumbra audit SOURCE`."""


class AuditGroup(TyperGroup):
    """A group whose first word may be a source: what is no sub-verb is audited.

    A folder that is called like a sub-verb is still reached, as ``./apply`` or ``folder:apply``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden command in front of anything that does not begin with a sub-verb."""
        shown = [name for name, found in self.commands.items() if not found.hidden]
        if not args or args[0] not in shown:
            args = [_AUDIT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Leave the hidden command's name out of the usage line."""
        name, found, rest = super().resolve_command(ctx, args)
        return "" if name == _AUDIT else name, found, rest


app = typer.Typer(cls=AuditGroup, help="Find what is wrong with a data set, and mend it.")


@app.callback()
def overview() -> None:
    """Find what is wrong with a data set, and mend it."""


@app.command(_AUDIT, hidden=True, no_args_is_help=True)
@verb
def audit(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="LAYOUT:PATH, a path, or a manifest.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder for findings, pairs, report.")],
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Pairs below this RMS difference (0–255) are near."),
    ] = 5.0,
    turns: Annotated[
        bool, typer.Option("--turns", help="Also find copies that were flipped or turned.")
    ] = False,
    shifts: Annotated[
        int, typer.Option("--shifts", min=0, help="Also find copies moved by so many pixels.")
    ] = 0,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Look for leaks between its splits.")
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A run that judges labels it never saw; may be repeated."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads; by default one per core.")
    ] = None,
    target: Target = None,
    classes: Classes = None,
    keep_identifiers: KeepIdentifiers = False,
    json: Json = False,
) -> Finished:
    """Find bad files, duplicates, duplicates whose masks disagree, leaks and imbalance.

    Every pair of images is compared, exactly. A scan that was stopped goes on where it stood.

    `penumbra audit apply --help` says how what was decided is applied.
    """
    from penumbra.audit.audit import audit as audit_source
    from penumbra.data.layouts import open_source
    from penumbra.data.manifest import read_assignment

    opened = open_source(
        source,
        target=target,
        class_names=class_names(classes),
        keep_identifiers=keep_identifiers,
    )
    found = audit_source(
        opened,
        out=out,
        threshold=threshold,
        turns=turns,
        shifts=shifts,
        manifest=None if manifest is None else read_assignment(manifest).splits,
        run=run or None,
        workers=workers,
        progress=track,
    )
    found.write(out, command=command_line(), created=now())
    if not json:
        say_findings(found.worst)
        for severity in ("warning", "note"):
            say_kinds(found.findings, severity)
    errors = any(finding.severity == "error" for finding in found.findings)
    return Finished(_document(found, out), _lines(found, source, out), code=1 if errors else 0)


def say_kinds(findings: Sequence[Finding], severity: str) -> None:
    """Tell how many findings of one severity there are, by kind."""
    kinds = Counter(each.kind for each in findings if each.severity == severity)
    if kinds:
        listed = ", ".join(f"{kind} {number}" for kind, number in kinds.most_common())
        say(f"{kinds.total()} {severity}{'s' * (kinds.total() > 1)}: {listed}")


def _document(found: Audit, out: Path) -> dict[str, Any]:
    return {
        "source": found.source_name,
        "summary": found.summary,
        "findings": found.findings,
        "files": {
            "findings": str(out / "findings.json"),
            "pairs": str(out / "pairs.parquet"),
            "report": str(out / "report.html"),
        },
    }


def _lines(found: Audit, source: str, out: Path) -> tuple[str, ...]:
    return (
        found.sentence,
        f"The report is {out / 'report.html'}.",
        f"Next: {command('audit', 'apply', source, '--help')}",
    )


app.command("apply")(apply)
