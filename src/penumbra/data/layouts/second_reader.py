"""The second reading of the lungs in the set of chest X-rays, where the folder holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.inside import path_inside
from penumbra.data.sample import IGNORE, Record
from penumbra.data.tables import read_table
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_mask_file

FOLDER = "lungs_second_reader"
_UNSURE = 127


def second_lung_reader(root: Path) -> Callable[[Record], NDArray[np.uint8] | None] | None:
    """Open the second reader's masks of the lungs.

    Args:
        root: of a ``covid-cxr`` source.

    Returns:
        From a record to (H, W) uint8 of 0, 1 and 255 (ignore, where the reader was not sure), or
        to ``None`` where this reader did not see the image; ``None`` if there is no such folder.

    Raises:
        SourceError: the table of the masks cannot be read, or, when called, a mask holds other
            values.
    """
    table = root / FOLDER / "index.csv"
    if not table.is_file():
        return None
    masks = {row["filename"]: row["mask"] for row in read_table(table, ("filename", "mask"))}

    def read(record: Record) -> NDArray[np.uint8] | None:
        name = masks.get(record.image.name)
        if not name:
            return None
        path = path_inside(root / FOLDER, name, named_in=table)
        levels = read_mask_file(path)
        mask = np.asarray(levels == 255, dtype=np.uint8)
        mask[levels == _UNSURE] = IGNORE
        if np.isin(levels, (0, _UNSURE, 255)).all():
            return mask
        raise SourceError(
            expected(
                str(path), f"of the values 0, {_UNSURE} and 255", "others", "the original file"
            )
        )

    return read
