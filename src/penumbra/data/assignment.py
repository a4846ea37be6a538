"""Which sample belongs to which split and fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penumbra.data.sample import Finding, Split
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""The three splits, in the order in which fractions are given."""


@dataclass(frozen=True)
class Assignment:
    """The outcome of a split.

    Attributes:
        splits: sample id to ``"train"``, ``"val"`` or ``"test"``.
        folds: sample id to fold number, where folds were asked for; fold 0 is the test split and
            fold 1 the validation split of `splits`.
        findings: what was noticed on the way; samples named in an error are in no split.
    """

    splits: Mapping[str, Split]
    folds: Mapping[str, int] | None = None
    findings: tuple[Finding, ...] = ()

    def ids(self, split: str) -> tuple[str, ...]:
        """Give the ids of one split, in the order of the assignment.

        Raises:
            SourceError: `split` is no split.

        Examples:
            >>> Assignment({"a": "train", "b": "test"}).ids("test")
            ('b',)
        """
        wanted = checked_split(split)
        return tuple(name for name, its in self.splits.items() if its == wanted)

    def for_fold(self, fold: int) -> Assignment:
        """Give the assignment that tests on `fold`, validates on the next, and trains on the rest.

        Raises:
            SourceError: there are no folds, or not this one.

        Examples:
            >>> folds = {"a": 0, "b": 1, "c": 2}
            >>> dict(Assignment({}, folds).for_fold(2).splits)
            {'a': 'val', 'b': 'train', 'c': 'test'}
        """
        count = max(self.folds.values(), default=-1) + 1 if self.folds else 0
        if self.folds is None or not 0 <= fold < count:
            got = f"fold {fold} of {count}" if count else "a split without folds"
            raise SourceError(
                expected(
                    "the fold",
                    "one of the folds of the split",
                    got,
                    "splitting with --folds K, and a fold from 0 to K - 1",
                )
            )
        return Assignment(splits_of_folds(self.folds, fold, count), self.folds, self.findings)


def splits_of_folds(folds: Mapping[str, int], fold: int, count: int) -> dict[str, Split]:
    """Turn folds into splits: `fold` is tested on, the next one validates, the rest trains."""
    roles: dict[int, Split] = {fold: "test", (fold + 1) % count: "val"}
    return {name: roles.get(number, "train") for name, number in folds.items()}


def checked_split(split: str) -> Split:
    """Give `split` back, or raise `SourceError` where it is no split.

    Examples:
        >>> checked_split("val")
        'val'
    """
    for known in SPLITS:
        if split == known:
            return known
    raise SourceError(
        expected("the split", f"one of {', '.join(SPLITS)}", repr(split), "--split test")
    )


def select(source: Source, assignment: Assignment, split: str) -> Source:
    """Give the samples of `source` that are in `split`, in the order of the source.

    Raises:
        SourceError: `split` is no split.
    """
    wanted = set(assignment.ids(split))
    return source.subset(
        [index for index, record in enumerate(source.records) if record.id in wanted]
    )
