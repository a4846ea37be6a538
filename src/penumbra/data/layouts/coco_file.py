"""COCO annotation files: found, read whole within a bound, and checked entry by entry."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.data.layouts.base import in_natural_order, sub_folders
from penumbra.errors import SourceError, expected

MAX_BYTES = 2**30
"""The largest annotation file that is read; that of COCO 2017 has 0.45 GB."""
MOST_CLASSES = 254
"""A mask's values are bytes: 0 is the background and 255 is *ignore*."""

HAS_BACKGROUND = "has_background"
"""Where ``info`` says false to this, every pixel has a category, and the first is class 0."""

_LOOK = 65_536
_KEYS = (b'"images"', b'"categories"')


@dataclass(frozen=True)
class Listed:
    """One image of an annotation file.

    Attributes:
        path: as the file has it; not trusted.
        size: (height, width) as the file has it, where it does.
        objects: one JSON text per annotation, with `class`, `ignore`, `shape` and `box`.
        is_whole: whether every annotation has a known category and a shape.
    """

    path: str
    size: tuple[int, int] | None
    objects: tuple[str, ...]
    is_whole: bool


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file holds.

    Attributes:
        path: the file.
        class_names: the background, then the categories by rising id; these alone where the file
            says that it has no background.
        has_background: whether class 0 is background.
        images: its images in the file's order.
        is_annotated: whether it has a single annotation; a file without says nothing about masks.
        broken: entries that cannot be understood, in words.
        strays: annotations of images that the file does not list.
    """

    path: Path
    class_names: tuple[str, ...]
    has_background: bool
    images: tuple[Listed, ...]
    is_annotated: bool
    broken: tuple[str, ...]
    strays: tuple[str, ...]


def annotation_files(root: Path) -> list[Path]:
    """Find COCO files in `root`, in ``annotations/``, and in folders that hold their images.

    Where the set ships several kinds beside each other, only its ``instances…`` are taken.
    """
    found = [path for folder in (root, root / "annotations") for path in _json_files(folder)]
    for folder in sub_folders(root):
        if folder.name != "annotations":
            found += [path for path in _json_files(folder) if "annotation" in path.name]
    found = [path for path in found if _looks_like_coco(path)]
    return [path for path in found if path.name.startswith("instances")] or found


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    # By name first: a folder beside it may hold 100,000 images.
    with os.scandir(folder) as entries:
        named = [Path(entry.path) for entry in entries if entry.name.lower().endswith(".json")]
    return in_natural_order(path for path in named if path.is_file())


def _looks_like_coco(path: Path) -> bool:
    with path.open("rb") as handle:
        head = handle.read(_LOOK)
        handle.seek(max(0, path.stat().st_size - _LOOK))
        ends = head + handle.read(_LOOK)
    return all(key in ends for key in _KEYS)


def read_coco(path: Path) -> CocoFile:
    """Read a COCO annotation file.

    An entry that makes no sense costs itself alone: it is listed, and its image's mask is unknown.

    Raises:
        SourceError: the file is too large, no JSON, or its lists or categories make no sense.
    """
    document = _document(path)
    has_background = _has_background(document)
    classes, names = _classes(path, document["categories"], has_background=has_background)
    objects: dict[int | str, list[str]] = defaultdict(list)
    broken: list[str] = []
    torn: set[int | str] = set()
    for number, entry in enumerate(document["annotations"]):
        image = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(image, (int, str)):
            broken.append(f"annotation {number}")
            continue
        text = _object(entry, classes)
        if text is None:
            broken.append(f"annotation {entry.get('id', number)!s:.40}")
            torn.add(image)
        else:
            objects[image].append(text)
    images: dict[int | str, Listed] = {}
    for number, entry in enumerate(document["images"]):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        key = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(key, (int, str)) or key in images:
            broken.append(f"image {number}")
            continue
        images[key] = Listed(name, _size(entry), tuple(objects[key]), key not in torn)
    return CocoFile(
        path=path,
        class_names=names,
        has_background=has_background,
        images=tuple(images.values()),
        is_annotated=bool(document["annotations"]),
        broken=tuple(broken),
        strays=tuple(str(key) for key in (objects.keys() | torn) - images.keys()),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _refused(path, f"{size:,} bytes (at most {MAX_BYTES:,} are read)")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(path, error) from error
    if not isinstance(document, dict):
        raise _refused(path, f"a {type(document).__name__}")
    document.setdefault("annotations", [])
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise _refused(path, f"one without a list {key!r}")
    return document


def _has_background(document: Mapping[str, Any]) -> bool:
    info = document.get("info")
    return not (isinstance(info, dict) and info.get(HAS_BACKGROUND) is False)


def _classes(
    path: Path, entries: list[Any], *, has_background: bool
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Give the class index of every category id, and the names of the classes."""
    by_id: dict[int, str] = {}
    for entry in entries:
        key = entry.get("id") if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if type(key) is not int or not isinstance(name, str) or not name or key in by_id:
            raise _refused(path, f"the category {str(entry)[:60]!r}")
        by_id[key] = name
    names, classes = ["background"] if has_background else [], {}
    for key in sorted(by_id):
        if has_background and by_id[key].casefold() == "background":
            classes[key] = 0
            continue
        classes[key] = len(names)
        # Names tell classes apart in tables and reports.
        names.append(by_id[key] if by_id[key] not in names else f"{by_id[key]} ({key})")
    if not 2 <= len(names) <= MOST_CLASSES + 1:
        raise _refused(path, f"{len(by_id)} categories (1 to {MOST_CLASSES} fit a mask)")
    return classes, tuple(names)


def _object(entry: Mapping[str, Any], classes: Mapping[int, int]) -> str | None:
    """Write what is needed of an annotation as JSON; ``None`` where it has no category or shape."""
    category, shape = entry.get("category_id"), entry.get("segmentation")
    if type(category) is not int or category not in classes:
        return None
    if not isinstance(shape, (list, dict)) or not shape:
        return None
    kept = {
        "class": classes[category],
        "ignore": bool(entry.get("iscrowd") or entry.get("ignore")),
        "shape": shape,
        "box": _box(entry.get("bbox")),
    }
    return json.dumps(kept, separators=(",", ":"))


def _box(numbers: Any) -> list[float] | None:
    """Give left, upper, right and lower edge, or ``None`` where there is no such box."""
    if not isinstance(numbers, list) or len(numbers) != 4:
        return None
    if not all(type(number) in {int, float} and abs(number) < 1e7 for number in numbers):
        return None
    left, top, width, height = map(float, numbers)
    is_box = all(map(math.isfinite, (left, top, width, height))) and min(width, height) >= 0
    return [left, top, left + width, top + height] if is_box else None


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if type(height) is int and type(width) is int and min(height, width) > 0:
        return height, width
    return None


def _refused(path: Path, got: object) -> SourceError:
    return SourceError(
        expected(
            str(path),
            "a COCO file: a JSON object with images, annotations and categories",
            got,
            "exporting the annotations again, in parts where they are many",
        )
    )
