"""A corrected set as a folder: made beside, and in its place when it is whole."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from penumbra.audit.account import NOT_COPIED, Account, Change, account_of, change_of, write_account
from penumbra.audit.corrections import Corrections, corrected_mask
from penumbra.audit.digests import mask_of
from penumbra.data.export.names import stems_of
from penumbra.data.layouts.classes import VALUES_FILE
from penumbra.data.sample import Finding, Record
from penumbra.errors import ImageFileError, SourceError, StorageError, expected
from penumbra.imaging.files import looks_like_image, require_plain_file, sniff_format
from penumbra.imaging.formats import unreadable
from penumbra.imaging.write import write_mask
from penumbra.progress import Progress, silent
from penumbra.storage import atomic_path, write_text

_AT_ONCE = 2**20
_KEY = "corrections.sha256"
_SUFFIXES = {"jpeg": "jpg", "tiff": "tif", "dicom": "dcm"}


@dataclass
class _Writing:
    """One folder in the making."""

    planned: Corrections
    stage: Path
    changes: list[Change] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    rows: list[tuple[str, str, str]] = field(default_factory=list)


def write_folder(
    planned: Corrections,
    where: Path,
    *,
    settings: Mapping[str, str | None],
    progress: Progress = silent,
) -> Account:
    """Write what stays in the ``folder`` layout.

    It is made in ``.NAME.part`` beside `where`, which a later call for the same corrections of the
    same files goes on with, file by file, and any other call begins anew.

    Args:
        planned: what is to change.
        where: the folder, which does not exist.
        settings: how, for the account.
        progress: shows how many samples were written.

    Returns:
        The account, which is in the folder too. A mask that cannot be read is a finding, and its
        image is there without one. An image that cannot be copied, such as a pipe or a link that
        leads nowhere, is one too, and its sample is not there.

    Raises:
        StorageError: the folder cannot be written.
    """
    stage = where.with_name(f".{where.name}.part")
    kept = planned.kept
    try:
        _begin(stage, _key(planned, settings))
        writing = _Writing(planned, stage)
        writing.changes += [change_of(n, each) for n, each in planned.left_out.items()]
        stems = stems_of(kept.records)
        for record in progress(kept.records, total=len(kept), what="writing"):
            _add(writing, record, stems[record.id])
        _tables(writing)
        account = account_of(planned, writing.changes, writing.findings, settings)
        write_account(account, stage / "account.json")
        stage.rename(where)
        (where / _KEY).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            expected(
                str(where), "writable, with room for the set", error.strerror or repr(error),
                "another --out, or freeing space; the same command then goes on",
            )
        ) from error  # fmt: skip
    return account


def _key(planned: Corrections, settings: Mapping[str, str | None]) -> str:
    """Give a digest of all that the folder is a function of; files by size and time."""
    source = planned.source
    files = [
        (str(path), about.st_size, about.st_mtime_ns)
        for record in source.records
        for path in (record.image, *record.masks)
        if (about := _about(path)) is not None
    ]
    document = [
        source.name,
        source.target,
        source.class_names,
        [(each.id, each.group, each.split, each.details) for each in source.records],
        files,
        {name: each.id for name, each in planned.left_out.items()},
        {name: each.to_json() for name, each in planned.masks.items()},
        dict(settings),
    ]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _about(path: Path) -> os.stat_result | None:
    # A file that the system does not tell of is a finding when its turn comes.
    try:
        return path.stat()
    except OSError:
        return None


def _begin(stage: Path, key: str) -> None:
    """Go on with a stage of the same key, or make an empty one."""
    kept = stage / _KEY
    if stage.exists() and not (kept.is_file() and kept.read_text(encoding="utf-8") == key):
        if not kept.is_file():
            raise StorageError(
                expected(str(stage), "nothing, or what an earlier call left", "something else",
                         "removing it, or another --out")
            )  # fmt: skip
        shutil.rmtree(stage)
    # The key comes first: a stage without one is somebody else's.
    write_text(kept, key)
    for name in ("images", "masks"):
        (stage / name).mkdir(exist_ok=True)


def _add(writing: _Writing, record: Record, stem: str) -> None:
    planned, stage = writing.planned, writing.stage
    try:
        suffix = _suffix(record.image)
        _copy(record.image, stage / "images" / f"{stem}{suffix}")
    except ImageFileError as error:
        writing.findings.append(Finding(NOT_COPIED, "error", (record.id,), str(error)))
        return
    writing.rows.append((stem, record.group, record.split or ""))
    mask_file = stage / "masks" / f"{stem}.png"
    try:
        if record.id in planned.masks:
            before, mask = corrected_mask(planned, record.id)
            writing.changes.append(change_of(record.id, planned.masks[record.id], before, mask))
        elif mask_file.is_file():
            return
        else:
            own = mask_of(planned.source, record)
            if own is None:
                return
            mask = own
    except (ImageFileError, SourceError) as error:
        writing.findings.append(Finding("unreadable", "error", (record.id,), str(error)))
        return
    write_mask(mask_file, mask, n_classes=planned.source.n_classes)


def _copy(image: Path, copy: Path) -> None:
    """Copy an image; what is wrong with it is told from what is wrong with the place.

    Raises:
        ImageFileError: the image is no plain file, or cannot be read.
        OSError: the copy cannot be written.
    """
    if copy.is_file():
        return
    require_plain_file(image)
    with _blamed(image):
        opened = image.open("rb")
    with opened, atomic_path(copy) as temporary, temporary.open("wb") as written:
        while block := _block(opened, image):
            written.write(block)


def _block(opened: BinaryIO, image: Path) -> bytes:
    with _blamed(image):
        return opened.read(_AT_ONCE)


@contextlib.contextmanager
def _blamed(image: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(image, error) from error


def _suffix(image: Path) -> str:
    """Give the suffix that says what the file is; that of the file itself where it is known."""
    if looks_like_image(image):
        return image.suffix
    name = sniff_format(image)
    return f".{_SUFFIXES.get(name, name)}"


def _tables(writing: _Writing) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "group", "split"))
    writer.writerows(writing.rows)
    write_text(writing.stage / "groups.csv", text.getvalue())
    names = "\n".join(writing.planned.source.class_names)
    write_text(writing.stage / "classes.txt", f"{names}\n")
    # A mask of only 0 and 255 could be drawn foreground or ignored pixels: say which.
    write_text(writing.stage / VALUES_FILE, "indices\n")
