"""A DICOM file, parsed up to its pixels without trusting it and without repeating what it says."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.dicom.elements import Elements
from penumbra.imaging.dicom.walking import LONG_VRS, UNDEFINED, CutOffError, Walker, read_head
from penumbra.imaging.formats import require_plain_file, unreadable
from penumbra.imaging.limits import Limits, damaged

IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"

_PIECE = 2**18
_MOST_OF_HEAD = 2**23
_PIXEL_TAGS = {0x7FE00008: "float32", 0x7FE00009: "float64", 0x7FE00010: "integer"}
_PARSER_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn whatever a parser or decoder raises into our error, less its words.

    Their words may quote the file, so that only the kind of the error is kept, and the original
    does not show in a traceback either.
    """
    try:
        yield
    except CutOffError:
        raise damaged(path, "it is cut off", truncated=True) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except _PARSER_ERRORS as error:
        raise damaged(path, type(error).__name__) from None


class _Bounded(io.RawIOBase):
    """A stream whose `read` never asks for more than is left.

    Python reserves what `read` is asked for before it reads, and a damaged length asks for 4 GiB.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream, self.size = stream, size

    def read(self, count: int = -1, /) -> bytes:
        left = max(0, self.size - self._stream.tell())
        return self._stream.read(left if count < 0 else min(count, left))

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels stand.

    Attributes:
        kind: ``"integer"``, ``"float32"`` or ``"float64"``.
        wide: whether the element counts in 16-bit words (OW), which matters in big endian.
        start: offset of its value in the stream.
        length: bytes of its value; ``None`` where it is encapsulated.
    """

    kind: str
    wide: bool
    start: int
    length: int | None


@dataclass(frozen=True)
class Parsed:
    """A parsed file whose pixels have not been read.

    Attributes:
        elements: everything before the pixels.
        syntax: transfer syntax UID.
        is_little: byte order of what is not encapsulated.
        pixels: where the pixels are; ``None`` where the file holds none.
        stream: the (inflated) file.
        size: bytes in the stream.
    """

    elements: Elements
    syntax: str
    is_little: bool
    pixels: PixelElement | None
    stream: BinaryIO
    size: int

    def read(self, start: int, count: int) -> bytes:
        """Read up to `count` bytes at `start` of the stream."""
        self.stream.seek(start)
        return self.stream.read(count)


@contextlib.contextmanager
def parsed(path: Path, limits: Limits, *, head_only: bool = False) -> Iterator[Parsed]:
    """Parse everything before the pixels; the file stays open inside the block.

    Args:
        path: the file.
        limits: what it may take, once inflated too.
        head_only: no pixels will be read: of a deflated file only the beginning is inflated,
            8 MiB at most.

    Raises:
        ImageFileError: the file is missing, damaged, no plain file or over the limits, or only
            its head is wanted and takes too much; the text quotes nothing.
    """
    size = require_plain_file(path).st_size
    limits.check_file(path, size)
    with guarded(path), path.open("rb") as handle:
        stream = cast(BinaryIO, _Bounded(handle, size))
        syntax = _transfer_syntax(stream)
        if syntax != DEFLATED:
            yield _parse(stream, syntax)
        elif head_only:
            yield _parse_head(path, stream, limits)
        else:
            yield _parse(_inflated(path, stream, limits)[0], syntax)


def _parse(stream: BinaryIO, syntax: str) -> Parsed:
    size = cast(_Bounded, stream).size
    is_little, is_implicit = syntax != BIG, _is_implicit(stream, syntax)
    walker = Walker(stream, is_little=is_little)
    data_set = walker.data_set(is_implicit=is_implicit, stop=lambda tag: tag in _PIXEL_TAGS)
    if not data_set:
        raise CutOffError
    pixels = _pixel_element(stream, is_little=is_little, is_implicit=is_implicit)
    return Parsed(Elements(data_set), syntax, is_little, pixels, stream, size)


def _parse_head(path: Path, stream: BinaryIO, limits: Limits) -> Parsed:
    """Parse the beginning of a deflated file, whose pixels may lie behind what is inflated."""
    plain, is_whole = _inflated(path, stream, limits, _MOST_OF_HEAD)
    try:
        found = _parse(plain, DEFLATED)
    except CutOffError:
        if is_whole:
            raise
    else:
        if is_whole or found.pixels is not None:
            return found
    raise ImageFileError(
        expected(
            str(path),
            f"a DICOM file whose pixels begin within {_MOST_OF_HEAD:,} bytes once inflated",
            "a deflated one whose header goes on behind them",
            "storing it without deflate, as Explicit VR Little Endian",
        )
    )


def _is_implicit(stream: BinaryIO, syntax: str) -> bool:
    """Look at the first element: some files are written otherwise than they say."""
    start = stream.tell()
    vr = stream.read(6)[4:]
    stream.seek(start)
    is_explicit = vr.isalpha() and vr.isupper()
    return not is_explicit if len(vr) == 2 else syntax == IMPLICIT


def _transfer_syntax(stream: BinaryIO) -> str:
    """Read the meta information and leave the stream behind it."""
    start = 132 if stream.read(132)[128:] == b"DICM" else 0
    found = ""
    while True:
        stream.seek(start)
        head = stream.read(12)
        group, element, vr = head[:2], head[2:4], head[4:6]
        if group != b"\x02\x00" or len(head) < 8:
            break
        if vr in LONG_VRS:
            begin, length = 12, struct.unpack("<I", head[8:12])[0]
        elif vr.isalpha() and vr.isupper():
            begin, length = 8, struct.unpack("<H", head[6:8])[0]
        else:
            begin, length = 8, struct.unpack("<I", head[4:8])[0]
        stream.seek(start + begin)
        value = stream.read(length)
        if element == b"\x10\x00":
            found = value.decode("latin-1").strip(" \0")
        start += begin + length
    stream.seek(start)
    if not found:
        # Files from before the meta information existed: little endian, explicit or not.
        found = EXPLICIT if head[4:6].isalpha() and head[4:6].isupper() else IMPLICIT
    return found


def _inflated(
    path: Path, stream: BinaryIO, limits: Limits, most: int | None = None
) -> tuple[BinaryIO, bool]:
    """Inflate the rest of a stream, piece by piece, so that no copy of the whole is made.

    Args:
        path: named in errors.
        stream: stands at the first deflated byte.
        limits: all of it may take ``max_bytes``.
        most: stop in silence once there are more bytes than this.

    Returns:
        What was inflated, and whether it is everything.
    """
    inflater, plain = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    enough = limits.max_bytes if most is None else min(most, limits.max_bytes)
    while not inflater.eof and plain.tell() <= enough:
        content = inflater.unconsumed_tail or stream.read(_PIECE)
        piece = inflater.decompress(content, _PIECE)
        if not content and not piece:
            raise damaged(path, "its deflated data are cut off", truncated=True)
        plain.write(piece)
    size = plain.tell()
    limits.check_file(path, size)
    plain.seek(0)
    return cast(BinaryIO, _Bounded(plain, size)), inflater.eof


def _pixel_element(stream: BinaryIO, *, is_little: bool, is_implicit: bool) -> PixelElement | None:
    head = read_head(stream, is_little=is_little, is_implicit=is_implicit)
    if head is None or head.tag not in _PIXEL_TAGS:
        return None
    return PixelElement(
        kind=_PIXEL_TAGS[head.tag],
        wide=head.vr in {b"", b"OW"},
        start=stream.tell(),
        length=None if head.length == UNDEFINED else head.length,
    )
