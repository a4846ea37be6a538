"""What a search for pairs finds: in one block, and in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.pruning import BINS, Grid, Search

Level = Literal["bytes", "pixels", "near"]
"""How alike a pair is: the same file, the same decoded pixels, or an RMS below the threshold."""

LEVELS: tuple[Level, ...] = get_args(Level)
Key = tuple[str, str]
"""Id and pixel digest of a sample: the same key, the same comparison image."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a scan, sorted by a, then b; always a < b.

    Attributes:
        a: (P,) int64, index of the first sample in the scan.
        b: (P,) int64, index of the second.
        level: (P,) of ``"bytes"``, ``"pixels"``, ``"near"``: the strictest that holds.
        rms: (P,) float32, root mean square difference of the comparison images, 0–255.
        turn: (P,) int8, the turn of b that fits a best; see `comparison.turned`.
        shift: (P, 2) int16, the move (dy, dx) of the turned b on the comparison image that fits a
            best; see `comparison.best_match`.
        counts: (512,) int64, how many of all pairs differ by how much, on thumbnails of `grid` ×
            `grid` block means in whole greys, not turned and not moved.
        search: what counted as near.
        keys: id and pixel digest of each sample of the scan, the digest empty where the image could
            not be read.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    level: NDArray[np.str_]
    rms: NDArray[np.float32]
    turn: NDArray[np.int8]
    shift: NDArray[np.int16]
    counts: NDArray[np.int64]
    search: Search
    keys: tuple[Key, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.a)

    @property
    def threshold(self) -> float:
        """Root mean square differences below this one are near."""
        return self.search.threshold

    @property
    def grid(self) -> Grid:
        """Blocks along a side of the thumbnails that the histogram is of."""
        return self.search.grid

    @property
    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The counts (512,) of the differences of all pairs, and the edges (513,) of their bins."""
        return self.counts, np.linspace(0.0, BINS / 2, BINS + 1)


@dataclass(frozen=True)
class Found:
    """The pairs of one block or of several, and how many of its pairs differ by how much.

    Attributes:
        a: (P,) int64, index of the first sample, below b.
        b: (P,) int64.
        rms: (P,) float64.
        turn: (P,) int8.
        shift: (P, 2) int16.
        counts: (512,) int64.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    rms: NDArray[np.float64]
    turn: NDArray[np.int8]
    shift: NDArray[np.int16]
    counts: NDArray[np.int64]

    @classmethod
    def none(cls) -> Found:
        """Give no pair."""
        index, counts = np.empty(0, np.int64), np.zeros(BINS, np.int64)
        turn, shift = np.empty(0, np.int8), np.empty((0, 2), np.int16)
        return cls(index, index, np.empty(0), turn, shift, counts)

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """Put several together."""
        pairs = {
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(cls)
            if each.name != "counts"
        }
        return cls(**pairs, counts=np.sum([part.counts for part in parts], axis=0))

    def where(self, wanted: NDArray[np.bool_] | NDArray[np.intp]) -> Found:
        """Give some of the pairs, in some order."""
        return Found(
            self.a[wanted],
            self.b[wanted],
            self.rms[wanted],
            self.turn[wanted],
            self.shift[wanted],
            self.counts,
        )
