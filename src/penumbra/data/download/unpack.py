"""Unpack an archive without trusting a word of it: names, kinds and sizes are checked.

Only regular files are written, only below the target, only as many bytes as allowed, counted while
they are unpacked rather than believed. An archive with a single bad entry is refused whole.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from penumbra.errors import DownloadError, StorageError, expected

_CHUNK = 2**20
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)

Entry = tuple[tuple[str, ...], Callable[[], IO[bytes]]]
"""The parts of a regular file's name in an archive, and what opens it."""


@dataclass(frozen=True, kw_only=True)
class UnpackLimits:
    """How much an archive may hold.

    Attributes:
        max_files: most entries.
        max_bytes: most bytes once unpacked.
        max_ratio: most bytes unpacked per byte of the archive, beyond `free_bytes`.
        free_bytes: so many bytes are never too many for their archive.
    """

    max_files: int = 500_000
    max_bytes: int = 64 * 2**30
    max_ratio: int = 100
    free_bytes: int = 16 * 2**20


def unpack(
    archive: Path, into: Path, *, within: str = "", limits: UnpackLimits | None = None
) -> int:
    """Unpack a zip or tar archive into a folder.

    It is unpacked beside its place first and moved there when it is whole; files of the same
    names are replaced. Hidden files, and those that macOS adds, are left out.

    Args:
        archive: zip, tar, tar.gz, tar.bz2 or tar.xz, told by its content.
        into: the folder; made where it is not there.
        within: take only what lies under this folder of the archive, ``*`` for any one name.
        limits: how much it may hold.

    Returns:
        How many files were unpacked.

    Raises:
        DownloadError: it is no such archive or is damaged, an entry is a link, a device,
            encrypted, or named so that it would lie elsewhere, or it holds more than allowed.
        StorageError: there is no room, or no permission.
    """
    stage = into / ".unpack.part"
    wanted = tuple(part for part in within.split("/") if part)
    try:
        into.mkdir(parents=True, exist_ok=True)
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir()
        count = _unpack(archive, stage, wanted, limits or UnpackLimits())
        _move_in(stage, into)
    except _BROKEN as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:  # a decoder speaks, not the disk
            raise _damaged(archive, error) from error
        raise StorageError(
            expected(
                str(into), "writable, with room", error.strerror or repr(error), "another --out"
            )
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return count


def _unpack(archive: Path, stage: Path, within: tuple[str, ...], limits: UnpackLimits) -> int:
    size = archive.stat().st_size
    most = min(limits.max_bytes, limits.free_bytes + limits.max_ratio * size)
    written = count = 0
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for parts, open_entry in _entries(archive, limits):
        below = _below(parts, within)
        if not below:
            continue
        _check_new(archive, below, files, folders)
        target = stage.joinpath(*below)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_entry() as source, target.open("xb") as handle:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > most:
                    raise _unsafe(archive, f"of at most {most:,} bytes once unpacked", "more")
                handle.write(chunk)
        count += 1
    if not count:
        raise _unsafe(archive, f"an archive with files in {'/'.join(within) or 'it'}", "none")
    return count


def _entries(archive: Path, limits: UnpackLimits) -> Iterator[Entry]:
    with archive.open("rb") as handle:
        is_zip = handle.read(4) in _ZIP_MARKS
    listed = _zip_entries(archive, limits) if is_zip else _tar_entries(archive)
    for number, (name, open_entry) in enumerate(listed, start=1):
        if number > limits.max_files:
            raise _unsafe(archive, f"of at most {limits.max_files:,} files", "more")
        parts = _safe_parts(archive, name)
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield parts, open_entry


def _zip_entries(
    archive: Path, limits: UnpackLimits
) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(archive) as opened:
        if len(opened.infolist()) > 2 * limits.max_files:
            raise _unsafe(archive, f"of at most {limits.max_files:,} files", "more")
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(
                    archive, "of files and folders alone", f"a link ({_short(info.filename)})"
                )
            if info.flag_bits & 0x1:
                raise _unsafe(archive, "not encrypted", f"encrypted ({_short(info.filename)})")
            # Python cuts a name at its first NUL; what was cut must not go unseen.
            name = info.orig_filename
            if info.is_dir():
                _safe_parts(archive, name)
                continue
            yield name, lambda info=info: opened.open(info)  # type: ignore[misc]


def _tar_entries(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with tarfile.open(archive, mode="r:*") as opened:
        for member in opened:
            if member.isdir():
                _safe_parts(archive, member.name)
                continue
            if not member.isreg():
                raise _unsafe(
                    archive, "of files and folders alone", f"a link ({_short(member.name)})"
                )
            yield member.name, lambda member=member: opened.extractfile(member)  # type: ignore[misc]


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    has_drive = any(":" in part for part in parts[:1])
    if name.startswith("/") or "\\" in name or ".." in parts or has_drive or _CONTROL.search(name):
        raise _unsafe(archive, "of names below its own folder", _short(name))
    return parts


def _below(parts: tuple[str, ...], within: tuple[str, ...]) -> tuple[str, ...]:
    head = parts[: len(within)]
    fits = len(head) == len(within) and all(map(fnmatchcase, head, within))
    return parts[len(within) :] if fits else ()


def _check_new(
    archive: Path,
    parts: tuple[str, ...],
    files: set[tuple[str, ...]],
    folders: set[tuple[str, ...]],
) -> None:
    """Refuse a name that is there already, also but for case, as file or as folder."""
    folded = tuple(part.casefold() for part in parts)
    above = {folded[:length] for length in range(1, len(folded))}
    if folded in files or folded in folders or above & files:
        raise _unsafe(archive, "of names that differ", f"{_short('/'.join(parts))} twice")
    files.add(folded)
    folders |= above


def _move_in(stage: Path, into: Path) -> None:
    for path in sorted(stage.rglob("*")):
        if path.is_file():
            target = into / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _short(name: str) -> str:
    return repr(name[:80])


def _unsafe(archive: Path, to_be: str, got: str) -> DownloadError:
    remedy = "the data set's homepage; nothing of it was unpacked"
    return DownloadError(expected(f"the archive {archive.name}", to_be, got, remedy))


def _damaged(archive: Path, error: Exception) -> DownloadError:
    return DownloadError(
        expected(
            str(archive),
            "a whole zip or tar archive",
            f"a damaged one or none ({error})",
            "fetching it again",
        )
    )
