"""Which format a file is in, told by its first bytes and never by its name."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

from penumbra.errors import ImageFileError, expected

FileFormat = Literal["png", "jpeg", "gif", "bmp", "tiff", "dicom"]
"""The formats that are told apart."""

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
"""Suffixes (small letters) of files that say whom they are of, and how large a pixel is."""

IMAGE_SUFFIXES = DICOM_SUFFIXES | {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp"}
"""Suffixes (small letters) by which a folder's images are listed, before any file is opened."""

HEAD_BYTES = 132
"""How many first bytes tell the format; DICOM keeps its mark at 128."""

_MARKS: tuple[tuple[bytes, FileFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)

# DICOM without its preamble starts with an element of group 2 or 8: group, element, then two
# capital letters (explicit) or, in group 8, a short length (implicit).
_BARE_DICOM = re.compile(
    rb"\x02\x00[\x00-\x18]\x00(UL|OB|UI|SH)|\x08\x00[\x00-\x18]\x00([A-Z]{2}|[\x00-\x40]\x00\x00\x00)",
    re.DOTALL,
)


def format_of(head: bytes) -> FileFormat | None:
    r"""Tell the format from a file's first bytes; ``None`` where it is none of the known ones.

    Examples:
        >>> format_of(b"GIF89a\x01\x00")
        'gif'
        >>> format_of(b"hello") is None
        True
    """
    # The preamble of a DICOM file may make it a TIFF file too, which knows less of the image.
    if head[128:132] == b"DICM":
        return "dicom"
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return "dicom" if _BARE_DICOM.match(head) else None


def looks_like_image(path: Path) -> bool:
    """Tell by its suffix whether a file is listed as an image; hidden files never are."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def unreadable(path: Path, error: OSError) -> ImageFileError:
    """Build the error for a file that the operating system does not hand over."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
    return ImageFileError(
        expected(
            str(path), "a readable file", reason or repr(error), "checking its path and permissions"
        )
    )


def require_plain_file(path: Path) -> os.stat_result:
    """Refuse whatever is no plain file: opening a pipe or a device could wait for ever.

    Returns:
        What the system says of the file, so that nobody has to ask again.

    Raises:
        ImageFileError: it is something else, there is nothing, or a symbolic link leads back to
            itself.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise ImageFileError(
            expected(str(path), "a plain file", "something else", "removing it from the source")
        )
    return found


def sniff_format(path: Path) -> FileFormat:
    """Tell a file's format from its content.

    Raises:
        ImageFileError: the file is missing, empty, no plain file, or no known image format.
    """
    require_plain_file(path)
    return format_in(path)


def format_in(path: Path) -> FileFormat:
    """Tell the format of what is known to be a plain file; see `sniff_format`."""
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    found = format_of(head)
    if found is None:
        got = "an empty file (0 bytes)" if not head else f"a file that begins with {head[:8]!r}"
        raise ImageFileError(
            expected(
                str(path),
                "an image (PNG, JPEG, TIFF, GIF, BMP or DICOM)",
                got,
                "exporting it again in one of these formats, or removing it",
            )
        )
    return found
