"""``--to coco``: one JSON with an annotation per connected area, polygons or run lengths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.pixels import write_image
from penumbra.data.layouts.coco_file import HAS_BACKGROUND
from penumbra.data.sample import IGNORE, Record, Sample
from penumbra.imaging.polygons import Polygon, mask_to_polygons, polygons_to_coco, polygons_to_mask
from penumbra.imaging.rle import encode_coco


def annotations_of(
    mask: NDArray[np.uint8], *, n_classes: int, first: int = 1
) -> Iterator[dict[str, Any]]:
    """Give COCO's annotations of a mask, less the ids.

    One per 4-connected area of a class: polygons along the pixel borders where it has no hole,
    compressed run lengths of the whole image where it has one, since COCO's polygons know none.
    Pixels to ignore become one crowd region, which COCO's evaluation passes over too.

    Args:
        mask: (H, W) class indices, 255 = ignore.
        n_classes: number of classes.
        first: the first class that is exported; its category has the id 1.

    Yields:
        ``category_id``, ``segmentation``, ``area``, ``bbox`` (x, y, width, height), ``iscrowd``.
    """
    for index in range(first, n_classes):
        for polygon in mask_to_polygons(mask == index):
            yield {"category_id": index - first + 1, **_area(polygon, mask.shape), "iscrowd": 0}
    ignored = mask == IGNORE
    if ignored.any():
        rows, columns = np.flatnonzero(ignored.any(axis=1)), np.flatnonzero(ignored.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        yield {
            "category_id": 1,
            "segmentation": encode_coco(ignored, compressed=False),
            "area": int(ignored.sum()),
            "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
            "iscrowd": 1,
        }


def _area(polygon: Polygon, size: tuple[int, ...]) -> dict[str, Any]:
    x0, y0, x1, y1 = (int(edge) for edge in polygon.box)
    whole = (size[0], size[1])
    return {
        "segmentation": encode_coco(polygons_to_mask([polygon], whole))
        if polygon.holes
        else polygons_to_coco([polygon]),
        "area": int(polygon.area),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
    }


class CocoWriter(Writer):
    """Writes ``images/`` and ``annotations/instances.json``, which grows beside memory."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._first = 1 if job.source.has_background else 0
        (job.folder / "annotations").mkdir(parents=True)
        self._whole = job.folder / "annotations" / "instances.json"
        self._rest = job.folder / "annotations" / "annotations.part"
        self._images = self._whole.open("w", encoding="utf-8", newline="\n")
        self._annotations = self._rest.open("w", encoding="utf-8", newline="\n")
        self._counts = {"images": 0, "annotations": 0}
        names = job.source.class_names[self._first :]
        categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
        info: dict[str, Any] = {"description": "Written by Penumbra"}
        if not job.source.has_background:
            # COCO has no word for it: without this, reading would put a background before class 0.
            info |= {HAS_BACKGROUND: False}
        head = _json({"info": info, "categories": categories})
        self._images.write(f'{head[:-1]},\n"images":[')

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        path = write_image(self.job.folder / "images", self.job.stems[sample.id], sample.image)
        height, width = sample.image.shape[:2]
        image: dict[str, Any] = {"file_name": path.name, "width": width, "height": height}
        image |= {"group": sample.group}
        image |= {"split": record.split} if record.split else {}
        number = self._append("images", image)
        if sample.mask is None:
            self.note("no-mask-written", sample)
            return
        n_classes = self.job.source.n_classes
        for annotation in annotations_of(sample.mask, n_classes=n_classes, first=self._first):
            self._append("annotations", {"image_id": number, **annotation})

    def _append(self, kind: str, entry: dict[str, Any]) -> int:
        self._counts[kind] += 1
        number = self._counts[kind]
        handle = self._images if kind == "images" else self._annotations
        handle.write("\n" if number == 1 else ",\n")
        handle.write(_json({"id": number, **entry}))
        return number

    def finish(self) -> None:
        """Join images and annotations to one document."""
        self._annotations.close()
        self._images.write('\n],\n"annotations":[')
        with self._rest.open(encoding="utf-8") as annotations:
            shutil.copyfileobj(annotations, self._images)
        self._images.write("\n]}\n")
        self._images.close()
        self._rest.unlink()

    def close(self) -> None:
        """Close both files."""
        self._images.close()
        self._annotations.close()


def _json(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


FORM = Form(
    name="coco",
    describe="images/ and annotations/instances.json with an annotation per connected area: "
    "polygons, run lengths where there are holes, a crowd region for ignored pixels",
    parts=("images", "annotations"),
    open=CocoWriter,
)
