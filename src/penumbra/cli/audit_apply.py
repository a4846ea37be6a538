"""`penumbra audit apply`: write the corrected set that decisions or a policy ask for."""

from __future__ import annotations

from enum import StrEnum
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


class CopiesName(StrEnum):
    """What stays of samples that show the same."""

    one = "one"
    all = "all"


class LevelName(StrEnum):
    """How alike duplicates are."""

    bytes = "bytes"
    pixels = "pixels"
    near = "near"


@verb
def apply(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path, or a manifest.")],
    out: Annotated[str, typer.Option("--out", help="manifest.csv, or folder:DIR.")],
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="The decisions.jsonl to apply.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="A rule for all other groups: keep-first, majority, union, intersection, staple, "
            "or drop-conflicts:0.7 (Dice).",
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option("--audit", help="For --policy: the audit's folder; made where there is none."),
    ] = None,
    level: Annotated[
        LevelName, typer.Option("--level", help="How alike duplicates are that --policy is for.")
    ] = LevelName.near,
    copies: Annotated[
        CopiesName,
        typer.Option("--copies", help="Keep one of each group, or all with the agreed mask."),
    ] = CopiesName.one,
    target: Target = None,
    classes: Classes = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing manifest.")] = False,
    json: Json = False,
) -> Finished:
    """Apply decisions, or a policy, to a copy; the original is never touched.

    Beside what is written is an account of each change. A decision about a file that has changed
    since is not applied and is reported.
    """
    from penumbra.audit.apply import apply as apply_decisions
    from penumbra.audit.decisions import read_decisions
    from penumbra.audit.policy import Policy
    from penumbra.cli.duplicates import duplicates_of
    from penumbra.data.layouts import open_source
    from penumbra.errors import SettingsError, expected

    if decisions is None and policy is None:
        raise SettingsError(
            expected("`audit apply`", "given --decisions, --policy or both", "neither", "--policy")
        )
    rule = None if policy is None else Policy.parse(policy, level=level.value)
    made = None if decisions is None else read_decisions(decisions)
    opened = open_source(source, target=target, class_names=class_names(classes))
    pairs = () if rule is None else duplicates_of(opened, audit)
    applied = apply_decisions(
        opened,
        out,
        decisions=made,
        policy=rule,
        pairs=pairs,
        copies=copies.value,
        force=force,
        progress=track,
    )
    if not json:
        say_findings(applied.findings)
    counts = applied.account.counts
    document = {
        "out": str(applied.out),
        "account": str(applied.account_file),
        **applied.account.to_json(),
    }
    return Finished(
        document,
        (
            f"Of {counted(counts['samples'], 'sample')} {counts['left_out']} were left out and "
            f"{counts['masks_changed']} have another mask; {counts['kept']} stay."
            + (f" {counts['not_copied']} could not be copied." if counts["not_copied"] else ""),
            f"The corrected set is {applied.out}, the account {applied.account_file}.",
            f"Next: {command('split', out, '--out', 'manifest.csv')}",
        ),
        code=1 if any(finding.severity == "error" for finding in applied.findings) else 0,
    )
