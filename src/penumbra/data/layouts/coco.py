"""COCO: one JSON file of polygons and run lengths for a folder of images."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import Layout, Request, not_this_layout, unique_ids
from penumbra.data.layouts.coco_file import CocoFile, Listed, annotation_files, read_coco
from penumbra.data.layouts.inside import path_inside
from penumbra.data.layouts.pairs import missing_masks, some
from penumbra.data.sample import IGNORE, Finding, Record, Split
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.imaging.files import read_image
from penumbra.imaging.polygons import polygons_from_coco, polygons_to_mask
from penumbra.imaging.rle import decode_coco

_NAME = "coco"
_OBJECT, _SIZE = "object", "size"
_SPLITS: tuple[tuple[re.Pattern[str], Split], ...] = (
    (re.compile(r"train(?!_?val)"), "train"),
    (re.compile(r"(?<!train)(?<!train_)val"), "val"),
    (re.compile(r"test"), "test"),
)


def read_objects(
    record: Record, size: tuple[int, int], *, uncovered: int = 0
) -> NDArray[np.uint8] | None:
    """Draw the objects of an image as classes; an image without objects is all background.

    Where objects overlap, a pixel belongs to the smallest of them (in pixels), so that what lies
    on top of something large is not swallowed by it; of equally large ones the last in the file
    wins. Crowds, whose outlines are rough, are drawn below all objects as *ignore*, as COCO's own
    metrics count nothing there.

    Args:
        record: the sample, with one JSON text per object among the details.
        size: (height, width) of its image.
        uncovered: what a pixel is that no object covers; *ignore* where there is no background.

    Returns:
        (H, W) uint8 of class indices and 255, or ``None`` where the image was not annotated.

    Raises:
        SourceError: the image has another size than the file says, or an object cannot be drawn.
    """
    if not record.masks:
        return None
    _check_size(record, size)
    mask = np.full(size, uncovered, dtype=np.uint8)
    owner = np.full(size, np.iinfo(np.int64).max, dtype=np.int64)
    crowded = np.zeros(size, dtype=np.bool_)
    for entry in _objects(record):
        drawn = _drawn(record, entry["shape"], size)
        if entry["ignore"]:
            crowded |= drawn
            continue
        area = int(np.count_nonzero(drawn))
        mine = drawn & (owner >= area)
        mask[mine], owner[mine] = entry["class"], area
    mask[crowded & (owner == np.iinfo(np.int64).max)] = IGNORE
    return mask


def read_object_boxes(record: Record, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Give the objects' boxes, crowds left out, cut off at the frame.

    Returns:
        (N, 4) float32 xyxy, or ``None`` where the image was not annotated or an object has no box.
    """
    if not record.masks:
        return None
    boxes = [entry["box"] for entry in _objects(record) if not entry["ignore"]]
    if None in boxes:
        return None
    most = np.array([size[1], size[0], size[1], size[0]], dtype=np.float32)
    return np.clip(np.array(boxes, dtype=np.float32).reshape(-1, 4), 0, most)


def _objects(record: Record) -> Iterator[dict[str, Any]]:
    return (json.loads(text) for key, text in record.details if key == _OBJECT)


def _check_size(record: Record, size: tuple[int, int]) -> None:
    listed = dict(record.details).get(_SIZE)
    if listed is None or listed == f"{size[0]}×{size[1]}":
        return
    raise SourceError(
        expected(
            f"the image {record.image}",
            f"of the size in {record.masks[0].name}, {listed} (height × width)",
            f"{size[0]}×{size[1]}",
            "the original image, which the objects were drawn on",
        )
    )


