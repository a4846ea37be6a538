"""``--to yolo``: images, and one line of a polygon per area, in shares of width and height."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.pixels import write_image
from penumbra.data.sample import IGNORE, Record, Sample
from penumbra.imaging.polygons import Polygon, mask_to_polygons


def one_ring(polygon: Polygon) -> NDArray[np.number]:
    """Join holes to the exterior by cuts of no width, since the form knows one ring per line.

    Every hole is reached from the first vertex and left on the same way back, so the cut covers
    no area and even–odd as well as winding rules leave the hole out.

    Examples:
        >>> from penumbra.imaging.polygons import mask_to_polygons
        >>> (frame,) = mask_to_polygons([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> len(one_ring(frame))
        11
    """
    first = polygon.exterior[:1]
    pieces = [polygon.exterior]
    for hole in polygon.holes:
        pieces += [first, hole, hole[:1]]
    return np.concatenate([*pieces, first]) if polygon.holes else polygon.exterior


class YoloWriter(Writer):
    """Writes ``images/SPLIT/``, ``labels/SPLIT/`` and ``data.yaml``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._splits: set[str] = set()
        # Class 0 is no class of this form where it is the background, so numbers move down by one.
        self._first = 1 if job.source.has_background else 0

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        split, stem = record.split or "train", self.job.stems[sample.id]
        self._splits.add(split)
        write_image(self.job.folder / "images" / split, stem, sample.image)
        labels = self.job.folder / "labels" / split
        labels.mkdir(parents=True, exist_ok=True)
        if sample.mask is None:
            # Without a label file the image counts as one of nothing but background.
            self.note("no-mask-written", sample)
            return
        if (sample.mask == IGNORE).any():
            self.note("ignore-lost", sample)
        text = "".join(f"{line}\n" for line in self._lines(sample.mask))
        (labels / f"{stem}.txt").write_text(text, encoding="utf-8", newline="\n")

    def _lines(self, mask: NDArray[np.uint8]) -> list[str]:
        scale = np.array(mask.shape[::-1], dtype=np.float64)
        lines = []
        for index in range(self._first, self.job.source.n_classes):
            for polygon in mask_to_polygons(mask == index):
                shares = (one_ring(polygon) / scale).ravel().tolist()
                lines.append(" ".join([str(index - self._first), *(f"{v:.9g}" for v in shares)]))
        return lines

    def finish(self) -> None:
        """Write ``data.yaml``; JSON's way of quoting is YAML's too."""
        names = self.job.source.class_names[self._first :]
        # Trainers ask for a val split; without one they validate on what they train on.
        val = "val" if "val" in self._splits else "train"
        lines = ["path: .", "train: images/train", f"val: images/{val}"]
        lines += ["test: images/test"] if "test" in self._splits else []
        lines += [
            "names:",
            *(f"  {i}: {json.dumps(n, ensure_ascii=False)}" for i, n in enumerate(names)),
        ]
        text = "".join(f"{line}\n" for line in lines)
        (self.job.folder / "data.yaml").write_text(text, encoding="utf-8", newline="\n")


FORM = Form(
    name="yolo",
    describe="images/SPLIT/ and labels/SPLIT/ with one polygon a line (holes joined by a cut), and "
    "data.yaml",
    parts=("images", "labels", "data.yaml"),
    open=YoloWriter,
)
