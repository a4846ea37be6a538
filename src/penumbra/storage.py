"""Atomic writes: a file is either the old one or the new one, never half of either."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penumbra.errors import FileNameError, StorageError, expected

_OUT_OF_ROOM = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


_SHOWN = 40


def _storage_error(target: Path, error: OSError, *, is_folder: bool = False) -> StorageError:
    if error.errno == errno.ENAMETOOLONG:
        return _too_long(target, is_folder=is_folder)
    if error.errno in _OUT_OF_ROOM:
        return StorageError(
            expected(
                f"the disk of {target.parent}",
                "large enough for the result",
                f"no space left while writing {target.name}",
                "freeing space or another --out; nothing half-written was left behind",
            )
        )
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        # A file stands where a folder of the path should be.
        return StorageError(
            expected(str(target.parent), "a folder", "a file", "another --out, that of a folder")
        )
    return StorageError(
        expected(
            str(target),
            "writable",
            error.strerror or repr(error),
            "another --out, or a change of its permissions",
        )
    )


def _too_long(target: Path, *, is_folder: bool) -> StorageError:
    shown = target.name if len(target.name) <= _SHOWN else f"{target.name[:_SHOWN]}…"
    sentence = expected(
        f"the {'folder' if is_folder else 'file'} name {shown}",
        "short enough for the file system",
        f"{len(os.fsencode(target.name))} bytes in a path of {len(os.fsencode(target))}",
        "a shorter --out" if is_folder else "a shorter file name",
    )
    return StorageError(sentence) if is_folder else FileNameError(sentence)


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; move it there when the block ends well.

    The parent folder is made. When the block raises, the temporary file is removed and `target`
    stays as it was.

    Raises:
        FileNameError: the file's name is too long.
        StorageError: the folder or file cannot be written.
    """
    target = Path(target)
    # The suffix stays last, since image writers choose the format by it. The rest is cut short:
    # a name that fits must not fail for what is added to it here.
    stem = target.stem[:_SHOWN]
    temporary = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(target.parent, error, is_folder=True) from error
    try:
        yield temporary
        # Renaming a file that is not on the disk yet can leave an empty one after a power cut.
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _storage_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Try whether a folder can be written, so that long work does not find out at its end.

    Nothing is made that stays: a folder that does not exist yet is tried at its nearest parent.

    Raises:
        StorageError: it cannot.
    """
    folder = Path(folder)
    try:
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _storage_error(folder, error, is_folder=True) from error


def write_bytes(target: Path, data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8 with Unix line ends."""
    write_bytes(target, text.encode("utf-8"))


def json_ready(value: Any) -> Any:
    """Turn NumPy scalars, paths, tuples and dataclass-like values into what JSON can hold.

    NaN and infinities become ``None``: they are not JSON, and a reader in another language would
    refuse the whole document.

    Examples:
        >>> json_ready({"a": (1, float("nan"))})
        {'a': [1, None]}
    """
    plain = value.to_json() if hasattr(value, "to_json") else value
    plain = plain.tolist() if hasattr(plain, "tolist") else plain
    if isinstance(plain, dict):
        return {str(key): json_ready(item) for key, item in plain.items()}
    if isinstance(plain, (list, tuple, set, frozenset)):
        return [json_ready(item) for item in plain]
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    return plain if plain is None or isinstance(plain, (str, int, bool)) else str(plain)


def write_json(target: Path, document: Any) -> None:
    """Write `document` as indented JSON, atomically; see `json_ready` for what it may hold."""
    text = json.dumps(json_ready(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(target, text + "\n")
