"""Data Science Bowl 2018: nuclei, one mask file per nucleus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout, sub_folders
from penumbra.data.layouts.pairs import missing_masks
from penumbra.data.layouts.pixels import read_colour
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_mask_file

_NAME = "dsb2018"


def read_merged(record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Merge the nuclei of one image: 1 wherever any of its mask files is not 0.

    Args:
        record: the sample; `masks` holds one file per nucleus.
        size: (height, width) of its image.

    Returns:
        (H, W) uint8 of 0 and 1, or ``None`` where there is no mask file.

    Raises:
        SourceError: a nucleus is not as large as the image.
    """
    if not record.masks:
        return None
    merged = np.zeros(size, dtype=np.uint8)
    for path in record.masks:
        nucleus = read_mask_file(path)
        if nucleus.shape != size:
            raise SourceError(
                expected(
                    f"the nucleus {path}",
                    f"as large as its image, {size[0]}×{size[1]} (height × width)",
                    f"{nucleus.shape[0]}×{nucleus.shape[1]}",
                    "downloading the sample again, or removing this file",
                )
            )
        np.bitwise_or(merged, nucleus, out=merged)
    return np.asarray(merged != 0, dtype=np.uint8)


def _recognises(root: Path) -> bool:
    first = next((each for each in sub_folders(root) if (each / "images").is_dir()), None)
    # Every sample lies in a folder of its own name, which tells it from train/ and test/ folders.
    return first is not None and any(
        image.stem == first.name for image in image_files(first / "images")
    )


def _record(folder: Path) -> Record | None:
    images = image_files(folder / "images")
    if not images:
        return None
    return Record(
        id=folder.name,
        group=folder.name,
        image=images[0],
        masks=tuple(image_files(folder / "masks")),
    )


def _build(request: Request) -> Source:
    root = request.root
    records = tuple(
        record for folder in sub_folders(root) if (record := _record(folder)) is not None
    )
    if not records:
        raise not_this_layout(
            _NAME, root, "a folder per image with images/ and masks/ inside", "no such folder"
        )
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=("background", "nucleus"),
        read_image=read_colour,
        read_mask=read_merged,
        symmetry="dihedral",
        target=request.target,
        findings=missing_masks(records),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="a folder per image ID, with images/ID.png and one file per nucleus in masks/",
    recognises=_recognises,
    build=_build,
)
