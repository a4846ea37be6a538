"""Groups of duplicates, by how alike they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from penumbra.audit.facts import Scanned
from penumbra.audit.groups import connected
from penumbra.audit.pairs import LEVELS, Level, Pairs
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding


@dataclass(frozen=True)
class DuplicateGroup:
    """Samples that are tied together by pairs, directly or through others.

    Attributes:
        level: the weakest tie that the group needs.
        members: indices of its samples, ascending.
        pairs: numbers of the pairs of exactly this level within it.
        rms: the largest of those pairs' differences.
    """

    level: Level
    members: tuple[int, ...]
    pairs: tuple[int, ...]
    rms: float


def duplicate_groups(n: int, pairs: Pairs) -> tuple[DuplicateGroup, ...]:
    """Group samples by union–find, once for each level.

    The groups of a level are tied by pairs of that level and of all stronger ones, and are listed
    where at least one pair is of that very level: what is a group by its bytes alone is not listed
    again among the near ones.

    Args:
        n: number of samples.
        pairs: every pair once, at its strongest level.

    Returns:
        The groups by level, then by their first member.
    """
    levels = np.asarray(pairs.level)
    found: list[DuplicateGroup] = []
    for rank, level in enumerate(LEVELS):
        tied = np.isin(levels, LEVELS[: rank + 1])
        ends = zip(pairs.a[tied].tolist(), pairs.b[tied].tolist(), strict=True)
        groups = connected(n, ends)
        numbers: dict[int, list[int]] = defaultdict(list)
        home = {member: place for place, members in enumerate(groups) for member in members}
        for number in np.flatnonzero(levels == level).tolist():
            numbers[home[int(pairs.a[number])]].append(number)
        found += [
            DuplicateGroup(
                level,
                tuple(int(member) for member in groups[place]),
                tuple(inside),
                float(np.max(pairs.rms[inside])),
            )
            for place, inside in sorted(numbers.items(), key=lambda item: groups[item[0]])
        ]
    return tuple(found)


_WORDS = {
    "bytes": ("duplicate-bytes", "files have the same bytes"),
    "pixels": ("duplicate-pixels", "images have the same pixels in other files"),
    "near": ("near-duplicate", "images hardly differ"),
}


def duplicate_findings(
    groups: Sequence[DuplicateGroup], samples: Sequence[Scanned]
) -> Iterable[Finding]:
    """Give a finding for each group: a warning, or a note where the images only resemble."""
    for group in groups:
        kind, says = _WORDS[group.level]
        ids = tuple(samples[member].id for member in group.members)
        far = f" (RMS up to {group.rms:.1f})" if group.level == "near" else ""
        message = f"{len(ids)} {says}{far}: {some(ids)}."
        severity = "note" if group.level == "near" else "warning"
        details = {"level": group.level, "pairs": len(group.pairs), "rms": group.rms}
        yield Finding(kind, severity, ids, message, details)
