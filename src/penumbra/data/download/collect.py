"""Bring a data set into a folder: fetch, check, unpack, remember."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penumbra.data.download.catalogue import Collection, RemoteFile
from penumbra.data.download.fetch import Patience, fetch, sha256_of
from penumbra.data.download.record import FileRecord, Record
from penumbra.data.download.unpack import UnpackLimits, unpack
from penumbra.data.sample import Finding
from penumbra.errors import DownloadError, SettingsError, expected
from penumbra.progress import Progress, silent

_ARCHIVES = ".archives"


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """What a download brought.

    Attributes:
        out: the data set's folder.
        collection: the data set's name.
        layout: what opens the folder.
        files: what is known of each archive that is here, by name.
        new: names of those that this call brought.
        findings: which archives are missing or were refused, and why.
    """

    out: Path
    collection: str
    layout: str
    files: dict[str, FileRecord] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {
            "out": str(self.out),
            "collection": self.collection,
            "layout": self.layout,
            "new": list(self.new),
            "files": {name: vars(entry) for name, entry in self.files.items()},
            "findings": [finding.to_json() for finding in self.findings],
        }


def download(
    collection: Collection,
    out: str | Path,
    *,
    accept_licence: bool = False,
    only: Sequence[str] = (),
    by_hand: Path | None = None,
    keep_archives: bool = False,
    limits: UnpackLimits | None = None,
    patience: Patience | None = None,
    progress: Progress = silent,
) -> Downloaded:
    """Fetch a data set from its official addresses and unpack it.

    What is there already is not fetched again, and a file that was cut is gone on with. Each
    archive's SHA-256 is compared with the one its makers publish, or, where they publish none,
    with that of the first time, which is kept in ``.download.json``: the first time itself rests
    on the server, and on https where that is spoken.

    Args:
        collection: one of `COLLECTIONS`, or a description of your own.
        out: an empty or new folder, or where this data set was begun.
        accept_licence: that the reader of the licence accepts it; nothing is fetched without.
        only: names of some archives, with or without suffix; all where empty.
        by_hand: a folder with archives that were fetched in another way; no network is used, and
            nothing in it is changed.
        keep_archives: keep fetched archives in ``.archives`` after they are unpacked.
        limits: how much an archive may hold.
        patience: how long to go on trying.
        progress: shows what arrives.

    Returns:
        What is there now. An archive among several that fails is a finding.

    Raises:
        SettingsError: the licence is not accepted, or `only` names no archive of the set.
        DownloadError: nothing could be brought; the text says why.
        StorageError: `out` holds something else, or cannot be written.
    """
    _check_accepted(collection, accept_licence)
    files = _chosen(collection, only)
    job = _Job(Path(out), by_hand, keep_archives, limits, patience, progress)
    record = Record(job.out, collection)
    if by_hand is None:
        _check_fetchable(collection, [file for file in files if not _is_here(record, file)])
    record.write()
    new, findings, first = [], [], None
    for file in files:
        if _is_here(record, file):
            continue
        try:
            _bring(job, record, file)
            new.append(file.name)
        except DownloadError as error:
            first = first or error
            findings.append(Finding("not-downloaded", "error", (file.name,), str(error)))
    if first is not None and not any(_is_here(record, file) for file in files):
        raise first
    if not keep_archives:
        shutil.rmtree(job.archives, ignore_errors=True)
    return Downloaded(
        out=job.out,
        collection=collection.name,
        layout=collection.layout,
        files=record.files,
        new=tuple(new),
        findings=tuple(findings),
    )


@dataclass(frozen=True)
class _Job:
    out: Path
    by_hand: Path | None
    keep_archives: bool
    limits: UnpackLimits | None
    patience: Patience | None
    progress: Progress

    @property
    def archives(self) -> Path:
        return self.out / _ARCHIVES


def _bring(job: _Job, record: Record, file: RemoteFile) -> None:
    path = job.archives / file.name if job.by_hand is None else job.by_hand / file.name
    if job.by_hand is not None:
        _check_by_hand(path, file)
    elif not path.is_file():
        fetch(
            file.url,
            path,
            max_bytes=file.max_bytes,
            patience=job.patience,
            progress=job.progress,
        )
    sha256, n_bytes = sha256_of(path), path.stat().st_size
    try:
        record.check(file, n_bytes=n_bytes, sha256=sha256)
        record.keep(file, n_bytes=n_bytes, sha256=sha256, unpacked=0)
        count = unpack(path, job.out / file.into, within=file.within, limits=job.limits)
    except DownloadError:
        if job.by_hand is None:
            path.unlink(missing_ok=True)  # the next try begins anew
        raise
    record.keep(file, n_bytes=n_bytes, sha256=sha256, unpacked=count)
    if job.by_hand is None and not job.keep_archives:
        path.unlink()


def _is_here(record: Record, file: RemoteFile) -> bool:
    known = record.files.get(file.name)
    return known is not None and known.unpacked > 0


def _check_accepted(collection: Collection, accepted: bool) -> None:  # noqa: FBT001 - one question
    if not accepted:
        raise SettingsError(
            expected(
                f"the licence of {collection.name} ({collection.licence_url})",
                "accepted by you",
                "no answer yet",
                "--accept-licence if you do",
            )
        )


def _chosen(collection: Collection, only: Sequence[str]) -> tuple[RemoteFile, ...]:
    known = {name: file for file in collection.files for name in (file.name, Path(file.name).stem)}
    unknown = [name for name in only if name not in known]
    if unknown:
        names = ", ".join(Path(file.name).stem for file in collection.files)
        raise SettingsError(
            expected(
                f"--only for {collection.name}",
                f"some of {names}",
                repr(unknown[0]),
                "one of these",
            )
        )
    wanted = {known[name].name for name in only}
    return tuple(file for file in collection.files if not only or file.name in wanted)


def _check_fetchable(collection: Collection, files: Sequence[RemoteFile]) -> None:
    foreign = [file for file in files if not file.is_fetchable]
    if not foreign:
        return
    raise DownloadError(
        expected(
            f"the official addresses of {collection.name}",
            "http, https or ftp",
            f"{len(foreign)} that are not, such as {foreign[0].url}",
            f"`curl -C - -O {foreign[0].url}` for each one you want, then --from FOLDER",
        )
    )


def _check_by_hand(path: Path, file: RemoteFile) -> None:
    if not path.is_file():
        raise DownloadError(
            expected(str(path), f"there, fetched from {file.url}", "no such file", "fetching it")
        )
    n_bytes = path.stat().st_size
    if n_bytes > file.max_bytes:
        raise DownloadError(
            expected(
                str(path), f"at most {file.max_bytes:,} bytes", f"{n_bytes:,}", "the right file"
            )
        )
