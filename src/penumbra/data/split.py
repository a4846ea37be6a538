"""Dividing a source into train, validation and test without tearing groups apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from penumbra.data.assignment import SPLITS, Assignment, select, splits_of_folds
from penumbra.data.layouts import Strategy
from penumbra.data.layouts.catalogue import strategy_of
from penumbra.data.sample import Finding, Record, Split
from penumbra.data.source import Source
from penumbra.data.strata import Strata, strata_of
from penumbra.errors import SettingsError, SourceError, expected
from penumbra.progress import Progress, silent

__all__ = ["Assignment", "default_strategy", "select", "split_source"]

_STRATEGIES: tuple[Strategy, ...] = ("random", "contiguous", "given")
_Members = dict[str, list[str]]


def split_source(
    source: Source,
    *,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    strategy: Strategy | None = None,
    folds: int | None = None,
    progress: Progress = silent,
) -> Assignment:
    """Divide a source; every group stays whole.

    ``"random"`` shuffles the groups by `seed` and gives them, largest first, to the part that
    lacks their kinds of masks most (no mask, empty, quarters of the foreground fraction). The same
    seed gives the same answer whatever the order of the samples.

    ``"contiguous"`` keeps the order of the source and cuts it into blocks, train, then validation,
    then test, for series whose neighbours resemble each other. The series is taken as a ring, and
    the seed chooses the group at which the first block starts, so that the block that crosses the
    ring's end is in two pieces.

    ``"given"`` takes the split that the data set ships.

    Args:
        source: what is divided; masks are decoded for ``"random"`` only, images never.
        seed: decides everything that is random.
        fractions: shares of samples for train, validation and test; they sum to 1, and a share of
            0 leaves that split empty.
        strategy: how; the layout's own way where not given.
        folds: number of cross-validation folds, 3 or more, as equal in size as groups permit;
            `fractions` then plays no part. Fold 0 is the test split and fold 1 validates.
        progress: shows how many masks have been read.

    Returns:
        The assignment. A sample that cannot be read is in no split and in its findings.

    Raises:
        SettingsError: an option does not fit.
        SourceError: the source has fewer groups than parts, or ships no split.
    """
    chosen = default_strategy(source) if strategy is None else strategy
    shares = _checked(fractions, chosen, folds, is_asked_for=strategy is not None)
    if folds is not None and chosen == "given":
        chosen = "random"
    if chosen == "given":
        return _given(source)
    kinds = (
        strata_of(source, progress=progress)
        if chosen == "random"
        else Strata({record.id: "" for record in source.records})
    )
    if not kinds.names and kinds.findings:
        # All for one reason, most likely; the first one helps more than a count.
        raise SourceError(kinds.findings[0].message)
    members = _members(source.records, kinds)
    _check_groups(source, members, sum(share > 0 for share in shares), folds)
    rng = np.random.default_rng(seed)
    if chosen == "contiguous":
        parts = _in_blocks(members, shares, rng)
    else:
        parts = _at_random(members, kinds.names, shares, rng)
    numbers = {name: part for group, part in parts.items() for name in members[group]}
    order = [record.id for record in source.records if record.id in numbers]
    if folds is not None:
        by_fold = {name: numbers[name] for name in order}
        return Assignment(splits_of_folds(by_fold, 0, folds), by_fold, kinds.findings)
    return Assignment({name: SPLITS[numbers[name]] for name in order}, None, kinds.findings)


def default_strategy(source: Source) -> Strategy:
    """Give the way in which the source's layout is split unless the user says otherwise."""
    return strategy_of(source.layout)


def _checked(
    fractions: Sequence[float], strategy: Strategy, folds: int | None, *, is_asked_for: bool
) -> tuple[float, ...]:
    """Give the share of each part: of the three splits, or of each fold."""
    if strategy not in _STRATEGIES:
        raise SettingsError(
            expected("`strategy`", f"one of {', '.join(_STRATEGIES)}", repr(strategy), "random")
        )
    if folds is not None:
        if folds < 3:
            raise SettingsError(
                expected(
                    "`folds`", "3 or more (one tests, one validates, the rest train)", folds, "5"
                )
            )
        if strategy == "given" and is_asked_for:
            raise SettingsError(
                expected("`strategy`", "random or contiguous with folds", "given", "random")
            )
        return (1 / folds,) * folds
    shares = tuple(float(share) for share in fractions)
    fits = len(shares) == 3 and all(0 <= share <= 1 for share in shares) and shares[0] > 0
    if not fits or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise SettingsError(
            expected(
                "`fractions`",
                "three shares for train, val and test that sum to 1, with some for train",
                list(fractions),
                "0.7, 0.15, 0.15",
            )
        )
    return shares


