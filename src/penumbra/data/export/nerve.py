"""``--to nerve``: TIFFs ``SUBJECT_FRAME`` with their masks, and the masks' run lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.pixels import write_tiff
from penumbra.data.export.tables import Table
from penumbra.data.sample import IGNORE, Record, Sample
from penumbra.imaging.rle import encode_pairs

_FRAME = re.compile(r"(?P<subject>[0-9]+)_[0-9]+")


def frames_of(records: Sequence[Record]) -> dict[str, str]:
    """Give each id its name ``SUBJECT_FRAME``: kept where all have one, else numbered.

    Subjects are numbered by the first appearance of their group, frames by their order within it.

    Examples:
        >>> frames_of([Record("a", "x", image=None), Record("b", "x", image=None)])
        {'a': '1_1', 'b': '1_2'}
    """
    matches = [_FRAME.fullmatch(record.id) for record in records]
    if all(m and m["subject"] == r.group for m, r in zip(matches, records, strict=True)):
        return {record.id: record.id for record in records}
    subjects: dict[str, int] = {}
    frames: Counter[int] = Counter()
    names = {}
    for record in records:
        subject = subjects.setdefault(record.group, len(subjects) + 1)
        frames[subject] += 1
        names[record.id] = f"{subject}_{frames[subject]}"
    return names


class NerveWriter(Writer):
    """Writes ``train/S_F.tif``, ``train/S_F_mask.tif`` and ``train_masks.csv``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._frames = frames_of(job.source.records)
        (job.folder / "train").mkdir(parents=True)
        self._lengths = Table(job.folder / "train_masks.csv", ("subject", "img", "pixels"))
        self._names = Table(job.folder / "frames.csv", ("frame", "id", "group", "split"))

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        frame = self._frames[sample.id]
        write_tiff(self.job.folder / "train" / f"{frame}.tif", sample.image)
        self.note_colour(sample)
        self._names.row((frame, sample.id, sample.group, record.split))
        if sample.mask is None:
            self.note("no-mask-written", sample)
            return
        foreground = (sample.mask > 0) & (sample.mask != IGNORE)
        if (sample.mask == IGNORE).any():
            self.note("ignore-lost", sample)
        if self.job.source.n_classes > 2 and foreground.any():
            self.note("classes-merged", sample)
        drawn = foreground * np.uint8(255)
        write_tiff(self.job.folder / "train" / f"{frame}_mask.tif", drawn)
        self._lengths.row((*frame.split("_"), encode_pairs(foreground)))

    def close(self) -> None:
        """Close the tables."""
        self._lengths.close()
        self._names.close()


FORM = Form(
    name="nerve",
    describe="train/SUBJECT_FRAME.tif with SUBJECT_FRAME_mask.tif (0 and 255), run lengths in "
    "train_masks.csv, and which sample is which in frames.csv",
    parts=("train", "train_masks.csv", "frames.csv"),
    open=NerveWriter,
)
