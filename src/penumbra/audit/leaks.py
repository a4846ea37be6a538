"""What stands on both sides of a split, and one image under two subjects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from penumbra.audit.duplicates import DuplicateGroup
from penumbra.audit.facts import Scanned
from penumbra.audit.pairs import Level, Pairs
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Split

Between = Literal["splits", "groups"]
"""What is straddled: train, val and test; or the subjects, patients, documents of the source."""


@dataclass(frozen=True)
class Leak:
    """Duplicates on both sides of something.

    Attributes:
        between: what is straddled.
        level: how alike the images are.
        members: indices of the duplicates, ascending.
        places: the split or the group of each member.
        pairs: numbers of the pairs that cross.
    """

    between: Between
    level: Level
    members: tuple[int, ...]
    places: tuple[str, ...]
    pairs: tuple[int, ...]


def splits_of(
    samples: Sequence[Scanned], manifest: Mapping[str, Split] | None
) -> tuple[Split | None, ...]:
    """Give each sample's split: a manifest's where there is one, else the one that is shipped."""
    if manifest is not None:
        return tuple(manifest.get(sample.id) for sample in samples)
    return tuple(sample.split for sample in samples)


def find_leaks(
    samples: Sequence[Scanned],
    pairs: Pairs,
    groups: Sequence[DuplicateGroup],
    splits: Sequence[Split | None],
) -> tuple[Leak, ...]:
    """Find groups of duplicates in which a pair of the group's level crosses a split or a group.

    A pair crosses where both samples have a place and the places differ; samples that are in no
    split leak nothing.

    Args:
        samples: what the scan learned.
        pairs: the duplicates.
        groups: `duplicate_groups` of them.
        splits: one for each sample, ``None`` where it is in none.
    """
    found: list[Leak] = []
    places: dict[Between, list[str | None]] = {
        "splits": list(splits),
        "groups": [sample.group for sample in samples],
    }
    for between, place in places.items():
        for group in groups:
            crossing = tuple(
                number
                for number in group.pairs
                if _differ(place[int(pairs.a[number])], place[int(pairs.b[number])])
            )
            if crossing:
                names = tuple(place[member] or "" for member in group.members)
                found.append(Leak(between, group.level, group.members, names, crossing))
    return tuple(found)


def _differ(a: str | None, b: str | None) -> bool:
    return a is not None and b is not None and a != b


_SAME = {
    "bytes": "files with the same bytes",
    "pixels": "images with the same pixels",
    "near": "images that hardly differ",
}


def leak_findings(leaks: Sequence[Leak], samples: Sequence[Scanned]) -> Iterable[Finding]:
    """Give a finding for each leak: ``leak`` over splits, ``two-groups`` over subjects.

    A leak over a split is an error, for images that only resemble each other a warning; one image
    under two subjects is a warning, for images that only resemble a note.
    """
    for leak in leaks:
        ids = tuple(samples[member].id for member in leak.members)
        held = Counter(place for place in leak.places if place)
        where = ", ".join(f"{count} in {place}" for place, count in sorted(held.items()))
        severities = ("error", "warning") if leak.between == "splits" else ("warning", "note")
        details = {
            "level": leak.level,
            leak.between: dict(zip(ids, leak.places, strict=True)),
            "pairs": len(leak.pairs),
        }
        if leak.between == "groups":
            where = "under " + ", ".join(sorted(held))
        yield Finding(
            "leak" if leak.between == "splits" else "two-groups",
            severities[leak.level == "near"],
            ids,
            f"{len(ids)} {_SAME[leak.level]}, {where}: {some(ids)}.",
            details,
        )


def straddling_groups(
    samples: Sequence[Scanned], splits: Sequence[Split | None]
) -> tuple[Finding, ...]:
    """Give one finding about the groups (subjects, patients) that have samples in several splits.

    Groups of one sample cannot straddle anything, so a source whose groups are not known has none.
    """
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for sample, split in zip(samples, splits, strict=True):
        if split is not None:
            held[sample.group][split] += 1
    across = {name: dict(counts) for name, counts in held.items() if len(counts) > 1}
    if not across:
        return ()
    ids = tuple(
        sample.id
        for sample, split in zip(samples, splits, strict=True)
        if split is not None and sample.group in across
    )
    message = (
        f"{len(across)} of {len(held)} groups have images in several splits: {some(across)}. "
        "What is learned of a subject helps on that subject's other images."
    )
    return (Finding("group-in-several-splits", "error", ids, message, {"groups": across}),)
