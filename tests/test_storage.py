"""Atomic writes: what is said when the file system refuses, by the reason that it gives."""

import errno
import os
import sys
from pathlib import Path

import pytest

from penumbra.errors import FileNameError, StorageError
from penumbra.storage import check_writable, write_text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds the whole path, not a name")
def test_the_longest_name_that_the_file_system_holds_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 4) + ".txt")
    write_text(target, "kept")
    assert target.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds the whole path, not a name")
def test_a_name_that_is_too_long_is_not_called_a_lack_of_permission(tmp_path: Path) -> None:
    with pytest.raises(FileNameError, match=r"300 bytes .*Try a shorter file name\.$"):
        write_text(tmp_path / ("n" * 300), "lost")
    for write in (lambda folder: write_text(folder / "a.txt", "lost"), check_writable):
        with pytest.raises(StorageError, match=r"folder name .*Try a shorter --out\.$") as caught:
            write(tmp_path / ("n" * 300))
        assert not isinstance(caught.value, FileNameError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "Try freeing space"),
        (errno.EROFS, "a change of its permissions"),
        (errno.EACCES, "a change of its permissions"),
    ],
)
def test_other_reasons_keep_their_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=said) as caught:
        write_text(tmp_path / "a.txt", "lost")
    assert not isinstance(caught.value, FileNameError)
    assert list(tmp_path.iterdir()) == []
