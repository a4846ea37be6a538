"""From pairs to groups: samples that are connected belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Linked(Protocol):
    """Anything that holds the two ends of each pair."""

    @property
    def a(self) -> NDArray[np.int64]:
        """Indices of the first samples."""
        ...

    @property
    def b(self) -> NDArray[np.int64]:
        """Indices of the second samples."""
        ...


def groups_of(n: int, pairs: Linked) -> tuple[tuple[int, ...], ...]:
    """Join what pairs connect, by union–find.

    Args:
        n: number of samples.
        pairs: their ends `a` and `b`.

    Returns:
        The groups of two samples and more, each in ascending order, in the order of their first
        samples.
    """
    return connected(n, zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def connected(n: int, links: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Join what links connect; see `groups_of`.

    Examples:
        >>> connected(6, [(4, 1), (1, 5), (2, 3)])
        ((1, 4, 5), (2, 3))
    """
    parent = list(range(n))

    def root(index: int) -> int:
        while parent[index] != index:
            # Halving the path on the way keeps every later walk short.
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(n):
        members[root(index)].append(index)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)
