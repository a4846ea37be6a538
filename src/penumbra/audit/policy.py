"""A rule instead of a person: what it decides about every group of duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.decisions import Action, Decision
from penumbra.audit.digests import mask_of
from penumbra.audit.placement import Duplicate, lay_over, place_in, places_of
from penumbra.data.sample import IGNORE, Finding, Record
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError, expected

Rule = Literal["keep-first", "majority", "union", "intersection", "staple", "drop-conflicts"]
"""What is done with a group of duplicates."""

RULES: tuple[Rule, ...] = get_args(Rule)
LEVELS = ("bytes", "pixels", "near")
"""How alike duplicates are; each holds those before it."""

_BELOW = 0.7
_ACTIONS: Mapping[str, Action] = {
    "keep-first": "keep-a", "majority": "majority", "union": "union",
    "intersection": "intersection", "staple": "staple",
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """A rule for all groups of duplicates.

    Attributes:
        rule: ``"keep-first"`` keeps the first sample that has a mask, in the source's order.
            ``"majority"``, ``"union"``, ``"intersection"`` and ``"staple"`` make one mask of all.
            ``"drop-conflicts"`` leaves a group out altogether where two of its masks agree less
            than `below`, and otherwise keeps its first sample.
        below: Dice, between 0 and 1, for ``"drop-conflicts"``.
        level: how alike duplicates are that the rule is for; ``"bytes"``, ``"pixels"`` (and equal
            bytes) or ``"near"`` (all).

    Examples:
        >>> Policy.parse("drop-conflicts:0.5")
        Policy(rule='drop-conflicts', below=0.5, level='near')
        >>> str(Policy.parse("union"))
        'union'
    """

    rule: Rule
    below: float = _BELOW
    level: str = "near"

    @classmethod
    def parse(cls, text: str, *, level: str = "near") -> Policy:
        """Read ``RULE`` or ``drop-conflicts:DICE``.

        Raises:
            SettingsError: it is neither, or the level is none.
        """
        name, colon, number = text.partition(":")
        rule = next((rule for rule in RULES if rule == name), None)
        try:
            below = float(number) if colon else _BELOW
        except ValueError:
            below = -1.0
        if rule is None or not 0 <= below <= 1 or (colon and rule != "drop-conflicts"):
            known = f"one of {', '.join(RULES)}, with a Dice for the last (drop-conflicts:0.7)"
            raise SettingsError(expected("the policy", known, repr(text), "union"))
        if level not in LEVELS:
            raise SettingsError(
                expected("the level", f"one of {', '.join(LEVELS)}", repr(level), "near")
            )
        return cls(rule, below, level)

    def __str__(self) -> str:
        return f"{self.rule}:{self.below:g}" if self.rule == "drop-conflicts" else self.rule


def groups_of_duplicates(
    source: Source,
    pairs: Iterable[Duplicate],
    *,
    apart: Iterable[Iterable[str]] = (),
    level: str = "near",
) -> tuple[tuple[str, ...], ...]:
    """Put samples that pairs connect into groups, by union–find.

    Args:
        source: gives the order, within groups and of groups.
        pairs: of duplicates; ids that the source does not have are passed over.
        apart: sets of ids that somebody said are no duplicates of each other.
        level: the least alike that counts.

    Returns:
        Groups of two ids or more.
    """
    counted = LEVELS[: LEVELS.index(level) + 1]
    sets = [frozenset(names) for names in apart]
    parent = {record.id: record.id for record in source.records}

    def top(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        known = pair.a in parent and pair.b in parent and pair.level in counted
        if known and not any({pair.a, pair.b} <= names for names in sets):
            parent[top(pair.a)] = top(pair.b)
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(top(name), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def decide_by_policy(
    source: Source,
    policy: Policy,
    pairs: Sequence[Duplicate],
    *,
    decided: Iterable[Decision] = (),
) -> tuple[tuple[Decision, ...], tuple[Finding, ...]]:
    """Decide about every group of duplicates that nobody decided about.

    A group in which a person decided about any sample is left to the person. So is one that holds,
    by way of a third sample, two that a person called no duplicates.

    Args:
        source: samples with masks.
        policy: the rule.
        pairs: of duplicates.
        decided: decisions that hold.

    Returns:
        The decisions, without digests, since they are made now; and findings about groups that
        were left as they are.
    """
    made = tuple(decided)
    apart = [frozenset(each.samples) for each in made if each.action == "not-a-duplicate"]
    touched = {n for each in made if each.action != "not-a-duplicate" for n in each.samples}
    records = {record.id: record for record in source.records}
    decisions: list[Decision] = []
    findings: list[Finding] = []
    groups = groups_of_duplicates(source, pairs, apart=apart, level=policy.level)
    for names in groups:
        if touched & set(names):
            if not set(names) <= touched:
                findings.append(_left(names, "partly-decided", "was decided about in part"))
        elif any(len(set(names) & both) > 1 for both in apart):
            findings.append(_left(names, "not-a-duplicate", "holds samples said to differ"))
        else:
            try:
                decisions.append(_decide(source, policy, [records[n] for n in names], pairs))
            except (ImageFileError, SourceError) as error:
                findings.append(Finding("unreadable", "error", names, str(error)))
    return tuple(decisions), tuple(findings)


def _left(names: tuple[str, ...], kind: str, why: str) -> Finding:
    message = f"The group of {names[0]} ({len(names)} samples) {why}; the policy leaves it alone."
    return Finding(kind, "warning", names, message)


def _decide(
    source: Source, policy: Policy, records: Sequence[Record], pairs: Sequence[Duplicate]
) -> Decision:
    masks = {each.id: mask_of(source, each) for each in records}
    # What has no mask has no say in what the mask is.
    names = sorted(masks, key=lambda name: masks[name] is None)
    places = places_of(names, pairs)
    action = _ACTIONS.get(policy.rule, "keep-a")
    note = f"policy {policy}"
    if policy.rule == "drop-conflicts":
        first = masks[names[0]]
        size = (0, 0) if first is None else (first.shape[0], first.shape[1])
        laid = [
            lay_over(mask, size, place_in(places, name))
            for name in names
            if (mask := masks[name]) is not None
        ]
        dice = least_dice(laid)
        action = "drop" if dice < policy.below else "keep-a"
        note += f", least Dice {dice:.3f}"
    return Decision(
        id=f"policy-{names[0]}", time="", action=action, samples=tuple(names), digests={},
        note=note, placed=places,
    )  # fmt: skip


def least_dice(masks: Sequence[NDArray[np.uint8]]) -> float:
    """Give the least Dice between any two masks of one size, 1 for a single one or none.

    Of two masks it is the mean over the foreground classes that either holds, 1 where neither holds
    any; pixels that either ignores do not count.

    Examples:
        >>> a, b = np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 1]], np.uint8)
        >>> round(least_dice([a, b]), 3), least_dice([a])
        (0.667, 1.0)
    """
    found = [_dice(a, b) for at, a in enumerate(masks) for b in masks[at + 1 :]]
    return min(found, default=1.0)


def _dice(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    counted = (a != IGNORE) & (b != IGNORE)
    a, b = a[counted], b[counted]
    both = np.bincount(a[a == b], minlength=256)
    either = np.bincount(a, minlength=256) + np.bincount(b, minlength=256)
    held = np.flatnonzero(either[1:]) + 1
    return float(np.mean(2 * both[held] / either[held])) if held.size else 1.0
