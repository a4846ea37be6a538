"""Things kept for a while under names that cannot be guessed, in bounded memory."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

OFTEN_S = 10.0
"""From one look for what is too old to the next."""


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
        on_end: told the name of whatever is forgotten, for whichever reason.
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
        on_end: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ttl_s = ttl_s
        self.most_bytes = most_bytes
        self.n_bytes = 0
        self._renew = renew
        self._on_end = on_end or (lambda _: None)
        self._clock = clock
        # The first is the one that ends first: every use moves what it prolongs to the end.
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()

    def __len__(self) -> int:
        self.forget_old()
        return len(self._entries)

    def put(self, value: T, *, n_bytes: int, name: str | None = None) -> str | None:
        """Keep something.

        Returns:
            Its name, 22 random characters unless one is given; ``None`` where it is larger than
            everything may be together.
        """
        if n_bytes > self.most_bytes:
            return None
        name = name or secrets.token_urlsafe(16)
        # What it takes the place of goes first, and is not over.
        self._remove(name)
        self._forget(room_for=n_bytes)
        self._entries[name] = _Entry(value, n_bytes, self._clock() + self.ttl_s)
        self.n_bytes += n_bytes
        return name

    def get(self, name: str) -> T | None:
        """Give what is kept under a name, or ``None``."""
        self.forget_old()
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self._renew:
            entry.until = self._clock() + self.ttl_s
            self._entries.move_to_end(name)
        return entry.value

    def drop(self, name: str) -> bool:
        """Forget something now; whether it was there."""
        was_there = self._remove(name)
        if was_there:
            self._on_end(name)
        return was_there

    def forget_old(self) -> None:
        """Forget what is too old; every use does so too, but there may be none for long."""
        self._forget()

    def _remove(self, name: str) -> bool:
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


class Forgets(Protocol):
    """A store that can be told to forget what is too old."""

    def forget_old(self) -> None:
        """Do so."""
        ...


async def forget_on_time(*stores: Forgets, every_s: float = OFTEN_S) -> None:
    """Have stores forget what is too old though nobody uses them; runs until it is cancelled.

    Args:
        stores: which.
        every_s: seconds from one look to the next, which is how late they may be.
    """
    while True:
        await asyncio.sleep(every_s)
        for store in stores:
            store.forget_old()