def _given(source: Source) -> Assignment:
    splits: dict[str, Split] = {r.id: r.split for r in source.records if r.split in SPLITS}
    if not splits:
        raise SourceError(
            expected(
                f"the source {source.name}",
                "one that ships a split",
                "none",
                "--contiguous or leaving --given out with `penumbra split`, "
                "--set split.strategy=random with `penumbra train`",
            )
        )
    rest = tuple(record.id for record in source.records if record.id not in splits)
    message = f"{len(rest)} samples are in no split of the data set and were left out."
    findings = (Finding("no-split", "warning", rest, message),) if rest else ()
    return Assignment(splits, None, findings)


def _members(records: Iterable[Record], kinds: Strata) -> _Members:
    members: _Members = {}
    for record in records:
        if record.id in kinds.names:
            members.setdefault(record.group, []).append(record.id)
    return members


def _check_groups(source: Source, members: _Members, parts: int, folds: int | None) -> None:
    if len(members) < parts:
        raise SourceError(
            expected(
                f"the source {source.name}",
                f"divisible into {parts} parts, with at least {parts} groups, since a group never "
                "straddles two parts",
                f"{len(members)} with readable samples",
                _fewer_parts(len(members), folds),
            )
        )


def _fewer_parts(groups: int, folds: int | None) -> str:
    """Say how so few groups can be split all the same, in the words of both verbs that split."""
    if folds is not None and groups >= 3:
        return f"more data, or --folds {groups}{' or fewer' if groups > 3 else ''}"
    shares = "0.85,0.15,0" if groups == 2 else "1,0,0"
    unfolded = "no --folds and " if folds is not None else ""
    return (
        f"more data, or fewer parts: {unfolded}--fractions {shares} with `penumbra split`, "
        f"--set split.fractions=[{shares}] with `penumbra train`"
    )


def _in_blocks(
    members: _Members, shares: tuple[float, ...], rng: np.random.Generator
) -> dict[str, int]:
    groups = list(members)
    start = int(rng.integers(len(groups)))
    groups = groups[start:] + groups[:start]
    sizes = np.array([len(members[group]) for group in groups])
    # A group goes where its middle sample falls.
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    parts = np.searchsorted(np.cumsum(shares)[:-1], middles, side="right")
    parts = _none_empty(parts, [part for part, share in enumerate(shares) if share > 0])
    return {group: int(part) for group, part in zip(groups, parts, strict=True)}


def _none_empty(parts: NDArray[np.intp], wanted: list[int]) -> NDArray[np.intp]:
    """Move boundaries just as far as every wanted part needs to own at least one group."""
    last = len(parts) - len(wanted)
    ends: list[int] = []
    for index, part in enumerate(wanted):
        end = int(np.searchsorted(parts, part, side="right"))
        floor = ends[-1] + 1 if ends else 1
        ends.append(min(max(end, floor), last + index + 1))
    ends[-1] = len(parts)
    lengths = np.diff([0, *ends])
    return np.repeat(np.array(wanted, dtype=np.intp), lengths)


def _at_random(
    members: _Members,
    kinds: dict[str, str],
    shares: tuple[float, ...],
    rng: np.random.Generator,
) -> dict[str, int]:
    # Sorted first: the draw must not depend on the order in which samples were listed.
    groups = sorted(members)
    groups = [groups[index] for index in rng.permutation(len(groups))]
    groups.sort(key=lambda group: -len(members[group]))
    columns = {name: index for index, name in enumerate(sorted(set(kinds.values())))}
    counts = np.zeros((len(groups), len(columns)))
    for row, group in enumerate(groups):
        for name, count in Counter(kinds[name] for name in members[group]).items():
            counts[row, columns[name]] = count
    return dict(zip(groups, _greedy(counts, np.array(shares)), strict=True))


def _greedy(counts: NDArray[np.float64], shares: NDArray[np.float64]) -> list[int]:
    """Give each row to the part where it leaves the least squared distance from the wish.

    The distance of a part from its wish is summed over strata, each relative to its size, and over
    the total, so that rare strata count as much as common ones.
    """
    totals = np.column_stack([counts, counts.sum(axis=1, keepdims=True)])
    weights = 1 / np.maximum(totals.sum(axis=0), 1)
    wish = shares[:, None] * totals.sum(axis=0)
    held = np.zeros_like(wish)
    open_parts = shares > 0
    chosen: list[int] = []
    for index, row in enumerate(totals):
        # Relative to its share, a part that lacks most gains most from the row.
        cost = (((held + row - wish) ** 2 - (held - wish) ** 2) * weights).sum(axis=1)
        cost = np.where(open_parts, cost, np.inf)
        empty = open_parts & (held[:, -1] == 0)
        if len(totals) - index <= empty.sum():
            cost = np.where(empty, cost, np.inf)
        part = int(np.argmin(cost))
        held[part] += row
        chosen.append(part)
    return chosen
