"""Export a source: sample by sample into a folder beside, then into place as a whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.data.export.base import Form, Job, Writer
from penumbra.data.export.catalogue import FORMS, form_named
from penumbra.data.export.names import stems_of
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, StorageError, expected
from penumbra.progress import Progress, silent
from penumbra.storage import write_json

MARK = "export.json"
"""Says that a folder is an export, and of what; written last."""

_STAGE = ".export.part"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        out: the folder.
        form: the form's name.
        samples: how many samples were written.
        masks: how many of them have a mask.
        findings: what was noticed, the source's own findings first.
    """

    out: Path
    form: str
    samples: int
    masks: int
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {
            "out": str(self.out),
            "form": self.form,
            "samples": self.samples,
            "masks": self.masks,
            "findings": [finding.to_json() for finding in self.findings],
        }


def export_source(
    source: Source,
    out: str | Path,
    *,
    form: str = "folder",
    with_masks: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write a source in another form.

    One sample is in memory at a time. A sample that cannot be read becomes a finding and is left
    out. Images are written from their decoded pixels, as PNG or, where the form or the numbers
    ask for it, TIFF, so nothing else that the original files held travels along. The export is
    made in ``.export.part`` inside `out` and moved into place when it is whole; ``export.json``
    comes last, and the originals are only read.

    Args:
        source: what to write.
        out: an empty or new folder, or an earlier export with `overwrite`.
        form: one of `FORMS`: folder, coco, rsna, nerve, yolo.
        with_masks: keep the masks beside what replaces them, where the form has such a place.
        overwrite: replace an earlier export; other files in its folder stay.
        progress: shows how many samples have been written.

    Returns:
        Counts and findings.

    Raises:
        SettingsError: there is no such form.
        SourceError: the source has no sample, or none of them can be read.
        StorageError: `out` holds something, lies in the source or around it, or cannot be written.
    """
    chosen, target = form_named(form), Path(out)
    _check_place(source, target)
    _check_empty(target, overwrite=overwrite)
    with _staged(target) as stage:
        (stage / "new").mkdir()
        job = Job(
            folder=stage / "new",
            source=source,
            stems=stems_of(source.records),
            with_masks=with_masks,
        )
        exported = _write(job, chosen, target, progress)
        _move_in(stage, target, _portable(exported, source))
    return exported


def _write(job: Job, form: Form, out: Path, progress: Progress) -> Exported:
    writer = form.open(job)
    unread: list[Finding] = []
    counts = {"samples": 0, "masks": 0}
    try:
        indices = range(len(job.source))
        for index in progress(indices, total=len(job.source), what="exporting"):
            finding = _add(writer, job.source, index, counts)
            unread += [finding] if finding else []
        writer.finish()
    finally:
        writer.close()
    if not counts["samples"]:
        raise SourceError(
            expected(
                f"the source {job.source.name}",
                "one with readable samples",
                unread[0].message if unread else "no sample",
                "another source",
            )
        )
    findings = (*job.source.findings, *unread, *_renamed(job), *writer.findings())
    return Exported(out=out, form=form.name, findings=findings, **counts)


def _add(writer: Writer, source: Source, index: int, counts: dict[str, int]) -> Finding | None:
    record = source.records[index]
    try:
        sample = source[index]
    except (ImageFileError, SourceError) as error:
        return Finding("unreadable", "error", (record.id,), str(error))
    writer.add(record, sample)
    counts["samples"] += 1
    counts["masks"] += sample.mask is not None
    return None


def _renamed(job: Job) -> tuple[Finding, ...]:
    renamed = [name for name, stem in job.stems.items() if name != stem]
    if not renamed:
        return ()
    message = f"{len(renamed)} ids are no safe file names and were changed: {some(renamed)}."
    return (Finding("renamed", "note", tuple(renamed), message),)


def _check_place(source: Source, out: Path) -> None:
    here, root = out.resolve(), source.root.resolve()
    if here == root or here in root.parents or root in here.parents:
        raise StorageError(
            expected(
                f"--out {out}",
                "outside the source, and not around it",
                f"a folder with {source.root} in its path, or the other way round",
                "a folder beside it",
            )
        )


def _check_empty(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise StorageError(
            expected(str(out), "a folder, or nothing yet", "a file", "another --out")
        )
    try:
        held = next(out.iterdir(), None)
    except OSError as error:
        raise _unwritable(out, error) from error
    if held is None:
        return
    is_ours = (out / MARK).is_file() or (out / _STAGE).is_dir()
    if not (overwrite and is_ours):
        got = "an earlier export" if is_ours else "a folder with other files, which are left alone"
        remedy = "--overwrite to replace it" if is_ours else "an empty folder for --out"
        raise StorageError(expected(str(out), "an empty folder, or nothing yet", got, remedy))


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    stage = out / _STAGE
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir()
        yield stage
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for path in made:  # nothing is left of a folder that was made for nothing
            with contextlib.suppress(OSError):
                path.rmdir()


def _portable(exported: Exported, source: Source) -> dict[str, Any]:
    """Give what `export.json` says: where someone keeps data does not travel with an export."""
    document = exported.to_json() | {"version": 1}
    del document["out"]
    for finding in document["findings"]:
        finding["message"] = finding["message"].replace(str(source.root), source.layout)
    return document


def _move_in(stage: Path, out: Path, document: dict[str, Any]) -> None:
    """Take the earlier export away, its mark first, and put the new one there, its mark last."""
    old = stage / "old"
    old.mkdir()
    for name in (MARK, *(part for form in FORMS for part in form.parts)):
        if (out / name).exists():
            (out / name).replace(old / name)
    for path in sorted((stage / "new").iterdir()):
        path.replace(out / path.name)
    write_json(out / MARK, document)


def _unwritable(out: Path, error: OSError) -> StorageError:
    return StorageError(
        expected(
            str(out),
            "writable, with room for the export",
            error.strerror or repr(error),
            "another --out, or freeing space; nothing half-written was left behind",
        )
    )
