"""The blocks of one search: which images are compared with which, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.block_means import multiplier
from penumbra.audit.comparison import Grey, best_match
from penumbra.audit.found import Found, Key, Pairs
from penumbra.audit.kept_pairs import KeptPairs
from penumbra.audit.pruning import BINS, Columns, Rows, Search, candidates, rows_of
from penumbra.audit.scan import Scan
from penumbra.progress import Progress


def keys_of(scan: Scan) -> tuple[Key, ...]:
    """Give id and pixel digest of each sample; the digest is empty where it could not be read."""
    return tuple((sample.id, sample.pixel_digest) for sample in scan.samples)


def readable(keys: Iterable[Key]) -> dict[Key, None]:
    """Give the keys of images that could be read, in their order, as an ordered set."""
    return dict.fromkeys(key for key in keys if key[1])


class Blockwise:
    """A search over all pairs of a scan, less those that are known.

    Known images come first and the others after them; every row of blocks compares `block` of the
    others with all that come before, and with each other. So each pair is looked at once.

    Args:
        scan: the images.
        search: what counts as near.
        known: the pairs of some of the images, by an equal search; or ``None``.
        block: images per block.
    """

    def __init__(self, scan: Scan, search: Search, known: Pairs | None, block: int) -> None:
        self._scan = scan
        self._search = search
        self._known = known
        self._block = block
        index_of = {key: index for index, key in enumerate(keys_of(scan))}
        old = readable(known.keys) if known is not None else {}
        order = [*old, *(key for key in readable(index_of) if key not in old)]
        self._start = len(old)
        self._keys = order
        self._order = np.array([index_of[key] for key in order], dtype=np.int64)
        digests = np.array([sample.pixel_digest for sample in scan.samples], dtype=np.str_)
        # Equal numbers for equal pixels, which need not be compared.
        self._codes = np.unique(digests, return_inverse=True)[1].astype(np.int64)
        self._columns: dict[int, Columns] = {}
        self._multiply = multiplier(len(order))

    def run(self, kept: KeptPairs, progress: Progress) -> Pairs:
        """Do what is not done yet, and put it together with what is."""
        rows = kept.rows(self._search, self._keys, self._start, self._block)
        starts = range(self._start, len(self._order), self._block)
        done = {start: found for start in starts if (found := rows.read(start)) is not None}
        cells = [
            (start, column)
            for start in starts
            if start not in done
            for column in self._columns_before(start)
        ]
        row: Rows | None = None
        parts: list[Found] = []
        for start, column in progress(cells, total=len(cells), what="comparing"):
            if row is None:
                row = rows_of(self._scan, self._indices(start, len(self._order)), self._search)
            parts.append(self._cell(row, start, column))
            if column == start:  # the last block of a row is that of the row with itself
                done[start] = Found.joined(parts)
                rows.write(start, done[start])
                row, parts = None, []
        pairs = self._pairs(Found.joined([self._found_before(), *done.values()]))
        rows.drop()
        return pairs

    def _columns_before(self, start: int) -> Iterator[int]:
        yield from range(0, self._start, self._block)
        yield from range(self._start, start + 1, self._block)

    def _indices(self, start: int, end: int) -> NDArray[np.int64]:
        return self._order[start : min(start + self._block, end)]

    def _cell(self, row: Rows, start: int, column: int) -> Found:
        # Blocks of known images end where those begin that are not.
        end = self._start if column < self._start else len(self._order)
        indices = self._indices(column, end)
        if column not in self._columns:
            self._columns[column] = Columns(self._scan, indices)
        columns = self._columns[column]
        counts = np.zeros(BINS, np.int64)
        i, j = candidates(
            row, columns, self._search, self._multiply, below=column == start, counts=counts
        )
        columns.forget()
        return self._compared(self._indices(start, len(self._order))[i], indices[j], counts)

    def _compared(
        self, one: NDArray[np.int64], other: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> Found:
        """Compare candidates in full; those that are near remain."""
        a, b = np.minimum(one, other), np.maximum(one, other)
        in_order = np.lexsort((b, a))
        a, b = a[in_order], b[in_order]
        same = self._codes[a] == self._codes[b]
        rms = np.zeros(len(a))
        turn, shift = np.zeros(len(a), np.int8), np.zeros((len(a), 2), np.int16)
        first: tuple[int, Grey] | None = None
        for at in np.flatnonzero(~same).tolist():
            if first is None or first[0] != a[at]:
                first = int(a[at]), self._scan.grey(int(a[at]))
            rms[at], turn[at], shift[at] = self._match(first[1], self._scan.grey(int(b[at])))
        near = same | (rms < self._search.threshold)
        return Found(a, b, rms, turn, shift, counts).where(near)

    def _match(self, a: Grey, b: Grey) -> tuple[float, int, tuple[int, int]]:
        return best_match(a, b, turns=self._search.turns, shifts=self._search.shifts)

    def _found_before(self) -> Found:
        """Give the known pairs as pairs of this scan, where a sample may have another index."""
        known = self._known
        if known is None:
            return Found.none()
        index_of = dict(zip(keys_of(self._scan), range(len(self._scan)), strict=True))
        now = np.array([index_of.get(key, -1) for key in known.keys], dtype=np.int64)
        one, other = now[known.a], now[known.b]
        found = Found(
            np.minimum(one, other),
            np.maximum(one, other),
            known.rms.astype(np.float64),
            known.turn.copy(),
            known.shift.copy(),
            known.counts,
        )
        moved = (known.turn != 0) | known.shift.any(axis=1)
        # Turn and move are those of the second sample, and now the other one is the second.
        for at in np.flatnonzero(moved & (one > other)).tolist():
            match = self._match(*(self._scan.grey(int(end[at])) for end in (found.a, found.b)))
            found.rms[at], found.turn[at], found.shift[at] = match
        return found

    def _pairs(self, found: Found) -> Pairs:
        found = found.where(np.lexsort((found.b, found.a)))
        files = np.array([sample.file_digest for sample in self._scan.samples], dtype=np.str_)
        same = self._codes[found.a] == self._codes[found.b]
        level = np.where(same, "pixels", "near")
        level[files[found.a] == files[found.b]] = "bytes"
        return Pairs(
            a=found.a,
            b=found.b,
            level=level,
            rms=found.rms.astype(np.float32),
            turn=found.turn,
            shift=found.shift,
            counts=found.counts,
            search=self._search,
            keys=keys_of(self._scan),
        )