def _drawn(record: Record, shape: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        if isinstance(shape, dict):
            return decode_coco(shape, size=size)
        return polygons_to_mask(polygons_from_coco(shape), size)
    except ImageFileError as error:
        raise SourceError(f"An object of {record.id!r} cannot be drawn. {error}") from error


def _split_of(path: Path, root: Path) -> Split | None:
    """Tell the split from a file's name, else from its folder's within the data set."""
    folder = path.parent.name if path.parent != root else ""
    for text in (path.stem.casefold(), folder.casefold()):
        found = [split for pattern, split in _SPLITS if pattern.search(text)]
        if len(found) == 1:
            return found[0]
    return None


def _places(path: Path, root: Path) -> list[Path]:
    """Give the folders that a file's image names may be relative to."""
    part = path.stem.removeprefix("instances_")
    named = [root / part, root / "images" / part]
    places = [path.parent, path.parent / "images", root / "images", root, *named, root / "data"]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _located(
    file: CocoFile, root: Path
) -> tuple[list[tuple[Listed, Path]], list[str], list[Finding]]:
    """Give the images that are there, the names of those that are not, and unsafe names."""
    places = _places(file.path, root)
    found, absent, unsafe = [], [], []
    for image in file.images:
        try:
            paths = [path_inside(place, image.path, named_in=file.path) for place in places]
        except SourceError as error:
            unsafe.append(Finding("unsafe-path", "error", (image.path[:80],), str(error)))
            continue
        path = next((each for each in paths if each.is_file()), None)
        if path is None:
            absent.append(image.path)
        else:
            found.append((image, path))
    return found, absent, unsafe


def _record(name: str, image: Listed, path: Path, file: CocoFile, split: Split | None) -> Record:
    size = () if image.size is None else ((_SIZE, f"{image.size[0]}×{image.size[1]}"),)
    # Where every pixel has a category, an image without any was not annotated.
    is_told = file.has_background or bool(image.objects)
    is_masked = file.is_annotated and image.is_whole and is_told
    return Record(
        id=name,
        group=name,
        image=path,
        masks=(file.path,) if is_masked else (),
        split=split,
        details=(*size, *((_OBJECT, text) for text in image.objects)),
    )


def _check_together(root: Path, files: list[CocoFile], paths: list[Path]) -> None:
    if len({(file.class_names, file.has_background) for file in files}) > 1:
        raise SourceError(
            expected(
                f"the categories of the COCO files in {root}",
                "the same in all of them",
                f"others in {files[-1].path.name} than in {files[0].path.name}",
                "a folder of its own for each",
            )
        )
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise SourceError(
            expected(
                f"every image of the COCO files in {root}",
                "listed once",
                f"{len(twice)} listed twice, such as {twice[0].name}",
                "keeping one of " + ", ".join(file.path.name for file in files),
            )
        )


def _findings(files: list[CocoFile], absent: list[str]) -> list[Finding]:
    broken = [f"{file.path.name}: {entry}" for file in files for entry in file.broken]
    strays = [f"{file.path.name}: image {key}" for file in files for key in file.strays]
    told = (
        ("missing-image", absent, "images of the annotations are not here"),
        ("invalid-annotation", broken, "entries make no sense; the masks of their images are left"),
        ("orphan-annotation", strays, "images have annotations and are not listed"),
    )
    return [
        Finding(kind, "warning", tuple(names), f"{len(names)} {what}: {some(names)}.")
        for kind, names, what in told
        if names
    ]


def _recognises(root: Path) -> bool:
    return bool(annotation_files(root))


def _build(request: Request) -> Source:
    root = request.root
    files = [read_coco(path) for path in annotation_files(root)]
    if not files:
        raise not_this_layout(_NAME, root, "a folder with a COCO file (JSON) and images", "none")
    listed: list[tuple[Listed, Path, CocoFile]] = []
    absent: list[str] = []
    unsafe: list[Finding] = []
    for file in files:
        found, missing, refused = _located(file, root)
        listed += [(image, path, file) for image, path in found]
        absent += missing
        unsafe += refused
    paths = [path for _, path, _ in listed]
    if not paths:
        raise not_this_layout(
            _NAME,
            root,
            f"images that {files[0].path.name} names, beside it or in images/",
            f"none of its {len(absent) + len(unsafe)}, such as {some(absent[:1])!r}",
        )
    _check_together(root, files, paths)
    records = tuple(
        _record(name, image, path, file, _split_of(file.path, root))
        for name, (image, path, file) in zip(unique_ids(paths), listed, strict=True)
    )
    has_background = files[0].has_background
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=files[0].class_names,
        read_image=read_image,
        read_mask=read_objects if has_background else partial(read_objects, uncovered=IGNORE),
        has_background=has_background,
        read_boxes=read_object_boxes,
        target=request.target,
        findings=(*unsafe, *_findings(files, absent), *missing_masks(records)),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="images beside a COCO file (JSON with images, annotations, categories), in images/, "
    "or in train2017/ … beside annotations/instances_train2017.json",
    recognises=_recognises,
    build=_build,
)
