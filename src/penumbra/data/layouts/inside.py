"""Paths that a file's content names: taken only where they stay inside the data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from penumbra.errors import SourceError, expected


def path_inside(folder: Path, text: str, *, named_in: Path) -> Path:
    r"""Join a relative path from a table or a JSON file to the folder that it is relative to.

    A data set from elsewhere must not make Penumbra open files beside it. The check is by the text
    alone: links inside the folder were put there by its owner and are followed.

    Args:
        folder: what the path is relative to.
        text: the path as the file has it, with ``/`` or, from Windows, with a backslash.
        named_in: the file that names it, for the error.

    Raises:
        SourceError: the path is empty, absolute, or leads out of the folder by ``..``.

    Examples:
        >>> path_inside(Path("set"), "a\\\\b.png", named_in=Path("t.csv")).as_posix()
        'set/a/b.png'
        >>> path_inside(Path("set"), "../b.png", named_in=Path("t.csv"))
        Traceback (most recent call last):
        penumbra.errors.SourceError: Expected every path in t.csv to be ... but got '../b.png'...
    """
    relative = PurePosixPath(text.replace("\\", "/"))
    windows = PureWindowsPath(text)
    is_out = relative.is_absolute() or windows.drive or windows.root or ".." in relative.parts
    if is_out or not relative.parts or "\0" in text:
        raise SourceError(
            expected(
                f"every path in {named_in}",
                "relative and inside the data set",
                repr(text[:80]),
                "correcting the file, if you trust where it came from",
            )
        )
    return folder.joinpath(*relative.parts)
