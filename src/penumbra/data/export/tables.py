"""CSV tables that grow by a row per sample."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


class Table:
    """A CSV file (UTF-8, commas, Unix line ends) that is written row by row.

    Args:
        path: the file; its folder is made.
        columns: the head line.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._handle, lineterminator="\n")
        self._writer.writerow(columns)

    def row(self, cells: Iterable[object]) -> None:
        """Add a row; ``None`` becomes an empty cell."""
        self._writer.writerow(["" if cell is None else cell for cell in cells])

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._handle.close()
