"""MIDV-500 and MIDV-2019: frames of identity documents, with the quadrilateral of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import (
    Layout,
    Request,
    image_files,
    in_natural_order,
    not_this_layout,
    sub_folders,
    unique_ids,
)
from penumbra.data.layouts.pairs import missing_masks, some
from penumbra.data.layouts.pixels import read_colour
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.imaging.polygons import Polygon, polygons_to_mask

_NAME = "midv500"
_KEY = "quad"
_MOST_BYTES = 2**20
_MOST_ABSOLUTE = 1e6

Quad = tuple[tuple[float, float], ...]
"""Four corners (x, y) in pixels, clockwise from the document's top left; they may lie outside."""


def read_quad(path: Path) -> Quad:
    """Read the four corners from a file such as ``{"quad": [[139, 678], …]}``.

    Returns:
        Four corners (x, y), as the file has them.

    Raises:
        SourceError: the file cannot be read, or holds no four pairs of finite numbers.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _no_quad(path, f"a file of more than {_MOST_BYTES:,} bytes")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_quad(path, error) from error
    corners = document.get("quad") if isinstance(document, dict) else None
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(_is_point, corners)):
        raise _no_quad(path, repr(document)[:60])
    return tuple((float(x), float(y)) for x, y in corners)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(number) in {int, float} for number in point)
        # NaN compares as false; an integer of a thousand digits compares without a cast.
        and all(-_MOST_ABSOLUTE <= number <= _MOST_ABSOLUTE for number in point)
    )


def _no_quad(path: Path, got: object) -> SourceError:
    return SourceError(
        expected(
            str(path),
            'an object such as {"quad": [[x, y], …]} with four corners',
            got,
            "the original file, or removing it",
        )
    )


def quad_of(record: Record) -> NDArray[np.float64] | None:
    """Give the quadrilateral of a record as it was annotated, wherever its corners lie.

    Returns:
        (4, 2) corners (x, y) in pixels, clockwise from the document's top left, or ``None``.
    """
    text = dict(record.details).get(_KEY)
    if text is None:
        return None
    return np.array([corner.split(",") for corner in text.split()], dtype=np.float64)


def _is_convex(quad: Quad) -> bool:
    """Tell whether the corners run clockwise around a convex area (on a screen, y downwards)."""
    return all(
        (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]) > 0
        for a, b, c in zip(quad, (*quad[1:], quad[0]), (*quad[2:], *quad[:2]), strict=True)
    )


def read_document(record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Fill the quadrilateral: 1 where a pixel's centre lies inside, cut off at the frame.

    Args:
        record: the sample, with its quadrilateral among the details.
        size: (height, width) of its frame.

    Returns:
        (H, W) uint8 of 0 and 1, or ``None`` where the frame has no quadrilateral.
    """
    quad = quad_of(record)
    if quad is None:
        return None
    return polygons_to_mask([Polygon(quad)], size).astype(np.uint8)


def read_document_box(record: Record, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Give the upright box around the visible part of the corners, (1, 4) or (0, 4) xyxy."""
    quad = quad_of(record)
    if quad is None:
        return None
    most = np.array([size[1], size[0]], dtype=np.float64)
    low, high = np.clip(quad.min(axis=0), 0, most), np.clip(quad.max(axis=0), 0, most)
    box = np.concatenate([low, high]).astype(np.float32)[None]
    return box if (high > low).all() else box[:0]


def _is_document(folder: Path) -> bool:
    if (folder / "ground_truth").is_dir():
        return True
    images = folder / "images"
    return images.is_dir() and bool(sub_folders(images))


def _documents(root: Path) -> list[Path]:
    """Give the folders of documents: the root itself, those in it, or those one level below."""
    if _is_document(root):
        return [root]
    folders = sub_folders(root)
    found = [folder for folder in folders if _is_document(folder)]
    for folder in folders:
        if folder not in found:
            found += [path for path in sub_folders(folder) if _is_document(path)]
    return found


def _clips(folder: Path) -> list[Path]:
    # Files directly in images/ and ground_truth/ are the document's template, not frames.
    return sub_folders(folder) if folder.is_dir() else []


def _quads(document: Path) -> dict[tuple[str, str], Path]:
    return {
        (clip.name, path.stem): path
        for clip in _clips(document / "ground_truth")
        for path in in_natural_order(clip.glob("*.json"))
    }


def _recognises(root: Path) -> bool:
    clips = (clip for document in _documents(root) for clip in _clips(document / "ground_truth"))
    return any(next(clip.glob("*.json"), None) is not None for clip in clips)


def _findings(
    broken: list[Finding], odd: Sequence[str], orphans: Sequence[Path], loose: Sequence[Path]
) -> list[Finding]:
    told = (
        ("odd-quad", "warning", odd, "quadrilaterals do not run clockwise around a convex area"),
        (
            "missing-image",
            "warning",
            [path.name for path in orphans],
            "quadrilaterals have no frame of the same name",
        ),
        (
            "unknown-place",
            "note",
            [path.name for path in loose],
            "images lie outside DOCUMENT/images/CLIP/ and were passed over",
        ),
    )
    return broken + [
        Finding(kind, severity, tuple(names), f"{len(names)} {what}: {some(names)}.")
        for kind, severity, names, what in told
        if names
    ]


def _build(request: Request) -> Source:
    root = request.root
    frames: list[tuple[Path, Path, Path | None]] = []
    orphans: list[Path] = []
    for document in _documents(root):
        quads = _quads(document)
        for clip in _clips(document / "images"):
            frames += [
                (document, image, quads.pop((clip.name, image.stem), None))
                for image in image_files(clip)
            ]
        orphans += quads.values()
    if not frames:
        raise not_this_layout(
            _NAME, root, "DOCUMENT/images/CLIP/FRAME.tif and DOCUMENT/ground_truth/…", "no frame"
        )
    records, broken, odd = [], [], []
    names = unique_ids([image for _, image, _ in frames])
    for name, (document, image, path) in zip(names, frames, strict=True):
        quad: Quad | None = None
        try:
            quad = None if path is None else read_quad(path)
        except SourceError as error:
            broken.append(Finding("unreadable", "error", (name,), str(error)))
        if quad is not None and not _is_convex(quad):
            odd.append(name)
        records.append(_record(name, document, image, path, quad))
    return Source(
        layout=_NAME,
        root=root,
        records=tuple(records),
        class_names=("background", "document"),
        read_image=read_colour,
        read_mask=read_document,
        read_boxes=read_document_box,
        target=request.target,
        findings=(
            *missing_masks(records),
            *_findings(broken, odd, orphans, image_files(root)),
        ),
    )


def _record(name: str, document: Path, image: Path, path: Path | None, quad: Quad | None) -> Record:
    if path is None or quad is None:
        return Record(id=name, group=document.name, image=image)
    text = " ".join(f"{x:.17g},{y:.17g}" for x, y in quad)
    return Record(id=name, group=document.name, image=image, masks=(path,), details=((_KEY, text),))


LAYOUT = Layout(
    name=_NAME,
    describe="DOCUMENT/images/CLIP/FRAME.tif with DOCUMENT/ground_truth/CLIP/FRAME.json, also one "
    "folder deeper; grouped by document",
    recognises=_recognises,
    build=_build,
)
