"""`penumbra split`: samples into train, val and test without leaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from penumbra.cli.session import (
    Classes,
    Finished,
    Json,
    KeepIdentifiers,
    Seed,
    Target,
    class_names,
    command,
    counted,
    say_findings,
    track,
    verb,
)

if TYPE_CHECKING:
    from penumbra.data.source import Source


@verb
def split(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, or a path.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write.")],
    seed: Seed = 0,
    target: Target = None,
    classes: Classes = None,
    fractions: Annotated[
        str, typer.Option("--fractions", help="Shares of train, val, test.")
    ] = "0.7,0.15,0.15",
    contiguous: Annotated[
        bool, typer.Option("--contiguous", help="Blocks in order, for slices and frames.")
    ] = False,
    given: Annotated[
        bool, typer.Option("--given", help="The split that the data set ships.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option("--folds", min=3, help="K folds for cross-validation.")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit",
            help="Keep duplicates together: the folder of an audit; audited into it where it holds "
            "none.",
        ),
    ] = None,
    keep_identifiers: KeepIdentifiers = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing manifest.")] = False,
    json: Json = False,
) -> Finished:
    """Split a source into train, val and test: groups stay whole, foreground is balanced.

    The same seed gives the same split. Patients, subjects or documents never straddle it; with
    --audit, duplicates of one image do not either.
    """
    from penumbra.data.layouts import layout_named, open_source
    from penumbra.data.manifest import write_manifest
    from penumbra.data.source import require_masks
    from penumbra.data.split import split_source
    from penumbra.data.together import keep_together, straddling
    from penumbra.errors import SettingsError, StorageError, expected

    if contiguous and given:
        raise SettingsError(expected("the split", "--contiguous or --given", "both", "one of them"))
    if out.exists() and not force:
        raise StorageError(expected(f"--out {out}", "a new file", "one that exists", "--force"))
    opened = open_source(
        source,
        target=target,
        class_names=class_names(classes),
        keep_identifiers=keep_identifiers,
    )
    require_masks(opened)
    pairs = [] if audit is None else _duplicates(opened, audit)
    opened = keep_together(opened, pairs)
    default = layout_named(opened.layout).strategy
    strategy: Literal["random", "contiguous", "given"] = (
        "contiguous" if contiguous else "given" if given else default
    )
    assignment = split_source(
        opened,
        seed=seed,
        fractions=_three(fractions),
        strategy=strategy,
        folds=folds,
        progress=track,
    )
    write_manifest(out, opened, assignment)
    counts = {name: len(assignment.ids(name)) for name in ("train", "val", "test")}
    groups = {
        name: len({r.group for r in opened.records if assignment.splits.get(r.id) == name})
        for name in counts
    }
    findings = [
        *opened.findings, *assignment.findings, *straddling(assignment.splits, pairs)
    ]  # fmt: skip
    if not json:
        say_findings(findings)
    document = {
        "manifest": str(out),
        "source": opened.name,
        "target": opened.target,
        "strategy": strategy,
        "seed": seed,
        "samples": counts,
        "groups": groups,
        "folds": folds,
        "pairs_kept_together": len(pairs),
        "findings": findings,
    }
    parts = ", ".join(
        f"{counts[name]} {name} ({counted(groups[name], 'group')})" for name in counts
    )
    return Finished(
        document,
        (
            f"{counted(len(opened), 'sample')} of {opened.name}: {parts}; strategy {strategy}, "
            f"seed {seed}.",
            f"The manifest is {out}.",
            f"Next: {command('train', out, '--out', 'runs/NAME')}",
        ),
        code=1 if any(finding.severity == "error" for finding in findings) else 0,
    )


def _duplicates(source: Source, folder: Path) -> list[tuple[str, str]]:
    """Give the pairs that an audit found, but for those that somebody said are none."""
    from penumbra.cli.duplicates import duplicates_of, kept_apart

    apart = kept_apart(folder)
    pairs = [(each.a, each.b) for each in duplicates_of(source, folder)]
    return [pair for pair in pairs if not any(set(pair) <= names for names in apart)]


def _three(text: str) -> tuple[float, float, float]:
    from penumbra.errors import SettingsError, expected

    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            expected("--fractions", "three numbers such as 0.7,0.15,0.15", repr(text), "those")
        ) from error
    return train, val, test
