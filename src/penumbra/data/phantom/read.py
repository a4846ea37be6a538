"""Read what a phantom set holds beside its masks: the true probability, and the readers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.phantom.write import SETTINGS_FILE
from penumbra.data.sample import Record
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_image, read_mask_file

_LEVELS = 65535


def is_phantom_set(root: Path) -> bool:
    """Say whether a folder is a phantom set."""
    return (root / SETTINGS_FILE).is_file()


def read_truth(root: Path, record: Record) -> NDArray[np.float32] | None:
    """Read the true probability of foreground of one image.

    Args:
        root: the set's folder.
        record: one of its samples.

    Returns:
        (H, W) float32 in [0, 1], or ``None`` where the set has no file for the image.

    Raises:
        ImageFileError: the file cannot be read.
        SourceError: it has not 16 bits.
    """
    path = root / "truth" / f"{record.image.stem}.png"
    if not path.is_file():
        return None
    levels = read_image(path)
    if levels.dtype != np.uint16:
        raise SourceError(
            expected(str(path), "a 16-bit PNG", levels.dtype, "making the phantom set again")
        )
    return np.asarray(levels[..., 0].astype(np.float32) / np.float32(_LEVELS))


def read_readers(root: Path, record: Record) -> NDArray[np.uint8] | None:
    """Read the masks that the simulated readers of one image drew.

    Args:
        root: the set's folder.
        record: one of its samples.

    Returns:
        (R, H, W) uint8 of 0 and 1, or ``None`` where the set has none for the image.

    Raises:
        ImageFileError: a file cannot be read.
    """
    name = re.compile(re.escape(record.image.stem) + r"_r(\d+)\.png")
    folder = root / "readers"
    found = [
        (int(match[1]), path)
        for path in (folder.glob(f"{_escaped(record.image.stem)}_r*.png"))
        if (match := name.fullmatch(path.name))
    ]
    if not found:
        return None
    return np.stack([(read_mask_file(path) > 0).astype(np.uint8) for _, path in sorted(found)])


def _escaped(stem: str) -> str:
    return re.sub(r"([\[\]?*])", r"[\1]", stem)
