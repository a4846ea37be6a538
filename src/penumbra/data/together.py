"""Samples that must not be parted: their groups become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from penumbra.data.layouts.base import natural_key
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Split
from penumbra.data.source import Source

_NAMED = 3


def keep_together(source: Source, pairs: Iterable[tuple[str, str]]) -> Source:
    """Merge the groups of samples that belong together, such as duplicates.

    Two samples of a pair end up in one group, with everything else in their groups, and so on from
    pair to pair (union–find). A merged group is called by the names it was made of:
    ``7+23``, or ``7+23+4 more``.

    Args:
        source: any source.
        pairs: ids of two samples each; ids that the source does not have are passed over.

    Examples:
        >>> from pathlib import Path
        >>> from penumbra.data.sample import Record
        >>> records = tuple(Record(n, f"of {n}", Path(n)) for n in "abc")
        >>> bare = Source("folder", Path(), records, ("no", "yes"), None, None)
        >>> [record.group for record in keep_together(bare, [("c", "a")]).records]
        ['of a+of c', 'of b', 'of a+of c']
    """
    group_of = {record.id: record.group for record in source.records}
    parent = {group: group for group in group_of.values()}

    def top(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for a, b in pairs:
        if a in group_of and b in group_of:
            parent[top(group_of[a])] = top(group_of[b])
    members: dict[str, list[str]] = {}
    for group in parent:
        members.setdefault(top(group), []).append(group)
    names = _names(members, set(parent))
    return replace(
        source,
        records=tuple(replace(each, group=names[top(each.group)]) for each in source.records),
    )


def _names(members: Mapping[str, list[str]], taken: set[str]) -> dict[str, str]:
    names = {}
    for tops, groups in members.items():
        ordered = sorted(groups, key=natural_key)
        name = "+".join(ordered[:_NAMED])
        if len(ordered) > _NAMED:
            name += f"+{len(ordered) - _NAMED} more"
        while len(ordered) > 1 and name in taken:
            name += "+"
        taken.add(name)
        names[tops] = name
    return names


def straddling(
    splits: Mapping[str, Split], pairs: Iterable[tuple[str, str]]
) -> tuple[Finding, ...]:
    """Give a finding for the pairs whose samples are in different splits, if there are any."""
    torn = [(a, b) for a, b in pairs if a in splits and b in splits and splits[a] != splits[b]]
    if not torn:
        return ()
    ids = tuple(dict.fromkeys(name for pair in torn for name in pair))
    shown = some(f"{a} ({splits[a]}) and {b} ({splits[b]})" for a, b in torn)
    message = f"{len(torn)} pairs of duplicates straddle the split: {shown}."
    return (Finding("leak", "warning", ids, message, {"pairs": [list(pair) for pair in torn]}),)
