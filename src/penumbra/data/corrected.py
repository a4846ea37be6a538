"""Masks that stand in for those of the data set: index files beside a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Record
from penumbra.data.source import ReadMask, Source
from penumbra.imaging.files import read_mask_file

_KEY = "corrected_mask"


@dataclass(frozen=True)
class CorrectedMasks:
    """Reads corrected masks where there are some, and the data set's own elsewhere.

    Attributes:
        own: how the data set's own masks are read.
    """

    own: ReadMask

    def __call__(self, record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Decode the mask of `record` to (H, W) class indices."""
        corrected = corrected_mask_of(record)
        return self.own(record, size) if corrected is None else read_mask_file(corrected)


def corrected_mask_of(record: Record) -> Path | None:
    """Give the file of class indices that stands in for a record's mask, if there is one."""
    return record.masks[0] if dict(record.details).get(_KEY) else None


def with_corrected_masks(source: Source, masks: Mapping[str, Path]) -> Source:
    """Give the source with some of its masks replaced.

    Args:
        source: any source.
        masks: sample id → a lossless file whose values are class indices, 255 = ignore.
    """
    if not masks:
        return source
    records = tuple(
        replace(each, masks=(masks[each.id],), details=(*each.details, (_KEY, "yes")))
        if each.id in masks
        else each
        for each in source.records
    )
    return replace(source, records=records, read_mask=CorrectedMasks(source.read_mask))
