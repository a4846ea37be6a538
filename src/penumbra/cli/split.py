"""`penumbra split`: samples into train, val and test without leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from penumbra.cli.session import (
    Classes,
    Finished,
    Json,
    Seed,
    Target,
    class_names,
    command,
    say_findings,
    track,
    verb,
)


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
    force: Annotated[bool, typer.Option("--force", help="Replace an existing manifest.")] = False,
    json: Json = False,
) -> Finished:
    """Split a source into train, val and test: groups stay whole, foreground is balanced.

    The same seed gives the same split. Patients, subjects or documents never straddle it.
    """
    from penumbra.data.layouts import layout_named, open_source
    from penumbra.data.manifest import write_manifest
    from penumbra.data.source import require_masks
    from penumbra.data.split import split_source
    from penumbra.errors import SettingsError, StorageError, expected

    if contiguous and given:
        raise SettingsError(expected("the split", "--contiguous or --given", "both", "one of them"))
    if out.exists() and not force:
        raise StorageError(expected(f"--out {out}", "a new file", "one that exists", "--force"))
    opened = open_source(source, target=target, class_names=class_names(classes))
    require_masks(opened)
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
    findings = [*opened.findings, *assignment.findings]
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
        "findings": findings,
    }
    parts = ", ".join(f"{counts[name]} {name} ({groups[name]} groups)" for name in counts)
    return Finished(
        document,
        (
            f"{len(opened)} samples of {opened.name}: {parts}; strategy {strategy}, seed {seed}.",
            f"The manifest is {out}.",
            f"Next: {command('train', out, '--out', 'runs/NAME')}",
        ),
        code=1 if any(finding.severity == "error" for finding in findings) else 0,
    )


def _three(text: str) -> tuple[float, float, float]:
    from penumbra.errors import SettingsError, expected

    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            expected("--fractions", "three numbers such as 0.7,0.15,0.15", repr(text), "those")
        ) from error
    return train, val, test
