"""NIH ChestX-ray14: frontal chest X-rays, findings per image, boxes for about a thousand."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout, unique_ids
from penumbra.data.layouts.boxes import TARGETS, Box, BoxReader, boxes_as_detail, no_mask
from penumbra.data.layouts.pairs import some
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Finding, Record, Split
from penumbra.data.source import Source
from penumbra.data.tables import read_table
from penumbra.errors import SourceError, expected

_NAME = "nih"
BOX_TABLE = "BBox_List_2017.csv"
"""The table of boxes; its head line writes four columns as ``Bbox [x,y,w,h]``."""
BOX_SIDE = 1024
"""Boxes are in pixels of the published 1024 × 1024 images; for other copies they are scaled."""
PATHOLOGIES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltrate",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
)
"""What the boxes enclose, in the order of the class indices 1–8."""

_BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
_ENTRIES = "Data_Entry_2017*.csv"
_FRAME = re.compile(r"(?P<patient>\d{8})_\d{3}")
_FOLDERS = re.compile(r"images(_\d{3})?")
_LISTS: tuple[tuple[str, Split], ...] = (
    ("train_val_list.txt", "train"),
    ("test_list.txt", "test"),
)
_CLASS_OF = {name.casefold(): index for index, name in enumerate(PATHOLOGIES, start=1)}
# The table of images spells one of them differently from the table of boxes.
_CLASS_OF["infiltration"] = _CLASS_OF["infiltrate"]


def _folders(root: Path) -> list[Path]:
    inner = sorted(p for p in root.iterdir() if _FOLDERS.fullmatch(p.name) and p.is_dir())
    # The official archives unpack to images_001/images/ and so on.
    return [root, *(p / "images" if (p / "images").is_dir() else p for p in inner)]


def _entries(root: Path) -> Path | None:
    return next((path for path in sorted(root.glob(_ENTRIES)) if path.is_file()), None)


def _recognises(root: Path) -> bool:
    if _entries(root) is not None or (root / BOX_TABLE).is_file():
        return True
    # By the names alone only where no other layout has images: images/ may have masks/ beside it.
    folders = [folder for folder in _folders(root) if folder != root / "images"]
    images = (path for folder in folders for path in image_files(folder)[:1])
    first = next(images, None)
    return first is not None and _FRAME.fullmatch(first.stem) is not None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _boxes(root: Path) -> tuple[dict[str, list[Box]], set[str]]:
    """Give the boxes by file name, and the names whose rows make no sense."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    broken: set[str] = set()
    if not (root / BOX_TABLE).is_file():
        return boxes, broken
    for row in read_table(root / BOX_TABLE, _BOX_COLUMNS):
        name = row["Image Index"]
        numbers = [_number(row[column]) for column in _BOX_COLUMNS[2:]]
        index = _CLASS_OF.get(row["Finding Label"].strip().casefold())
        if index is None or not (box := Box.of(numbers, index)).is_valid:
            broken.add(name)
        else:
            boxes[name].append(box)
    return boxes, broken


def _findings_per_image(root: Path) -> dict[str, str]:
    table = _entries(root)
    if table is None:
        return {}
    rows = read_table(table, ("Image Index", "Finding Labels"))
    return {row["Image Index"]: row["Finding Labels"] for row in rows}


def _splits(root: Path) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for name, split in _LISTS:
        path = root / name
        if not path.is_file():
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").split()
        except UnicodeDecodeError as error:
            raise SourceError(
                expected(str(path), "a list of file names in UTF-8", error, "the original file")
            ) from error
        splits |= dict.fromkeys(lines, split)
    return splits


def _findings(
    records: tuple[Record, ...], named: set[str], broken: set[str]
) -> tuple[Finding, ...]:
    by_name = {record.image.name: record.id for record in records}
    strange = tuple(record.id for record in records if not _FRAME.fullmatch(record.image.stem))
    told = (
        (
            "unknown-name",
            "note",
            strange,
            "images are not named PATIENT_NUMBER (8 and 3 digits); each is a group of its own",
        ),
        (
            "invalid-box",
            "warning",
            tuple(by_name[name] for name in sorted(broken & by_name.keys())),
            "images have boxes that make no sense; their boxes are left out",
        ),
        (
            "missing-image",
            "note",
            tuple(sorted(named - by_name.keys())),
            "images of the tables are not here",
        ),
    )
    return tuple(
        Finding(kind, severity, names, f"{len(names)} {what}: {some(names)}.")
        for kind, severity, names, what in told
        if names
    )


def _build(request: Request) -> Source:
    root, target = request.root, request.target or TARGETS[0]
    images = [path for folder in _folders(root) for path in image_files(folder)]
    if not images:
        raise not_this_layout(
            _NAME, root, "PATIENT_NUMBER.png here, in images/ or in images_001/ …", "no image"
        )
    (boxes, broken), labels, splits = _boxes(root), _findings_per_image(root), _splits(root)
    records = []
    for image, name in zip(images, unique_ids(images), strict=True):
        match = _FRAME.fullmatch(image.stem)
        details = [("findings", labels[image.name])] if image.name in labels else []
        own = boxes.get(image.name, []) if image.name not in broken else []
        # An image without a row was not given to the readers: that is no answer, not "no box".
        if own:
            details.append(boxes_as_detail(own))
        records.append(
            Record(
                id=name,
                group=match["patient"] if match else image.stem,
                image=image,
                masks=(root / BOX_TABLE,) if own and target == "boxes" else (),
                split=splits.get(image.name),
                details=tuple(details),
            )
        )
    reader = BoxReader(frame=BOX_SIDE)
    return Source(
        layout=_NAME,
        root=root,
        records=tuple(records),
        class_names=("background", *PATHOLOGIES),
        read_image=read_grey,
        read_mask=reader.filled if target == "boxes" else no_mask,
        read_boxes=reader.boxes,
        target=target,
        findings=_findings(tuple(records), boxes.keys() | broken | labels.keys(), broken),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="PATIENT_NUMBER.png here, in images/ or in images_001/ …, with Data_Entry_2017.csv "
    "and BBox_List_2017.csv where present; boxes without masks, which --target boxes fills",
    recognises=_recognises,
    build=_build,
    targets=TARGETS,
)
