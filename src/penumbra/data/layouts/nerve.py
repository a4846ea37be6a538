"""Ultrasound nerve segmentation: frames ``SUBJECT_FRAME`` with masks ``SUBJECT_FRAME_mask``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import (
    Layout,
    Request,
    image_files,
    in_natural_order,
    not_this_layout,
)
from penumbra.data.layouts.pairs import missing_masks, orphan_masks, some
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Finding, Record
from penumbra.data.source import Source
from penumbra.imaging.files import looks_like_image, read_mask_file

_NAME = "nerve"
_FRAME = re.compile(r"(?P<subject>\d+)_(?P<frame>\d+)")
_MASK = re.compile(r"(?P<frame>\d+_\d+)(_mask)?")
_LOOK = 64


def read_nerve(record: Record, _size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Read a mask: 1 above 127, since JPEG copies blur 0 and 255."""
    if not record.masks:
        return None
    return np.asarray(read_mask_file(record.masks[0]) > 127, dtype=np.uint8)


def _places(root: Path) -> list[tuple[Path, Path]]:
    """Give the folders of images and of their masks, which may be the same folder."""
    tops = [top for top in (root, root / "train", root / "test") if top.is_dir()]
    return [
        (top / "images", top / "masks") if (top / "images").is_dir() else (top, top) for top in tops
    ]


def _first_images(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        listed = (path for path in folder.iterdir() if looks_like_image(path))
        yield from (path for _, path in zip(range(_LOOK), listed, strict=False))


def _recognises(root: Path) -> bool:
    return any(
        path.stem.endswith("_mask") and _MASK.fullmatch(path.stem)
        for _, masks in _places(root)
        for path in _first_images(masks)
    )


def _listed(root: Path) -> tuple[list[tuple[Path, Path | None]], list[Path], list[Path]]:
    """Give the pairs, the masks without a frame, and the files that are neither."""
    pairs: list[tuple[Path, Path | None]] = []
    orphans: list[Path] = []
    others: list[Path] = []
    for images, masks in _places(root):
        found = image_files(masks)
        if masks == images:
            found = [path for path in found if path.stem.endswith("_mask")]
        partner = {m["frame"]: path for path in found if (m := _MASK.fullmatch(path.stem))}
        for path in image_files(images):
            if _FRAME.fullmatch(path.stem):
                pairs.append((path, partner.pop(path.stem, None)))
            elif not (masks == images and path.stem.endswith("_mask")):
                others.append(path)
        orphans += partner.values()
    return pairs, orphans, others


def _records(pairs: list[tuple[Path, Path | None]], root: Path) -> tuple[Record, ...]:
    counts = Counter(image.stem for image, _ in pairs)
    records = []
    for image, mask in pairs:
        # The same frame may lie in train/ and in test/; its folder then tells the two apart.
        place = "_".join(image.parent.relative_to(root).parts)
        suffix = f"{place}_{image.suffix[1:]}" if counts[image.stem] > 1 else ""
        records.append(
            Record(
                id=f"{image.stem}_{suffix}" if suffix else image.stem,
                group=image.stem.split("_")[0],
                image=image,
                masks=(mask,) if mask else (),
            )
        )
    return tuple(records)


def _build(request: Request) -> Source:
    root = request.root
    pairs, orphans, others = _listed(root)
    if not pairs:
        raise not_this_layout(_NAME, root, "frames named SUBJECT_FRAME with masks", "no such file")
    order = {path: index for index, path in enumerate(in_natural_order(p for p, _ in pairs))}
    records = _records(sorted(pairs, key=lambda pair: order[pair[0]]), root)
    findings = [*missing_masks(records), *orphan_masks(orphans)]
    if others:
        message = (
            f"{len(others)} images are not named SUBJECT_FRAME and were passed over: "
            f"{some(path.name for path in others)}."
        )
        findings.append(
            Finding("unknown-name", "note", tuple(path.name for path in others), message)
        )
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=("background", "nerve"),
        read_image=read_grey,
        read_mask=read_nerve,
        target=request.target,
        findings=tuple(findings),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="SUBJECT_FRAME.tif beside SUBJECT_FRAME_mask.tif, or in images/ and masks/, also "
    "under train/ and test/; grouped by subject, since the shipped split leaks",
    recognises=_recognises,
    build=_build,
)
