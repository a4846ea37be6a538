"""The nerve challenge's own table of masks: run lengths, where mask files are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Record
from penumbra.data.submission import COLUMNS, mask_of_runs
from penumbra.data.tables import read_table
from penumbra.errors import SourceError, expected

TABLE = "train_masks.csv"
"""The table, with the columns `subject`, `img` and `pixels`."""

_KEY = "runs"


@dataclass(frozen=True)
class MaskTable:
    """What the table says.

    Attributes:
        path: the file, or ``None`` where there is none.
        runs: frame name ``SUBJECT_FRAME`` to run lengths.
        repeated: frames with several rows, whose masks are unknown.
    """

    path: Path | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """The highest position that any run reaches: a frame has that many pixels or more."""
        return max((_last(text) for text in self.runs.values()), default=0)

    def findings(self, frames: set[str]) -> tuple[Finding, ...]:
        """Tell which rows have no frame, and which frames have several rows."""
        told = (
            ("orphan-mask", tuple(sorted(self.runs.keys() - frames)), "rows have no frame"),
            ("repeated-mask", self.repeated, "frames have several rows and are left bare"),
        )
        return tuple(
            Finding(kind, "warning", names, f"{len(names)} {what} in {TABLE}: {some(names)}.")
            for kind, names, what in told
            if names
        )


def _last(text: str) -> int:
    words = text.split()[-2:]
    # What is no number is told when the mask is asked for.
    return sum(map(int, words)) - 1 if len(words) == 2 and all(map(_is_number, words)) else 0


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 10


def mask_table(root: Path) -> MaskTable:
    """Read the table in a folder or in its ``train/``; an empty one where there is none.

    Raises:
        SourceError: the table cannot be read or lacks a column.
    """
    path = next((p for p in (root / TABLE, root / "train" / TABLE) if p.is_file()), None)
    if path is None:
        return MaskTable()
    runs: dict[str, str] = {}
    repeated: dict[str, None] = {}
    for row in read_table(path, ("subject", *COLUMNS)):
        frame = f"{row['subject'].strip()}_{row['img'].strip()}"
        if frame in runs:
            repeated[frame] = None
        runs[frame] = row["pixels"].strip()
    for frame in repeated:
        del runs[frame]
    return MaskTable(path, runs, tuple(repeated))


def runs_as_detail(runs: str) -> tuple[str, str]:
    """Write run lengths as a detail of a record."""
    return _KEY, runs


def mask_from_table(
    record: Record, size: tuple[int, int], *, pixels: int
) -> NDArray[np.uint8] | None:
    """Decode the run lengths of a record; ``None`` where it has none.

    Args:
        record: the sample.
        size: (H, W) of its frame.
        pixels: the highest position in the whole table. Frames of fewer pixels are smaller copies,
            for which every row is wrong, also one that happens to fit.

    Raises:
        SourceError: the frame is a smaller copy, or its row makes no sense.
    """
    runs = dict(record.details).get(_KEY)
    if runs is None:
        return None
    if size[0] * size[1] < pixels:
        raise SourceError(
            expected(
                f"the frame {record.image}",
                f"at least {pixels:,} pixels large, as {TABLE} has it",
                f"{size[0]}×{size[1]} (height × width)",
                "the original frame of 420×580, or mask files of the frames' size",
            )
        )
    return mask_of_runs(runs, size, told=f"{record.id} in {record.masks[0]}")
