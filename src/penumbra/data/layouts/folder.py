"""The plain layout: images in one folder, masks of the same names in another or beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import (
    Layout,
    Request,
    image_files,
    in_natural_order,
    not_this_layout,
    unique_ids,
)
from penumbra.data.layouts.classes import MaskValues, class_names_for, declared_values, look_at
from penumbra.data.layouts.pairs import counted, missing_masks, orphan_masks, some
from penumbra.data.layouts.patients import grouped_by_patient
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.data.tables import read_table
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import read_image, read_mask_file, sniff_format

_NAME = "folder"
MASK_FOLDERS = ("masks", "labels", "ground_truth")
"""Where masks are looked for; the first folder that exists is taken."""


@dataclass(frozen=True)
class FolderMasks:
    """Reads the masks of one folder.

    Attributes:
        binary: whether the folder's masks are drawn in 0 and 255; 255 then means class 1, and
            *ignore* otherwise.
    """

    binary: bool

    def __call__(self, record: Record, _size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Decode the mask of `record` to (H, W) class indices; ``None`` where it has none."""
        if not record.masks:
            return None
        path = record.masks[0]
        mask = read_mask_file(path, on=record.image)
        if sniff_format(path) == "jpeg":
            return self._from_jpeg(path, mask)
        if self.binary and not ((mask > 0) & (mask < 255)).any():
            return np.asarray(mask == 255, dtype=np.uint8)
        return mask

    def _from_jpeg(self, path: Path, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self.binary:
            raise SourceError(
                expected(
                    f"the mask {path}",
                    "in a lossless format, since its values are class indices",
                    "JPEG, which changes values",
                    "exporting it as PNG from the original annotation",
                )
            )
        return np.asarray(mask > 127, dtype=np.uint8)


def mask_folder(root: Path) -> Path | None:
    """Give the folder that holds the masks, or ``None`` where there is none."""
    return next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)


def _recognises(root: Path) -> bool:
    return (root / "images").is_dir()


def _listed(root: Path) -> tuple[list[Path], list[Path]]:
    """Give the images and the masks; without images/, both lie in the folder itself."""
    folder = mask_folder(root)
    masks = image_files(folder) if folder else []
    if (root / "images").is_dir():
        return image_files(root / "images"), masks
    images = image_files(root)
    stems = {path.stem for path in images}
    beside = [p for p in images if p.stem.endswith("_mask") and p.stem[: -len("_mask")] in stems]
    return [path for path in images if path not in set(beside)], masks + beside


def _paired(root: Path) -> tuple[tuple[Record, ...], tuple[Finding, ...]]:
    images, masked = _listed(root)
    masks = {path.stem: path for path in masked}
    records, used = [], set()
    for image, name in zip(images, unique_ids(images), strict=True):
        stem = next((s for s in (image.stem, f"{image.stem}_mask") if s in masks), None)
        if stem is not None:
            used.add(stem)
        found = () if stem is None else (masks[stem],)
        # Files of one stem are most likely one picture twice, and share a mask: one group.
        records.append(Record(id=name, group=image.stem, image=image, masks=found))
    orphans = [path for stem, path in masks.items() if stem not in used]
    return tuple(records), missing_masks(records) + orphan_masks(orphans)


def _grouped(
    root: Path, records: tuple[Record, ...]
) -> tuple[tuple[Record, ...], tuple[Finding, ...]]:
    table = root / "groups.csv"
    if not table.is_file():
        return records, ()
    groups = {row["id"]: row["group"] for row in read_table(table, ("id", "group"))}
    grouped = tuple(
        replace(record, group=groups.get(record.id) or record.group) for record in records
    )
    alone = tuple(record.id for record in records if not groups.get(record.id))
    unknown = tuple(sorted(groups.keys() - {record.id for record in records}))
    findings = []
    if alone:
        message = (
            f"{counted(len(alone), 'image has', 'images have')} no group in groups.csv: "
            f"{some(alone)}."
        )
        findings.append(Finding("missing-group", "warning", alone, message))
    if unknown:
        message = (
            f"{counted(len(unknown), 'id', 'ids')} of groups.csv without an image: {some(unknown)}."
        )
        findings.append(Finding("unknown-id", "warning", unknown, message))
    return grouped, tuple(findings)


def _value_findings(values: MaskValues) -> tuple[Finding, ...]:
    findings = []
    if values.mixed:
        meaning = "foreground" if values.binary else "'ignore'"
        message = (
            "Some masks are drawn in 0 and 255, others in class indices; 255 is read as "
            f"{meaning} in all of them: {some(path.name for path in values.drawn)}."
        )
        names = tuple(path.name for path in values.drawn)
        severity = "note" if values.binary else "warning"
        findings.append(Finding("mixed-mask-values", severity, names, message))
    if values.lossy:
        message = (
            f"Masks are JPEG files, whose values are blurred; above 127 counts as foreground: "
            f"{some(path.name for path in values.lossy)}."
        )
        names = tuple(path.name for path in values.lossy)
        findings.append(Finding("lossy-mask", "note", names, message))
    return tuple(findings)


def _without_images(folder: Path) -> str:
    if not folder.is_dir():
        return "no folder images/ and no image"
    inner = next((path.name for path in in_natural_order(folder.iterdir()) if path.is_dir()), None)
    if inner is None:
        return "no image in images/"
    return f"no image in images/ itself; sub-folders such as images/{inner}/ are not searched"


def _build(request: Request) -> Source:
    root = request.root
    records, findings = _paired(root)
    if not records:
        raise not_this_layout(
            _NAME,
            root,
            "a folder with images/ (PNG, JPEG, TIFF, GIF, BMP, DICOM) and masks of the same names "
            "in masks/, labels/ or ground_truth/, or images alone",
            _without_images(root / "images"),
        )
    records, patient_findings = grouped_by_patient(
        records, keep_identifiers=request.keep_identifiers
    )
    records, group_findings = _grouped(root, records)
    values = look_at([record.masks[0] for record in records if record.masks])
    names = class_names_for(root, request.class_names, values)
    declared = declared_values(root)
    binary = values.binary if declared is None else declared == "drawn"
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=names,
        read_image=read_image,
        read_mask=FolderMasks(binary=binary and len(names) == 2),
        target=request.target,
        findings=findings
        + patient_findings
        + group_findings
        + (_value_findings(values) if declared is None else ()),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="images/ and masks/ (or labels/, ground_truth/) with equal names, or NAME_mask; "
    "as folder:PATH also images that lie in the folder itself, NAME_mask beside them; "
    "0/255 or class indices; optional classes.txt, classes.json, groups.csv (id,group), "
    "mask_values.txt (drawn or indices)",
    recognises=_recognises,
    build=_build,
)
