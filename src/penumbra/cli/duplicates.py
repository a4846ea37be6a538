"""The duplicates of a source, for the verbs that use them: from an audit, or audited now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penumbra.cli.session import command_line, now, say, track

if TYPE_CHECKING:
    from penumbra.audit.placement import Duplicate
    from penumbra.data.source import Source


def kept_apart(folder: Path) -> tuple[frozenset[str], ...]:
    """Give the sets of samples that the decisions in an audit's folder call no duplicates."""
    from penumbra.audit.decisions import DECISIONS, read_decisions

    path = folder / DECISIONS
    if not path.is_file():
        return ()
    active = read_decisions(path).active
    return tuple(frozenset(e.samples) for e in active if e.action == "not-a-duplicate")


def duplicates_of(source: Source, folder: Path | None) -> tuple[Duplicate, ...]:
    """Give the duplicates of a source.

    Args:
        source: what they are of.
        folder: the folder of an audit, whose pairs are read; where it holds none, the source is
            audited into it. Without a folder the source is audited and nothing is written.

    Raises:
        SourceError: the folder's pairs cannot be read, or are of other samples, or of these as
            they once were.
    """
    from penumbra.audit.pairs_file import PAIRS, read_pairs
    from penumbra.audit.placement import Duplicate
    from penumbra.audit.samples_file import check_audited

    if folder is not None and (folder / PAIRS).is_file():
        check_audited(folder, source)
        return read_pairs(folder)
    from penumbra.audit.audit import audit

    say(f"auditing {source.name} for duplicates" + (f" into {folder}" if folder else ""))
    found = audit(source, out=folder, progress=track)
    if folder is not None:
        found.write(folder, command=command_line(), created=now())
    return tuple(
        Duplicate(each.a, each.b, each.level, each.rms, (each.turn, *each.shift))
        for each in found.compared
    )
