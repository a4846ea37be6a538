"""How long work reports its progress: a function that is wrapped around what is worked on.

The library shows nothing by itself; whoever calls it (the command line, a notebook, a server)
passes what shows progress there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Gives the items unchanged, in order, and shows how many have been taken."""

    def __call__(self, items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
        """Wrap `items`, of which there are `total`; `what` is a word such as ``"reading"``."""
        ...


def silent(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """Give the items and show nothing.

    Examples:
        >>> list(silent("ab", total=2, what="letters"))
        ['a', 'b']
    """
    del total, what
    return items
