"""Where a study keeps what, and what a piece of work is made of."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.storage import json_ready
from penumbra.studies.experiment import StudyExperiment

CLEAN = "clean"


@dataclass(frozen=True)
class Network:
    """One trained network of a study.

    Attributes:
        set: name of its set.
        kind: of its kind.
        seed: or fold.
    """

    set: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        """The run folder's name."""
        return f"{self.kind}-{self.seed}"


@dataclass(frozen=True)
class Cell:
    """One row on one set, with one seed, on clean or shifted images.

    Attributes:
        set: name of the set.
        row: name of the row.
        seed: of the network; of an ensemble, of its first member.
        shift: ``clean``, or ``kind-severity``.
    """

    set: str
    row: str
    seed: int
    shift: str = CLEAN

    def __str__(self) -> str:
        """Write it as tables and messages do."""
        return f"{self.set}/{self.row}/{self.seed}/{self.shift}"


@dataclass(frozen=True)
class Study:
    """A study with its folders.

    Attributes:
        experiment: what is asked for.
        out: everything that is made lies here.
        data: where the paths of the sets begin.
    """

    experiment: StudyExperiment
    out: Path
    data: Path

    def manifest(self, set_name: str) -> Path:
        """Which sample of a set is in which split."""
        return self.out / "manifests" / f"{set_name}.csv"

    def run(self, network: Network) -> Path:
        """The run folder of a network."""
        return self.out / "runs" / network.set / network.name

    def calibration(self, network: Network, choice: str) -> Path:
        """The calibration of a network under a choice."""
        return self.out / "calibrations" / network.set / network.name / f"{choice}.json"

    def cell(self, cell: Cell) -> Path:
        """The result of a cell."""
        return self.out / "cells" / cell.set / cell.row / f"{cell.seed}-{cell.shift}.json"


def fingerprint(value: Any) -> str:
    """Hash plain values to 16 hexadecimal digits; equal values give equal ones.

    Examples:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(json_ready(value), sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def digest(path: Path) -> str:
    """Hash a file's bytes to 16 hexadecimal digits."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
