"""Ultrasound nerve segmentation: frames ``SUBJECT_FRAME`` with masks ``SUBJECT_FRAME_mask``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
from penumbra.data.layouts.nerve_runs import (
    TABLE,
    MaskTable,
    mask_from_table,
    mask_table,
    runs_as_detail,
)
from penumbra.data.layouts.pairs import missing_masks, orphan_masks, some
from penumbra.data.layouts.pixels import read_grey
from penumbra.data.sample import Finding, Record, Split
from penumbra.data.source import Source
from penumbra.imaging.files import looks_like_image, read_mask_file

_NAME = "nerve"
_FRAME = re.compile(r"(?P<subject>\d+)_(?P<frame>\d+)")
_MASK = re.compile(r"(?P<frame>\d+_\d+)(_mask)?")
_LOOK = 64


@dataclass(frozen=True)
class NerveMasks:
    """Reads the masks of frames.

    Attributes:
        pixels: the highest position in the table of run lengths; 0 where there is no table.
    """

    pixels: int = 0

    def __call__(self, record: Record, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Read a mask file, 1 above 127, since JPEG copies blur 0 and 255; or its run lengths."""
        if not record.masks:
            return None
        mask = mask_from_table(record, size, pixels=self.pixels)
        if mask is not None:
            return mask
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
    return (root / TABLE).is_file() or any(
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


def _shipped_split(image: Path, root: Path) -> Split | None:
    """Give the part that an image lies in; such a split may share subjects and even frames."""
    top = image.relative_to(root).parts[0]
    return "train" if top == "train" else "test" if top == "test" else None


def _records(
    pairs: list[tuple[Path, Path | None]], root: Path, table: MaskTable
) -> tuple[Record, ...]:
    counts = Counter(image.stem for image, _ in pairs)
    records = []
    for image, mask in pairs:
        # The same frame may lie in train/ and in test/; its folder then tells the two apart.
        place = "_".join(image.parent.relative_to(root).parts)
        suffix = f"{place}_{image.suffix[1:]}" if counts[image.stem] > 1 else ""
        # A file counts more than a row: it is what somebody may have corrected.
        runs = table.runs.get(image.stem) if mask is None else None
        found = mask if runs is None else table.path
        records.append(
            Record(
                id=f"{image.stem}_{suffix}" if suffix else image.stem,
                group=image.stem.split("_")[0],
                image=image,
                masks=(found,) if found else (),
                split=_shipped_split(image, root),
                details=() if runs is None else (runs_as_detail(runs),),
            )
        )
    return tuple(records)


def _build(request: Request) -> Source:
    root = request.root
    pairs, orphans, others = _listed(root)
    if not pairs:
        raise not_this_layout(_NAME, root, "frames named SUBJECT_FRAME with masks", "no such file")
    order = {path: index for index, path in enumerate(in_natural_order(p for p, _ in pairs))}
    table = mask_table(root)
    records = _records(sorted(pairs, key=lambda pair: order[pair[0]]), root, table)
    findings = [*missing_masks(records), *orphan_masks(orphans)]
    findings += table.findings({image.stem for image, _ in pairs})
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
        read_mask=NerveMasks(pixels=table.pixels),
        target=request.target,
        findings=tuple(findings),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="SUBJECT_FRAME.tif beside SUBJECT_FRAME_mask.tif, or in images/ and masks/, also "
    "under train/ and test/; train_masks.csv where mask files are missing; grouped by subject, "
    "since the shipped split leaks",
    recognises=_recognises,
    build=_build,
)
