"""``--to folder``: images and masks of the same names, as `penumbra.data.layouts.folder` reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.pixels import write_image
from penumbra.data.export.tables import Table
from penumbra.data.layouts.classes import VALUES_FILE
from penumbra.data.sample import Record, Sample
from penumbra.imaging.write import write_mask


class FolderWriter(Writer):
    """Writes ``images/``, ``masks/`` of class indices, ``groups.csv`` and ``classes.txt``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        (job.folder / "images").mkdir(parents=True)
        (job.folder / "masks").mkdir()
        self._groups = Table(job.folder / "groups.csv", ("id", "group", "split"))

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        stem = self.job.stems[sample.id]
        write_image(self.job.folder / "images", stem, sample.image)
        self._groups.row((stem, sample.group, record.split))
        if sample.mask is None:
            self.note("no-mask-written", sample)
            return
        self.write_mask(stem, sample.mask)

    def write_mask(self, stem: str, mask: NDArray[np.uint8]) -> None:
        """Write one mask of class indices."""
        path = self.job.folder / "masks" / f"{stem}.png"
        write_mask(path, mask, n_classes=max(2, self.job.source.n_classes))

    def finish(self) -> None:
        """Write the names of the classes, and that the masks hold indices."""
        names = "\n".join(self.job.source.class_names)
        (self.job.folder / "classes.txt").write_text(f"{names}\n", encoding="utf-8", newline="\n")
        # A mask of only 0 and 255 could be drawn foreground or ignored pixels: say which.
        (self.job.folder / VALUES_FILE).write_text("indices\n", encoding="utf-8", newline="\n")

    def close(self) -> None:
        """Close the table."""
        self._groups.close()


FORM = Form(
    name="folder",
    describe="images/ and masks/ (PNG, class indices, 255 = ignore), classes.txt, groups.csv",
    parts=("images", "masks", "classes.txt", VALUES_FILE, "groups.csv"),
    open=FolderWriter,
)
