"""Unpacking archives: all kinds, and none that is hostile or broken."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from penumbra.data.download.unpack import UnpackLimits, unpack
from penumbra.errors import DownloadError


def noise(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpacked(data: bytes, folder: Path, **options: object) -> dict[str, bytes]:
    archive = folder / "archive"
    archive.write_bytes(data)
    unpack(archive, folder / "out", **options)  # type: ignore[arg-type]
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


FILES = {"a/b/1.txt": b"one", "a/2.txt": b"two", "c d/é🧠.txt": b"three"}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archives_of_every_kind_are_unpacked(tmp_path: Path, mode: str) -> None:
    pairs = [(member(name), data) for name, data in FILES.items()]
    data = zipped(FILES) if mode == "zip" else tarred(pairs, mode)
    assert unpacked(data, tmp_path) == FILES
    assert unpacked(data, tmp_path, within="a") == FILES | {"b/1.txt": b"one", "2.txt": b"two"}


def test_a_folder_inside_is_found_by_a_wildcard_and_extras_stay_out(tmp_path: Path) -> None:
    held = {"top-1/in/x": b"x", "top-1/other": b"", "__MACOSX/top-1/in/x": b"", "top-1/in/.ds": b""}
    assert unpacked(zipped(held), tmp_path, within="*/in") == {"x": b"x"}
    with pytest.raises(DownloadError, match="files in nowhere"):
        unpacked(zipped(held), tmp_path, within="nowhere")


def link_in_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"a": b"secret"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "up": lambda: zipped({"fine": b"", "../up": b"x"}),
    "up inside": lambda: zipped({"a/../../up": b"x"}),
    "root": lambda: zipped({"/up": b"x"}),
    "backslash": lambda: zipped({"..\\up": b"x"}),
    "drive": lambda: zipped({"C:/up": b"x"}),
    "nul": lambda: zipped({"up": b"x"}).replace(b"up", b"u\0"),
    "zip link": link_in_zip,
    "encrypted": encrypted,
    "same but for case": lambda: zipped({"A/x": b"1", "a/X": b"2"}),
    "file and folder": lambda: zipped({"a": b"1", "a/b": b"2"}),
    "folder and file": lambda: zipped({"a/b": b"1", "a": b"2"}),
    "tar up": lambda: tarred([(member("../up"), b"x")]),
    "tar root": lambda: tarred([(member("/up"), b"x")]),
    "tar up folder": lambda: tarred([(member("../up", tarfile.DIRTYPE), b"")]),
    "tar symbolic": lambda: tarred([(member("a", tarfile.SYMTYPE, "/etc"), b"")]),
    "tar hard": lambda: tarred([(member("a", tarfile.LNKTYPE, "../up"), b"")]),
    "tar device": lambda: tarred([(member("a", tarfile.CHRTYPE), b"")]),
    "tar pipe": lambda: tarred([(member("a", tarfile.FIFOTYPE), b"")]),
    "text": lambda: b"<html>Not found</html>",
    "nothing": lambda: b"",
    "cut zip": lambda: zipped({"a": noise(9000)})[:4000],
    "cut tar": lambda: tarred([(member("a"), noise(90_000))])[:40_000],
    "cut bz2": lambda: tarred([(member("a"), noise(90_000))], "w:bz2")[:40_000],
    "cut xz": lambda: tarred([(member("a"), noise(90_000))], "w:xz")[:40_000],
    "wrong sum": lambda: zipped({"a": b"abc" * 999}).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "empty zip": lambda: zipped({}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_archives_are_refused_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DownloadError, match="Expected"):
        unpacked(HOSTILE[kind](), tmp_path / "in")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "in" / "archive"]


@pytest.mark.parametrize("mode", ["zip", "w:gz"])
def test_bombs_are_stopped(tmp_path: Path, mode: str) -> None:
    zeros = bytes(40 * 2**20)
    data = zipped({"a": zeros}) if mode == "zip" else tarred([(member("a"), zeros)])
    with pytest.raises(DownloadError, match="bytes once unpacked"):
        unpacked(data, tmp_path)
    assert unpacked(data, tmp_path, limits=UnpackLimits(max_ratio=2000)) == {"a": zeros}
    many = zipped({f"f{number}": b"" for number in range(60)})
    with pytest.raises(DownloadError, match="at most 20 files"):
        unpacked(many, tmp_path, limits=UnpackLimits(max_files=20))
