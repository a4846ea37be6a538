"""What is to be said of a split before hours are spent on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from penumbra.data.assignment import Assignment
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding
from penumbra.data.source import Source


def split_findings(source: Source, assignment: Assignment) -> tuple[Finding, ...]:
    """Warn of a split that has nothing to validate on, or whose groups lie in several parts.

    Args:
        source: what was split.
        assignment: its splits.

    Returns:
        ``no-validation`` and ``group-in-several-splits``, both warnings, where they hold. A split
        by group has neither; one that a data set ships, or that a person wrote, may have both.

    Examples:
        >>> import tempfile
        >>> from penumbra.data.layouts import open_source
        >>> from penumbra.data.phantom import make_phantom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = open_source(make_phantom(f"{folder}/set", count=3, size=32))
        ...     parts = Assignment({"card_00000": "train", "xray_00000": "test"})
        ...     [finding.kind for finding in split_findings(made, parts)]
        ['no-validation']
    """
    return tuple(_findings(source, assignment))


def _findings(source: Source, assignment: Assignment) -> Iterator[Finding]:
    if assignment.splits and not assignment.ids("val"):
        yield Finding("no-validation", "warning", (), (
            "The split has no validation part, so that no epoch is chosen by its score; "
            "`penumbra split` writes a manifest with one."
        ))  # fmt: skip
    parts: dict[str, set[str]] = defaultdict(set)
    for record in source.records:
        if record.id in assignment.splits:
            parts[record.group].add(assignment.splits[record.id])
    across = [group for group, its in parts.items() if len(its) > 1]
    if across:
        ids = tuple(
            record.id
            for record in source.records
            if record.id in assignment.splits and len(parts[record.group]) > 1
        )
        have = "has" if len(across) == 1 else "have"
        of = "group" if len(parts) == 1 else "groups"
        message = (
            f"{len(across)} of {len(parts)} {of} {have} samples in several parts of the split: "
            f"{some(across)}; scores on such parts are too good. "
            "`penumbra split` keeps groups whole."
        )
        yield Finding("group-in-several-splits", "warning", ids, message)
