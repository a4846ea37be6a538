"""Things kept for a while under names that cannot be guessed, in bounded memory."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Entry(Generic[T]):
    value: T
    n_bytes: int
    until: float


class Kept(Generic[T]):
    """A store that forgets: what is too old, and the oldest where it would grow too large.

    Args:
        ttl_s: how long something is kept.
        most_bytes: that everything takes together.
        renew: whether a use prolongs the time.
        clock: gives seconds that never go back.

    Examples:
        >>> seconds = [0.0]
        >>> store = Kept(ttl_s=10, most_bytes=100, clock=lambda: seconds[0])
        >>> name = store.put("a", n_bytes=60)
        >>> store.get(name), store.n_bytes
        ('a', 60)
        >>> seconds[0] = 11.0
        >>> store.get(name) is None, store.n_bytes
        (True, 0)
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        most_bytes: int,
        renew: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ttl_s = ttl_s
        self.most_bytes = most_bytes
        self.n_bytes = 0
        self._renew = renew
        self._clock = clock
        # The first is the one that ends first: every use moves what it prolongs to the end.
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()

    def __len__(self) -> int:
        self._forget()
        return len(self._entries)

    def put(self, value: T, *, n_bytes: int, name: str | None = None) -> str | None:
        """Keep something.

        Returns:
            Its name, 22 random characters unless one is given; ``None`` where it is larger than
            everything may be together.
        """
        if n_bytes > self.most_bytes:
            return None
        self._forget(room_for=n_bytes)
        name = name or secrets.token_urlsafe(16)
        self.drop(name)
        self._entries[name] = _Entry(value, n_bytes, self._clock() + self.ttl_s)
        self.n_bytes += n_bytes
        return name

    def get(self, name: str) -> T | None:
        """Give what is kept under a name, or ``None``."""
        self._forget()
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self._renew:
            entry.until = self._clock() + self.ttl_s
            self._entries.move_to_end(name)
        return entry.value

    def drop(self, name: str) -> bool:
        """Forget something now; whether it was there."""
        entry = self._entries.pop(name, None)
        self.n_bytes -= entry.n_bytes if entry else 0
        return entry is not None

    def _forget(self, *, room_for: int = 0) -> None:
        now = self._clock()
        while self._entries:
            name, first = next(iter(self._entries.items()))
            if first.until > now and self.n_bytes + room_for <= self.most_bytes:
                return
            self.drop(name)
