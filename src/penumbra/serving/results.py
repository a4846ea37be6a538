"""The files of answers, kept for a while so that a page can load what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from penumbra.errors import expected
from penumbra.serving.kept import Kept

_MIB = 2**20


class Results:
    """The files of answers by request and name, as `Kept` keeps them.

    Args:
        ttl_s: how long files are kept.
        most_bytes: that the files of all answers take together.
        clock: gives seconds that never go back.

    Examples:
        >>> results = Results(ttl_s=60, most_bytes=1000)
        >>> results.put("f3", {"mask.png": b"abc"}), results.get("f3", "mask.png")
        (True, b'abc')
        >>> results.get("f3", "other.png") is None, results.put("f4", {"large.png": bytes(2000)})
        (True, False)
    """

    def __init__(
        self, *, ttl_s: float, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept: Kept[dict[str, bytes]] = Kept(ttl_s=ttl_s, most_bytes=most_bytes, clock=clock)

    @property
    def n_bytes(self) -> int:
        """What all files take."""
        return self._kept.n_bytes

    def put(self, request: str, files: Mapping[str, bytes]) -> bool:
        """Keep the files of a request; later ones of a stream replace its earlier ones.

        Returns:
            Whether they are kept: not where they are larger than all files may be together.
        """
        if not files:
            return True
        size = sum(map(len, files.values()))
        return self._kept.put(dict(files), n_bytes=size, name=request) is not None

    def refusal(self, files: Mapping[str, bytes]) -> str:
        """Say, in a sentence for people, why `put` does not keep these files.

        Examples:
            >>> Results(ttl_s=60, most_bytes=2**20).refusal({"large.png": bytes(3 * 2**20)})
            'Expected the files of an answer to be at most 1.0 MiB together, but got 3.0 MiB. Try fewer outputs, bits=8, a smaller image, or a server with more results_bytes.'
        """  # noqa: E501 - a doctest's line
        size = sum(map(len, files.values())) / _MIB
        return expected(
            "the files of an answer",
            f"at most {self._kept.most_bytes / _MIB:.1f} MiB together",
            f"{size:.1f} MiB",
            "fewer outputs, bits=8, a smaller image, or a server with more results_bytes",
        )

    def forget_old(self) -> None:
        """Forget the files that are too old."""
        self._kept.forget_old()

    def get(self, request: str, name: str) -> bytes | None:
        """Give a file, or ``None`` where there is none any more."""
        return (self._kept.get(request) or {}).get(name)
