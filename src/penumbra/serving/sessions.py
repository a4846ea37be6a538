"""Sessions: images that were embedded once, for any number of prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penumbra.serving.kept import Kept


@dataclass(frozen=True)
class Session:
    """An image that prompts are asked on.

    Attributes:
        model: name of the promptable model.
        upload: the image file as it was sent; a worker that lost the embedding makes it anew.
        size: (H, W).
        holder: whose key opened it, so that nobody else uses it; ``None`` without keys.
    """

    model: str
    upload: bytes = field(repr=False)
    size: tuple[int, int]
    holder: str | None = None


class Sessions:
    """Open sessions; every prompt prolongs the time of its own.

    Args:
        ttl_s: how long a session lives after its last prompt.
        most_bytes: that the images of all sessions take together.
        on_end: told the name of every session that is over: closed, too old, or crowded out.
        clock: gives seconds that never go back.

    Examples:
        >>> sessions = Sessions(ttl_s=60, most_bytes=1000)
        >>> sessions.open("a", Session("sam", b"png", (4, 6)))
        True
        >>> sessions.get("a", None).size, sessions.get("a", "key-2") is None
        ((4, 6), True)
        >>> sessions.close("a", None), sessions.close("a", None)
        (True, False)
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        most_bytes: int,
        on_end: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ttl_s = ttl_s
        self._on_end = on_end or (lambda _: None)
        self._kept: Kept[Session] = Kept(
            ttl_s=ttl_s, most_bytes=most_bytes, renew=True, on_end=on_end, clock=clock
        )

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """What all images take."""
        return self._kept.n_bytes

    def open(self, name: str, session: Session) -> bool:
        """Keep a session; the one that was used longest ago gives way.

        Returns:
            Whether it is kept: not where its image is larger than all may be together.
        """
        if self._kept.put(session, n_bytes=len(session.upload), name=name) is None:
            self._on_end(name)
            return False
        return True

    def get(self, name: str, holder: str | None) -> Session | None:
        """Give a session of this holder, or ``None`` where there is none any more."""
        session = self._kept.get(name)
        return session if session is not None and session.holder == holder else None

    def close(self, name: str, holder: str | None) -> bool:
        """End a session; whether there was one."""
        return self.get(name, holder) is not None and self._kept.drop(name)

    def forget_old(self) -> None:
        """End the sessions whose time is over."""
        self._kept.forget_old()
