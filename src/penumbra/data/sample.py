"""One image with what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""Mask value of pixels that no loss and no metric counts."""

Split = Literal["train", "val", "test"]
"""The three parts of a split source."""


@dataclass(frozen=True)
class Record:
    """Where a sample lies on disk; light enough to hold for millions of samples.

    Attributes:
        id: unique in its source; safe as a file stem.
        group: what must not straddle a split (patient, subject, document); the id where unknown.
        image: the image file.
        masks: the files the mask is made of; empty where there is none.
        split: the split the data set itself ships, if any.
        spacing: millimetres per pixel (row, column), where known.
        details: whatever else the layout needs to build the mask, as plain values.
    """

    id: str
    group: str
    image: Path
    masks: tuple[Path, ...] = ()
    split: Split | None = None
    spacing: tuple[float, float] | None = None
    details: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class Sample:
    """A decoded sample.

    Attributes:
        id: unique in its source.
        image: (H, W, C), uint8, uint16 or float32, C = 1 or 3.
        mask: (H, W) uint8 class indices, 0 = background, 255 = ignore; ``None`` where unknown.
        group: what must not straddle a split.
        boxes: (N, 4) float32 xyxy in pixels, or ``None``.
        spacing: millimetres per pixel (row, column), or ``None``.
    """

    id: str
    image: NDArray[np.generic]
    mask: NDArray[np.uint8] | None
    group: str
    boxes: NDArray[np.float32] | None = None
    spacing: tuple[float, float] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed about the data and does not stop the work.

    Attributes:
        kind: a short, stable name such as ``"unreadable"`` or ``"missing-mask"``.
        severity: ``"error"``, ``"warning"`` or ``"note"``.
        samples: ids (or file names) it is about.
        message: a sentence for a person.
        details: figures and names behind the message, as plain JSON values; may be empty.
    """

    kind: str
    severity: str
    samples: tuple[str, ...]
    message: str
    # Left out of the hash, since a mapping has none; two findings still differ by it.
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, object]:
        """Give the finding as plain values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "samples": list(self.samples),
            "message": self.message,
            "details": dict(self.details),
        }
