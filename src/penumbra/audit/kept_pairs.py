"""Pairs on disk: those of a finished search, and those of the rows of one that was stopped."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.comparison import VERSION
from penumbra.audit.found import Found, Key, Pairs
from penumbra.audit.pruning import Search
from penumbra.storage import write_bytes

_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


class KeptPairs:
    """A folder of pairs.

    Args:
        folder: made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, search: Search) -> Pairs | None:
        """Read the pairs of the last finished search like this one; ``None`` if there is none."""
        try:
            held = _load(self._file(search))
            keys = json.loads(held.pop("keys").tobytes())
            return Pairs(search=search, keys=tuple((str(i), str(d)) for i, d in keys), **held)
        except _DAMAGE:
            return None

    def write(self, pairs: Pairs) -> None:
        """Keep the pairs of a finished search.

        Raises:
            StorageError: the file cannot be written.
        """
        keys = np.frombuffer(json.dumps(pairs.keys).encode(), dtype=np.uint8)
        arrays = {
            each.name: getattr(pairs, each.name)
            for each in fields(pairs)
            if each.name not in {"keys", "search"}
        }
        _save(self._file(pairs.search), {**arrays, "keys": keys})

    def rows(self, search: Search, order: Sequence[Key], start: int, block: int) -> KeptRows:
        """Give the rows of one search; a search over other images, or in other blocks, has others.

        Args:
            search: what counts as near.
            order: the keys of all images in the order of the blocks.
            start: how many of them need not be compared with each other.
            block: images per block.
        """
        about = json.dumps([VERSION, asdict(search), order, start, block])
        name = hashlib.sha256(about.encode()).hexdigest()[:16]
        return KeptRows(self.folder / f"rows-{name}")

    def _file(self, search: Search) -> Path:
        about = json.dumps([VERSION, asdict(search)])
        return self.folder / f"pairs-{hashlib.sha256(about.encode()).hexdigest()[:16]}.npz"


class KeptRows:
    """The finished rows of blocks of one search, a file each.

    Args:
        folder: made when the first row is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, start: int) -> Found | None:
        """Read the row that begins at `start`; ``None`` where it is not there or not whole."""
        try:
            return Found(**_load(self._file(start)))
        except _DAMAGE:
            return None

    def write(self, start: int, found: Found) -> None:
        """Keep a row.

        Raises:
            StorageError: the file cannot be written.
        """
        _save(self._file(start), vars(found))

    def drop(self) -> None:
        """Remove all rows, which are of no use once the search is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:09d}.npz"


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as held:
        return dict(held)


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())
