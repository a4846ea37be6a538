"""One pass over the files of a source: each image and each mask is decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import BLOCK, GRID, Grey
from penumbra.audit.facts import Scanned, from_plain
from penumbra.audit.learn import Learned, learn
from penumbra.audit.state import SHARD, Kept, Place, State
from penumbra.audit.threads import MOST_WORKERS, in_threads
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.errors import SettingsError, SourceError, expected
from penumbra.progress import Progress, silent

_HAND = 8
"""Samples that a thread takes at once."""
_AHEAD = 2 * MOST_WORKERS
"""Hands that are given out and not yet taken back, at the most."""


@dataclass(frozen=True)
class Scan:
    """What one pass over a source learned.

    Attributes:
        source: what was scanned.
        samples: what is known of each sample, in the source's order.
        folder: where the scan's state lies; a temporary folder lives as long as the scan.
    """

    source: Source
    samples: tuple[Scanned, ...]
    folder: Path
    _state: State = field(repr=False)
    _places: NDArray[np.int64] = field(repr=False)
    _held: object = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def readable(self) -> NDArray[np.int64]:
        """The indices of the samples whose images could be decoded."""
        return np.flatnonzero(self._places[:, 0] >= 0)

    @property
    def changed(self) -> tuple[str, ...]:
        """The ids of samples one of whose files changed or went while the scan ran."""
        return tuple(sample.id for sample in self.samples if sample.changed)

    def grey(self, index: int) -> Grey:
        """Give the comparison image (256, 256) of a sample; see `comparison_image`.

        Raises:
            SourceError: its image could not be read.
        """
        shard, row, _ = self._places[index].tolist()
        if shard < 0:
            sample = self.samples[index]
            raise SourceError(
                expected(
                    f"the image of {sample.id!r}",
                    "readable",
                    f"one that is not: {sample.error}",
                    "leaving out the samples whose `error` is set",
                )
            )
        return np.array(self._state.greys(shard)[row])

    def soft_mask(self, index: int) -> NDArray[np.float16] | None:
        """Give the part of foreground (32, 32) in each block; ``None`` where no mask was read."""
        shard, _, soft = self._places[index].tolist()
        return None if soft < 0 else np.array(self._state.softs(shard)[soft])

    def block_sums(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint16]:
        """Give the sums (n, 32, 32) of comparison images over their 8×8 blocks.

        Images that could not be read have 0 everywhere.
        """
        wanted = self._places[np.asarray(indices, dtype=np.int64)]
        sums = np.zeros((len(wanted), GRID, GRID), np.uint16)
        for shard in np.unique(wanted[:, 0]).tolist():
            if shard >= 0:
                here = np.flatnonzero(wanted[:, 0] == shard)
                sums[here] = self._state.sums(shard)[wanted[here, 1]]
        return sums

    def thumbnails(self) -> NDArray[np.float32]:
        """Give the block means (N, 32, 32) of all comparison images, 0–255."""
        sums = self.block_sums(np.arange(len(self)))
        return np.asarray(sums / np.float32(BLOCK * BLOCK), dtype=np.float32)


def scan(
    source: Source,
    *,
    state: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Scan:
    """Read every file of a source once and learn what an audit needs.

    What is learned of a sample is kept in `state` under its id, the path, size and time of change
    of each of its files, and how its layout reads it. A scan that was stopped goes on where it
    was, and one added image costs one image. A file that cannot be read becomes the `error` of its
    sample, and a file that changes meanwhile marks its sample as `changed`; neither stops the scan.

    Args:
        source: what to scan.
        state: a folder that is kept; without one, what is learned goes with the scan.
        workers: threads that decode; as many as there are cores where not given. The result does
            not depend on it.
        progress: is wrapped around the samples that are decoded.

    Raises:
        SettingsError: `workers` is below 1.
        StorageError: the state cannot be written.
    """
    if workers is not None and workers < 1:
        raise SettingsError(expected("`workers`", "at least 1", workers, "leaving it out"))
    held = tempfile.TemporaryDirectory(prefix="penumbra-audit-") if state is None else None
    folder = Path(held.name) if held is not None else Path(state or ".")
    work = _Pass(source, State(folder / "scan"))
    work.run(workers, progress)
    where = np.array([(p.shard, p.row, p.soft) for p in work.places], np.int64).reshape(-1, 3)
    return Scan(source, work.checked(), folder, work.state, where, held)


class _Pass:
    """One pass over the files: what is known of each sample so far, and where it is kept."""

    def __init__(self, source: Source, state: State) -> None:
        self.source = source
        self.state = state
        self.stamps = [_stamps(record) for record in source.records]
        self.keys = [
            _key(source, record, stamps)
            for record, stamps in zip(source.records, self.stamps, strict=True)
        ]
        self.places = [Place()] * len(source)
        self.samples: list[Scanned | None] = [None] * len(source)
        self._batch: list[tuple[int, Learned]] = []
        self._writing: tuple[list[int], Future[list[Place]]] | None = None
        kept = state.read()
        for index, (record, key) in enumerate(zip(source.records, self.keys, strict=True)):
            self._recall(index, record, kept.get(key) if key else None)

    def _recall(self, index: int, record: Record, kept: Kept | None) -> None:
        if kept is None:
            return
        # A line of another version, or one that somebody edited, is as good as none.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self.samples[index] = from_plain(record, kept.plain)
            self.places[index] = kept.place

    def run(self, workers: int | None, progress: Progress) -> None:
        """Decode what is not known yet, and once more what may have been mended meanwhile."""
        todo = [
            index
            for index, sample in enumerate(self.samples)
            if sample is None or sample.mask_fault == "unreadable"
        ]
        with ThreadPoolExecutor(1) as writer:
            try:
                with in_threads(workers) as pool:
                    learned = _ahead(pool, self._learn, todo, _AHEAD)
                    shown = progress(range(len(todo)), total=len(todo), what="scanning")
                    for index, one, _ in zip(todo, learned, shown, strict=True):
                        self._take(index, one, writer)
            finally:
                # Also when stopped: what has been decoded by then need not be decoded again.
                self._keep(writer)
                self._written()

    def _learn(self, index: int) -> Learned:
        record = self.source.records[index]
        learned = learn(self.source, record)
        if _stamps(record) == self.stamps[index]:
            return learned
        return replace(learned, facts=replace(learned.facts, changed=True))

    def _take(self, index: int, learned: Learned, writer: ThreadPoolExecutor) -> None:
        known, self.samples[index] = self.samples[index], learned.facts
        if learned.grey is None:
            self.places[index] = Place()
        elif known != learned.facts:
            self._batch.append((index, learned))
        if len(self._batch) == SHARD:
            self._keep(writer)

    def _keep(self, writer: ThreadPoolExecutor) -> None:
        """Hand the batch to the thread that writes, which has one in hand at the most."""
        # Emptied first: what could not be written is not tried again on the way out.
        ready, self._batch = self._batch, []
        self._written()
        if ready:
            entries = [("" if one.facts.changed else self.keys[index], one) for index, one in ready]
            indices = [index for index, _ in ready]
            self._writing = indices, writer.submit(self.state.append, entries)

    def _written(self) -> None:
        if self._writing is not None:
            (indices, future), self._writing = self._writing, None
            for index, place in zip(indices, future.result(), strict=True):
                self.places[index] = place

    def checked(self) -> tuple[Scanned, ...]:
        """Give all samples; those whose files are no longer what they were are marked."""
        return tuple(
            sample if _stamps(record) == stamps else replace(sample, changed=True)
            for record, stamps, sample in zip(
                self.source.records, self.stamps, self.samples, strict=True
            )
            if sample is not None
        )


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], Learned], todo: Sequence[int], most: int
) -> Iterator[Learned]:
    """Give the results in order, with at most `most` hands begun and not yet taken."""
    waiting: deque[Future[list[Learned]]] = deque()
    try:
        for start in range(0, len(todo), _HAND):
            # A few at a time: waking a thread takes as long as a tenth of an image.
            waiting.append(pool.submit(_each, work, todo[start : start + _HAND]))
            if len(waiting) == most:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _each(work: Callable[[int], Learned], indices: Sequence[int]) -> list[Learned]:
    return [work(index) for index in indices]


_Stamp = tuple[int, int] | None


def _stamps(record: Record) -> list[_Stamp]:
    """Give size and time of change of the image and of each mask file; ``None`` where not there."""
    return [_stamp(record.image), *(_stamp(path) for path in record.masks)]


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _key(source: Source, record: Record, stamps: list[_Stamp]) -> str:
    """Name what would be learned of a record; empty where its image file is not there."""
    if stamps[0] is None:
        return ""
    about = [
        source.layout,
        source.target,
        source.n_classes,
        record.id,
        [_relative(path, source.root) for path in (record.image, *record.masks)],
        stamps,
        record.details,
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def _relative(path: Path, root: Path) -> str:
    # By text, so that a moved source is known again; resolving links would cost more than it tells.
    text, start = str(path), f"{root}{os.sep}"
    return text.removeprefix(start)
