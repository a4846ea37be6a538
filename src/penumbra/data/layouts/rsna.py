"""RSNA Pneumonia Detection Challenge: chest X-rays with boxes around opacities."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout, unique_ids
from penumbra.data.layouts.boxes import (
    TARGETS,
    Box,
    BoxReader,
    boxes_as_detail,
    common_side,
    no_mask,
)
from penumbra.data.layouts.pairs import some
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.data.tables import read_table

_NAME = "rsna"
LABEL_TABLES = ("stage_2_train_labels.csv", "stage_1_train_labels.csv")
"""Where the boxes are looked for; the first table that exists is taken."""
CLASS_TABLES = ("stage_2_detailed_class_info.csv", "stage_1_detailed_class_info.csv")
"""Where the radiologists' three classes are looked for."""
IMAGE_FOLDERS = ("", "images", "stage_2_train_images", "stage_1_train_images", "train_images")
"""Where images are looked for, the data set's top folder itself first; all of them count."""
ORIGINAL_SIDE = 1024
"""Every image of the challenge is 1024 × 1024, and the boxes are in these pixels."""

_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
_DELIMITERS = ",;"
_OPACITY = "Lung Opacity"


@dataclass(frozen=True)
class _Labels:
    """What the table says: the boxes per patient, ``None`` where its rows make no sense."""

    boxes: Mapping[str, tuple[Box, ...] | None]

    @property
    def extent(self) -> float:
        """The largest coordinate that any box reaches."""
        known = (box for boxes in self.boxes.values() for box in boxes or ())
        return max((max(box.xyxy) for box in known), default=0.0)


def _table(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def _number(cell: str) -> float:
    # Spreadsheets that write semicolons between cells write commas in numbers.
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return math.nan


def _boxes(rows: Iterable[Mapping[str, str]]) -> tuple[Box, ...] | None:
    """Read one patient's rows; ``None`` where one contradicts itself or another."""
    boxes, targets = [], set()
    for row in rows:
        cells = [row[column].strip() for column in ("x", "y", "width", "height")]
        target = _number(row["Target"])
        targets.add(target)
        if target == 0 and not any(cells):
            continue
        box = Box.of([*map(_number, cells)])
        if target != 1 or not box.is_valid:
            return None
        boxes.append(box)
    return tuple(boxes) if len(targets) == 1 else None


def _labels(table: Path) -> _Labels:
    rows: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in read_table(table, _COLUMNS, delimiters=_DELIMITERS):
        rows[row["patientId"]].append(row)
    return _Labels({patient: _boxes(own) for patient, own in rows.items()})


def _classes(root: Path) -> dict[str, str]:
    table = _table(root, CLASS_TABLES)
    if table is None:
        return {}
    rows = read_table(table, ("patientId", "class"), delimiters=_DELIMITERS)
    return {row["patientId"]: row["class"] for row in rows}


def _images(root: Path) -> list[Path]:
    return [path for name in IMAGE_FOLDERS for path in image_files(root / name)]


def _record(
    image: Path, name: str, table: Path, labels: _Labels, classes: dict[str, str], target: str
) -> Record:
    patient = image.stem
    boxes = labels.boxes.get(patient)
    details = [] if boxes is None else [boxes_as_detail(boxes)]
    if patient in classes:
        details.append(("class", classes[patient]))
    is_masked = boxes is not None and target == "boxes"
    return Record(
        id=name,
        group=patient,
        image=image,
        masks=(table,) if is_masked else (),
        details=tuple(details),
    )


def _findings(
    records: tuple[Record, ...], labels: _Labels, classes: dict[str, str]
) -> list[Finding]:
    patients = {record.group: record.id for record in records}
    unlabelled = [record.id for record in records if record.group not in labels.boxes]
    broken = [patients[p] for p, boxes in labels.boxes.items() if boxes is None and p in patients]
    absent = [patient for patient in labels.boxes if patient not in patients]
    torn = [
        patients[p]
        for p, boxes in labels.boxes.items()
        if p in patients and p in classes and boxes is not None
        if bool(boxes) != (classes[p] == _OPACITY)
    ]
    told = (
        ("missing-label", "warning", unlabelled, "images have no row in the table of labels"),
        ("invalid-box", "warning", broken, "images have rows that make no sense and are left bare"),
        ("class-conflict", "warning", torn, "images have a class that contradicts their boxes"),
        ("missing-image", "note", absent, "patients of the table of labels have no image here"),
    )
    return [
        Finding(kind, severity, tuple(names), f"{len(names)} {what}: {some(names)}.")
        for kind, severity, names, what in told
        if names
    ]


def _reader(images: list[Path], labels: _Labels) -> tuple[BoxReader, list[Finding]]:
    """Tell whether the images are smaller copies of those that the boxes were drawn on."""
    side = common_side(images)
    if side is None or not side < labels.extent <= ORIGINAL_SIDE:
        return BoxReader(), []
    message = (
        f"Boxes reach to {labels.extent:g} in images of {side}×{side}: they are taken to be copies "
        f"of {ORIGINAL_SIDE}×{ORIGINAL_SIDE}, and the boxes are scaled with them."
    )
    return BoxReader(frame=ORIGINAL_SIDE), [Finding("scaled-boxes", "note", (), message)]


def _recognises(root: Path) -> bool:
    return _table(root, LABEL_TABLES) is not None


def _build(request: Request) -> Source:
    root, target = request.root, request.target or TARGETS[0]
    table = _table(root, LABEL_TABLES)
    if table is None:
        raise not_this_layout(_NAME, root, f"a folder with {LABEL_TABLES[0]}", "none")
    images = _images(root)
    if not images:
        raise not_this_layout(
            _NAME, root, "DICOM or PNG files beside the table, or in images/", "no image"
        )
    labels, classes = _labels(table), _classes(root)
    records = tuple(
        _record(image, name, table, labels, classes, target)
        for image, name in zip(images, unique_ids(images), strict=True)
    )
    reader, findings = _reader(images, labels)
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=("background", "opacity"),
        read_image=read_grey,
        read_mask=reader.filled if target == "boxes" else no_mask,
        read_boxes=reader.boxes,
        target=target,
        findings=(*findings, *_findings(records, labels, classes)),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="PATIENT.dcm or .png beside stage_2_train_labels.csv, in images/ or in "
    "stage_2_train_images/; boxes without masks, which --target boxes fills",
    recognises=_recognises,
    build=_build,
    targets=TARGETS,
)
