"""Chest X-rays of COVID-19 and other pneumonias: each structure in a cropped file of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout, unique_ids
from penumbra.data.layouts.inside import path_inside
from penumbra.data.layouts.pairs import missing_masks, some
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.data.tables import read_table, whole_number
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_image

_NAME = "covid-cxr"
_TABLE = "structure.csv"
_COLUMNS = ("Filename", "Template Name", "Mask", "Resolution", "Top", "Left")
_STRUCTURES = {
    "infection": ("Ground Glass Opacities", "Consolidation"),
    "lungs": ("Left Lung", "Right Lung"),
}
_Rows = dict[str, list[dict[str, str]]]


def read_structures(record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Paste each cropped structure at its place: 1 inside any of them.

    Args:
        record: `masks` holds one RGBA file per structure and `details` its place; a record whose
            only mask file is the table was annotated and shows none of the structures.
        size: (height, width) of the image.

    Returns:
        (H, W) uint8 of 0 and 1, or ``None`` where the image was not annotated.

    Raises:
        SourceError: the image is not as large as when it was annotated.
    """
    if not record.masks:
        return None
    mask = np.zeros(size, dtype=np.uint8)
    for path, (resolution, place) in zip(record.masks, record.details, strict=False):
        if resolution != f"{size[1]}x{size[0]}":
            raise SourceError(
                expected(
                    f"the image {record.image}",
                    f"as large as when it was annotated, {resolution} (width × height)",
                    f"{size[1]}x{size[0]}",
                    "the original image",
                )
            )
        left, top = (int(number) for number in place.split(","))
        # The files are opaque everywhere: a structure is coloured on black, not cut out by alpha.
        _paste(mask, read_image(path).max(axis=-1) > 0, left, top)
    return mask


def _paste(mask: NDArray[np.uint8], piece: NDArray[np.bool_], left: int, top: int) -> None:
    """Set 1 where `piece` is true, in place; what lies beyond the edges is cut off."""
    piece = piece[max(0, -top) :, max(0, -left) :]
    window = mask[max(0, top) :, max(0, left) :]
    window = window[: piece.shape[0], : piece.shape[1]]
    window |= piece[: window.shape[0], : window.shape[1]]


def _recognises(root: Path) -> bool:
    return (root / _TABLE).is_file() and (root / "images").is_dir()


def _structures(root: Path) -> _Rows:
    table = root / _TABLE
    rows: _Rows = defaultdict(list)
    for row in read_table(table, _COLUMNS):
        rows[row["Filename"]].append(row)
    return rows


def _patients(root: Path) -> dict[str, str]:
    table = root / "metadata.csv"
    if not table.is_file():
        return {}
    rows = read_table(table, ("filename", "patientid"))
    return {row["filename"]: row["patientid"] for row in rows if row["patientid"]}


def _record(root: Path, name: str, image: Path, rows: list[dict[str, str]], target: str) -> Record:
    table = root / _TABLE
    wanted = [row for row in rows if row["Template Name"] in _STRUCTURES[target] and row["Mask"]]
    masks = tuple(path_inside(root, row["Mask"], named_in=table) for row in wanted)
    # No infection is an answer of the reader; a chest without its two lungs is an omission.
    if target == "infection" and rows and not masks:
        masks = (table,)
    if target == "lungs" and len({row["Template Name"] for row in wanted}) < 2:
        masks, wanted = (), []
    places = (
        (
            row["Resolution"],
            f"{whole_number(table, row, 'Left')},{whole_number(table, row, 'Top')}",
        )
        for row in wanted
    )
    return Record(id=name, group=name, image=image, masks=masks, details=tuple(places))


def _half_annotated(records: Iterable[Record], rows: _Rows) -> tuple[Finding, ...]:
    ids = tuple(
        record.id
        for record in records
        if sum(row["Template Name"] in _STRUCTURES["lungs"] for row in rows[record.image.name]) == 1
    )
    if not ids:
        return ()
    message = f"{len(ids)} images have one lung annotated, not two, and are left bare: {some(ids)}."
    return (Finding("partial-mask", "warning", ids, message),)


def _build(request: Request) -> Source:
    root, target = request.root, request.target or "infection"
    if not (root / _TABLE).is_file():
        raise not_this_layout(_NAME, root, f"a folder with {_TABLE} and images/", f"no {_TABLE}")
    rows, patients = _structures(root), _patients(root)
    images = image_files(root / "images")
    if not images:
        raise not_this_layout(_NAME, root, "X-rays in images/", "no image")
    records = tuple(
        replace(
            _record(root, name, image, rows.get(image.name, []), target),
            group=patients.get(image.name, image.stem),
        )
        for image, name in zip(images, unique_ids(images), strict=True)
    )
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=("background", "infection" if target == "infection" else "lung"),
        read_image=read_grey,
        read_mask=read_structures,
        target=target,
        findings=missing_masks(records)
        + (_half_annotated(records, rows) if target == "lungs" else ()),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="images/, masks/ with cropped structures, coloured on black, and structure.csv that "
    "says where they belong; metadata.csv names the patients",
    recognises=_recognises,
    build=_build,
    targets=("infection", "lungs"),
)
