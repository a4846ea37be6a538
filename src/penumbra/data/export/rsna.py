"""``--to rsna``: DICOM images with boxes in place of masks, which may be hidden beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.folder import FolderWriter
from penumbra.data.export.pixels import whole_numbers
from penumbra.data.export.tables import Table
from penumbra.data.sample import IGNORE, Record, Sample

_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
_TOUCHING = np.ones((3, 3), dtype=np.int8)

Box = tuple[int | float, int | float, int | float, int | float]


def boxes_of(mask: NDArray[np.uint8], *, n_classes: int = 2, first: int = 1) -> list[Box]:
    """Give the tight box (x, y, width, height) of every connected area.

    Pixels of one class that touch by a side or a corner are one area. Ignored pixels have no box.

    Args:
        mask: (H, W) class indices, 255 = ignore.
        n_classes: number of classes.
        first: the first class that counts as an object.

    Examples:
        >>> boxes_of(np.array([[1, 1, 0, 0], [0, 0, 0, 1]], dtype=np.uint8))
        [(0, 0, 2, 1), (3, 1, 1, 1)]
    """
    boxes: list[Box] = []
    for index in range(first, n_classes):
        labels, _ = ndimage.label(mask == index, structure=_TOUCHING)
        for rows, columns in ndimage.find_objects(labels):
            boxes.append(
                (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            )
    return boxes


class RsnaWriter(Writer):
    """Writes ``stage_2_train_images/``, ``stage_2_train_labels.csv`` and, if asked, ``hidden/``."""

    def __init__(self, job: Job) -> None:
        # The extra is asked for here, before anything is written, and by this form alone.
        from penumbra.imaging.dicom import write_dicom  # noqa: PLC0415

        super().__init__(job)
        self._write_dicom = write_dicom
        self._patients: dict[str, str] = {}
        self._first = 1 if job.source.has_background else 0
        self._labels = Table(job.folder / "stage_2_train_labels.csv", _COLUMNS)
        self._groups = Table(job.folder / "groups.csv", ("patientId", "id", "group", "split"))
        self._hidden = self._hiding(job) if job.with_masks else None

    def _hiding(self, job: Job) -> FolderWriter:
        folder = job.folder / "hidden"
        return FolderWriter(Job(folder=folder, source=job.source, stems=job.stems))

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        stem = self.job.stems[sample.id]
        self._write_image(self.job.folder / "stage_2_train_images" / f"{stem}.dcm", sample)
        self._groups.row((stem, sample.id, sample.group, record.split))
        boxes = self._boxes(sample)
        if boxes is None:
            self.note("no-mask-written", sample)
        for box in boxes or ():
            self._labels.row((stem, *box, 1))
        if boxes == []:
            self._labels.row((stem, None, None, None, None, 0))
        if self._hidden is not None:
            self._hidden.add(record, sample)

    def _write_image(self, path: Path, sample: Sample) -> None:
        if sample.image.dtype.kind == "f":
            self.note("depth-lost", sample)
        self.note_colour(sample)
        # Groups are numbered: a DICOM file travels, and must not say whom it shows.
        patient = self._patients.setdefault(sample.group, f"P{len(self._patients) + 1:05d}")
        self._write_dicom(
            path, whole_numbers(sample.image), spacing=sample.spacing, patient=patient
        )

    def _boxes(self, sample: Sample) -> list[Box] | None:
        if sample.mask is not None:
            if (sample.mask == IGNORE).any():
                self.note("ignore-lost", sample)
            n_classes = self.job.source.n_classes
            boxes = boxes_of(sample.mask, n_classes=n_classes, first=self._first)
            if boxes and n_classes - self._first > 1:
                self.note("classes-merged", sample)
            return boxes
        if sample.boxes is None:
            return None
        return [
            (x0, y0, x1 - x0, y1 - y0)
            for x0, y0, x1, y1 in sample.boxes.astype(np.float64).tolist()
        ]

    def finish(self) -> None:
        """Write what the hidden masks need."""
        if self._hidden is not None:
            self._hidden.finish()

    def close(self) -> None:
        """Close the tables."""
        self._labels.close()
        self._groups.close()
        if self._hidden is not None:
            self._hidden.close()


FORM = Form(
    name="rsna",
    describe="DICOM files in stage_2_train_images/ with tight boxes of the connected areas in "
    "stage_2_train_labels.csv; --with-masks keeps the masks in hidden/, a source of its own",
    parts=("stage_2_train_images", "stage_2_train_labels.csv", "groups.csv", "hidden"),
    open=RsnaWriter,
)
