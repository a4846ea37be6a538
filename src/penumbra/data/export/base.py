"""What every form of export is: which parts it writes, and who writes a sample of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Record, Sample
from penumbra.data.source import Source

MESSAGES: dict[str, tuple[str, str]] = {
    "ignore-lost": (
        "warning",
        "{count} masks hold ignored pixels, which this form cannot say; they became background",
    ),
    "classes-merged": (
        "warning",
        "{count} masks hold classes that this form cannot tell apart; several classes became one",
    ),
    "no-mask-written": ("note", "{count} samples have no mask; their images were written alone"),
    "depth-lost": (
        "warning",
        "{count} images hold numbers that this form cannot keep; they were scaled to 16 bits, "
        "each by its own smallest and largest value",
    ),
    "colour-not-read": (
        "warning",
        "{count} images are in colour; their files keep it, but Penumbra reads this layout as grey",
    ),
}
"""Severity and sentence of what a form may have to say about samples that it wrote."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One export, as its writer sees it.

    Attributes:
        folder: an empty folder to write into; it becomes the export when all is written.
        source: what is exported.
        stems: the file stem of each sample, by id; safe on every system and unique.
        with_masks: whether hidden masks were asked for, where a form has them.
    """

    folder: Path
    source: Source
    stems: Mapping[str, str]
    with_masks: bool = False


@dataclass
class Writer:
    """Writes samples one at a time; a form derives from it.

    Attributes:
        job: what is written, and where to.
        noted: ids by kind of what was noticed on the way.
    """

    job: Job
    noted: dict[str, list[str]] = field(default_factory=dict, init=False)

    def add(self, record: Record, sample: Sample) -> None:
        """Write one sample."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what can only be written when all samples are."""

    def close(self) -> None:
        """Close what is open, whether or not the export ended well."""

    def note(self, kind: str, sample: Sample) -> None:
        """Remember something about a sample; `kind` is one of `MESSAGES`."""
        self.noted.setdefault(kind, []).append(sample.id)

    def note_colour(self, sample: Sample) -> None:
        """Remember an image whose channels differ, for a form whose layout is read as grey."""
        image = sample.image
        if image.shape[-1] == 3 and not (image == image[..., :1]).all():
            self.note("colour-not-read", sample)

    def findings(self) -> tuple[Finding, ...]:
        """Give one finding per kind of what was noted."""
        made = []
        for kind, ids in self.noted.items():
            severity, sentence = MESSAGES[kind]
            message = f"{sentence.format(count=len(ids))}: {some(ids)}."
            made.append(Finding(kind, severity, tuple(ids), message))
        return tuple(made)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form in which a source can be written.

    Attributes:
        name: the word after ``--to``.
        describe: one sentence saying which files are written; shown to the user.
        parts: the names that may come to lie in the folder.
        open: makes the writer of a job.
    """

    name: str
    describe: str
    parts: tuple[str, ...]
    open: Callable[[Job], Writer]
