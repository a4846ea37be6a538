"""What a scan keeps on disk: shards that are only ever added, so that it can stop and go on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import GRID, SIDE, VERSION, Grey
from penumbra.audit.facts import to_plain
from penumbra.audit.learn import Learned
from penumbra.storage import atomic_path, write_text

SHARD = 256
"""Samples per shard: 16 MiB of comparison images, and the most that a killed scan loses."""

_FORM = 2
_GREY, _SUMS, _SOFT = (SIDE, SIDE), (GRID, GRID), (GRID, GRID)


@dataclass(frozen=True)
class Place:
    """Where the arrays of a sample lie: in which shard, and in which rows of it; -1 is nowhere."""

    shard: int = -1
    row: int = -1
    soft: int = -1


@dataclass(frozen=True)
class Kept:
    """What a shard holds of one sample: its place, and its facts as plain values."""

    place: Place
    plain: dict[str, Any]


class State:
    """The shards in one folder.

    A shard is a file of facts, ``shard-NUMBER-TOKEN.jsonl``, beside three raw arrays: ``.grey``
    (n, 256, 256) uint8, ``.sums`` (n, 32, 32) little-endian uint16 and ``.soft`` (m, 32, 32)
    little-endian float16. The facts are written last, so that a shard is whole or is not there; a
    damaged or older one is passed over, and its samples are learned again.

    Args:
        folder: of the shards; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stems: list[Path] = []
        self._sizes: list[tuple[int, int]] = []
        self._open: dict[tuple[int, str], NDArray[Any]] = {}

    def read(self) -> dict[str, Kept]:
        """Read the facts of all shards, by the key of the sample; of equal keys the last counts."""
        found: dict[str, Kept] = {}
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("shard-*.jsonl")):
                found.update(self._read_shard(path))
        return found

    def _read_shard(self, path: Path) -> Iterator[tuple[str, Kept]]:
        stem = path.with_suffix("")
        try:
            head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            if (head["form"], head["version"]) != (_FORM, VERSION):
                return
            rows, softs = int(head["rows"]), int(head["soft"])
            whole = len(lines) == rows and all(
                stem.with_suffix(suffix).stat().st_size == size
                for suffix, size in _bytes(rows, softs).items()
            )
            kept = [
                (str(line["key"]), int(line["soft"]), dict(line["facts"])) for line in lines
            ] * whole
        except (OSError, ValueError, KeyError, TypeError):
            return
        shard = self._enter(stem, rows, softs)
        for row, (key, soft, plain) in enumerate(kept):
            if key and soft < softs:
                yield key, Kept(Place(shard, row, soft), plain)

    def _enter(self, stem: Path, rows: int, softs: int) -> int:
        self._stems.append(stem)
        self._sizes.append((rows, softs))
        return len(self._stems) - 1

    def append(self, batch: Sequence[tuple[str, Learned]]) -> list[Place]:
        """Write a shard.

        Args:
            batch: the key of each sample, and what was learned of it, its image included; what
                has an empty key is kept for this scan alone.

        Returns:
            The place of each.

        Raises:
            StorageError: the shard cannot be written.
        """
        stem = self.folder / f"shard-{len(self._stems):05d}-{secrets.token_hex(4)}"
        softs = [learned.soft for _, learned in batch if learned.soft is not None]
        _write(stem.with_suffix(".grey"), (_there(learned.grey) for _, learned in batch), "u1")
        _write(stem.with_suffix(".sums"), (_there(learned.sums) for _, learned in batch), "<u2")
        _write(stem.with_suffix(".soft"), softs, "<f2")
        shard = self._enter(stem, len(batch), len(softs))
        head = {"form": _FORM, "version": VERSION, "rows": len(batch), "soft": len(softs)}
        lines, places, soft = [json.dumps(head)], [], 0
        for row, (key, learned) in enumerate(batch):
            has = learned.soft is not None
            places.append(Place(shard, row, soft if has else -1))
            facts = {**to_plain(learned.facts), "changed": False}
            lines.append(json.dumps({"key": key, "soft": soft if has else -1, "facts": facts}))
            soft += has
        write_text(stem.with_suffix(".jsonl"), "\n".join(lines) + "\n")
        return places

    def greys(self, shard: int) -> NDArray[np.uint8]:
        """Map the (n, 256, 256) comparison images of a shard."""
        return self._map(shard, ".grey", "u1", (self._sizes[shard][0], *_GREY))

    def sums(self, shard: int) -> NDArray[np.uint16]:
        """Map the (n, 32, 32) block sums of a shard."""
        return self._map(shard, ".sums", "<u2", (self._sizes[shard][0], *_SUMS))

    def softs(self, shard: int) -> NDArray[np.float16]:
        """Map the (m, 32, 32) soft masks of a shard."""
        return self._map(shard, ".soft", "<f2", (self._sizes[shard][1], *_SOFT))

    def _map(self, shard: int, suffix: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if (shard, suffix) not in self._open:
            path = self._stems[shard].with_suffix(suffix)
            self._open[shard, suffix] = np.memmap(path, dtype=dtype, mode="r", shape=shape)
        return self._open[shard, suffix]


def _write(path: Path, arrays: Iterable[NDArray[Any]], dtype: str) -> None:
    # One by one: stacking a shard first would take longer than writing it.
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        for array in arrays:
            handle.write(np.ascontiguousarray(array, dtype=dtype).data)


def _bytes(rows: int, softs: int) -> dict[str, int]:
    return {
        ".grey": rows * int(np.prod(_GREY)),
        ".sums": 2 * rows * int(np.prod(_SUMS)),
        ".soft": 2 * softs * int(np.prod(_SOFT)),
    }


def _there(array: Grey | NDArray[np.uint16] | None) -> NDArray[Any]:
    if array is None:
        message = "a sample without a comparison image has no place in a shard"
        raise ValueError(message)
    return array
