"""ISBI 2012 challenge: membranes in serial electron microscopy sections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout
from penumbra.data.layouts.pairs import missing_masks
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.imaging.files import read_mask_file

_NAME = "isbi"


def read_cells(record: Record, _size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Read a label image: 0 = membrane (dark), 1 = cell (above 127)."""
    if not record.masks:
        return None
    return (read_mask_file(record.masks[0]) > 127).astype(np.uint8)


def _recognises(root: Path) -> bool:
    # images/ beside labels/ is what the folder layout looks like too: only the name tells.
    return (
        "isbi" in root.resolve().name.casefold()
        and (root / "images").is_dir()
        and (root / "labels").is_dir()
    )


def _build(request: Request) -> Source:
    root = request.root
    labels = {path.stem: path for path in image_files(root / "labels")}
    records = tuple(
        Record(
            id=image.stem,
            group=image.stem,
            image=image,
            masks=(labels[image.stem],) if image.stem in labels else (),
        )
        for image in image_files(root / "images")
    )
    if not records:
        raise not_this_layout(_NAME, root, "images/ and labels/ with equal names", "no image")
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=("membrane", "cell"),
        read_image=read_grey,
        read_mask=read_cells,
        has_background=False,
        symmetry="dihedral",
        target=request.target,
        findings=missing_masks(records),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="images/N.png and labels/N.png, consecutive sections, 0 = membrane, 255 = cell",
    recognises=_recognises,
    build=_build,
    # Neighbouring sections are nearly the same picture; a random split would leak.
    strategy="contiguous",
)
