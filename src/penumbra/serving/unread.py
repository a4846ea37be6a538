"""What was said and nobody has read yet: a slow reader must not make it pile up."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import NamedTuple

from penumbra.serving.messages import Answer, Failed


class Said(NamedTuple):
    """A message, and its place among those of its job.

    Attributes:
        number: from 1; one that was superseded unread counts too.
        message: what was said.
    """

    number: int
    message: Answer | Failed


def is_last(message: Answer | Failed) -> bool:
    """Tell whether nothing follows for a job."""
    return isinstance(message, Failed) or message.last


class Unread:
    """Messages in the order in which they came: of each job the latest estimate and the last word.

    An estimate carries all its files, and a newer one says the same better. So one that is unread
    gives way to the next of its job, whereas the last message of a job is always kept.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, bool], Said] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._closed = False
        self._stirred = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, message: Answer | Failed) -> None:
        """Take a message in; never waits."""
        self._counts[message.id] += 1
        place = (message.id, is_last(message))
        self._held.pop(place, None)
        self._held[place] = Said(self._counts[message.id], message)
        self._stirred.set()

    def close(self) -> None:
        """Note that nothing follows."""
        self._closed = True
        self._stirred.set()

    async def get(self) -> Said | None:
        """Wait for a message; ``None`` once it is closed and all is read."""
        while not self._held:
            if self._closed:
                return None
            self._stirred.clear()
            await self._stirred.wait()
        return self._held.popitem(last=False)[1]
