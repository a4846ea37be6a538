"""CamVid: street scenes in eleven classes, with the split that the field uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.layouts.base import Layout, Request, image_files, not_this_layout, unique_ids
from penumbra.data.layouts.pairs import missing_masks, orphan_masks
from penumbra.data.layouts.pixels import read_colour
from penumbra.data.sample import IGNORE, Record, Split
from penumbra.data.source import Source
from penumbra.imaging.files import read_mask_file

_NAME = "camvid"
_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_VOID = 11
CLASS_NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""The eleven classes in the order of their indices; 11 is void and becomes *ignore*."""


def read_scene(record: Record, _size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Read an annotation: class indices 0–10, and void (11) as 255."""
    if not record.masks:
        return None
    mask = read_mask_file(record.masks[0])
    mask[mask == _VOID] = IGNORE
    return mask


def _recognises(root: Path) -> bool:
    return (root / "train").is_dir() and (root / "trainannot").is_dir()


def _build(request: Request) -> Source:
    root = request.root
    images = [(split, path) for split in _SPLITS for path in image_files(root / split)]
    masks = {(s, path.stem): path for s in _SPLITS for path in image_files(root / f"{s}annot")}
    if not images:
        raise not_this_layout(_NAME, root, "train/, trainannot/, val/, valannot/ …", "no image")
    records = tuple(
        Record(
            id=name,
            group=name,
            image=path,
            masks=(masks.pop((split, path.stem)),) if (split, path.stem) in masks else (),
            split=split,
        )
        for (split, path), name in zip(
            images, unique_ids([path for _, path in images]), strict=True
        )
    )
    return Source(
        layout=_NAME,
        root=root,
        records=records,
        class_names=CLASS_NAMES,
        read_image=read_colour,
        read_mask=read_scene,
        has_background=False,
        symmetry="horizontal",
        target=request.target,
        findings=(*missing_masks(records), *orphan_masks(masks.values())),
    )


LAYOUT = Layout(
    name=_NAME,
    describe="train/, val/, test/ with images, trainannot/ … with class indices of the same names",
    recognises=_recognises,
    build=_build,
    strategy="given",
)
