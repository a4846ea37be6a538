"""Read real quadrilaterals: a COCO file of a document set, or MIDV's own JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penumbra.data.cards.quads import Array, Geometry, share_outside
from penumbra.data.layouts.midv500 import read_quad
from penumbra.errors import SourceError, expected

MIDV_FRAME = (1080.0, 1920.0)
"""(width, height) of a MIDV-500 frame, which its own JSON files do not tell."""

_MOST_BYTES = 64 * 2**20
_MOST_ABSOLUTE = 1e6


def read_geometry(path: Path | str, *, frame: tuple[float, float] = MIDV_FRAME) -> Geometry:
    """Read the quadrilaterals of real frames.

    Args:
        path: a COCO JSON whose annotations are polygons of four corners (TL, TR, BR, BL), one JSON
            ``{"quad": [[x, y], …]}``, or a folder with such files at any depth.
        frame: (width, height) in pixels of the frames that ``quad`` files belong to; a COCO file
            tells its own.

    Returns:
        The quadrilaterals that run clockwise around a convex area of which some part is in the
        frame; others are passed over.

    Raises:
        SourceError: the file cannot be read, or holds no such quadrilateral.
    """
    path = Path(path)
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    found = [
        (quad, size)
        for file in files
        for quad, size in _quads_in(file, frame)
        if _is_clockwise(quad) and share_outside(quad, size) < 1
    ]
    if not found:
        raise _nothing(path, f"{len(files)} JSON files without one")
    return Geometry(tuple(found), source=f"{len(found)} quadrilaterals of {path.name}")


def _nothing(path: Path, got: object) -> SourceError:
    return SourceError(
        expected(
            f"--geometry {path}",
            "a COCO JSON with polygons of four corners, a MIDV JSON, or a folder of them",
            got,
            "the file midv500_coco.json, or no --geometry for the description that is built in",
        )
    )


def _quads_in(
    file: Path, frame: tuple[float, float]
) -> Iterator[tuple[Array, tuple[float, float]]]:
    document = _document(file)
    if "quad" in document:
        yield np.array(read_quad(file), dtype=np.float64), frame
        return
    sizes = {
        image["id"]: (float(image["width"]), float(image["height"]))
        for image in _objects(document, "images")
        if _is_size(image)
    }
    for annotation in _objects(document, "annotations"):
        size = sizes.get(annotation["image_id"]) if _is_key(annotation.get("image_id")) else None
        rings = annotation.get("segmentation")
        if size is not None and isinstance(rings, list) and len(rings) == 1 and _is_ring(rings[0]):
            yield np.array(rings[0], dtype=np.float64).reshape(4, 2), size


def _document(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise _nothing(file, f"a file of more than {_MOST_BYTES:,} bytes")
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _nothing(file, error) from error
    return document if isinstance(document, dict) else {}


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = document.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _is_key(value: Any) -> bool:
    return type(value) in {int, str}


def _is_size(image: dict[str, Any]) -> bool:
    sides = (image.get("width"), image.get("height"))
    return _is_key(image.get("id")) and all(type(s) is int and 0 < s < 10**5 for s in sides)


def _is_ring(ring: Any) -> bool:
    return (
        isinstance(ring, list)
        and len(ring) == 8
        and all(
            type(value) in {int, float} and abs(value) <= _MOST_ABSOLUTE and math.isfinite(value)
            for value in ring
        )
    )


def _is_clockwise(quad: Array) -> bool:
    edges = np.roll(quad, -1, axis=0) - quad
    following = np.roll(edges, -1, axis=0)
    return bool((edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all())
