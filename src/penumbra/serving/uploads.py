"""Images as clients send them: told by their first bytes, measured by their header, then decoded.

PNG, JPEG, GIF and BMP are read from memory. TIFF and DICOM are written to private temporary files
under names of our own, since their readers take paths; nothing that a client names ever becomes
one, and no error repeats one. Errors about DICOM files
quote nothing that they hold.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, MissingExtraError, PenumbraError, expected
from penumbra.imaging import pillow_reader
from penumbra.imaging.files import Limits, read_image, read_size
from penumbra.imaging.formats import HEAD_BYTES, FileFormat, format_of

_BYTES_PER_PIXEL = 8
"""Three channels of 16 bits, and some room; a few decoders take more for a while."""
_FROM_MEMORY = ("png", "jpeg", "gif", "bmp")
_HINT = "a smaller copy, or a higher limit"


class UploadError(PenumbraError):
    """An upload is refused.

    Attributes:
        status: of HTTP: 413 too large, 415 no known format, 422 damaged.
        code: short and stable.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """What an upload may be at most.

    Attributes:
        max_bytes: of the file.
        max_pixels: of the image, by its header.

    Examples:
        >>> UploadLimits().max_pixels
        40000000
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 40_000_000

    @property
    def of_readers(self) -> Limits:
        """The same for the readers; an image may take 8 bytes a pixel once decoded."""
        decoded = max(self.max_bytes, _BYTES_PER_PIXEL * self.max_pixels)
        return Limits(max_pixels=self.max_pixels, max_bytes=decoded)


class Sniffed(NamedTuple):
    """What a header says: the format, and the size of the image as it will be decoded."""

    format: FileFormat
    height: int
    width: int


def sniff(upload: bytes, limits: UploadLimits) -> Sniffed:
    """Tell format and size of an image from its header; no pixel is decoded.

    It parses what anyone may have sent, in pure Python, and so belongs in a thread.

    Args:
        upload: the whole file.
        limits: what it may be at most.

    Raises:
        UploadError: it is no image (415), too large (413), or damaged (422).

    Examples:
        >>> import cv2
        >>> _, encoded = cv2.imencode(".png", np.zeros((2, 3), np.uint8))
        >>> sniff(bytes(encoded), UploadLimits())
        Sniffed(format='png', height=2, width=3)
    """
    name = _format(upload, limits)
    with _shown(upload, name) as shown, _refusing(shown):
        height, width = shown.size(limits.of_readers)
    return Sniffed(name, height, width)


def decode(upload: bytes, limits: UploadLimits) -> NDArray[np.generic]:
    """Decode an image, upright, as `penumbra.imaging.files.read_image` does.

    Args:
        upload: the whole file.
        limits: what it may be at most; checked before a pixel is decoded.

    Returns:
        (H, W, C), C = 1 or 3, uint8, uint16 or float32.

    Raises:
        UploadError: as `sniff`.
    """
    name = _format(upload, limits)
    with _shown(upload, name) as shown, _refusing(shown):
        return shown.image(limits.of_readers)


@dataclass(frozen=True)
class _Shown:
    """An upload as the readers take it: from memory where they can, else from a private file."""

    path: Path
    format: FileFormat
    held: bytes | None

    def size(self, limits: Limits) -> tuple[int, int]:
        if self.held is None:
            return read_size(self.path, limits=limits)
        return pillow_reader.size(self.path, self.format, limits, self.held)

    def image(self, limits: Limits) -> NDArray[np.generic]:
        if self.held is None:
            return read_image(self.path, limits=limits)
        return pillow_reader.image(self.path, self.format, limits, self.held)


@contextlib.contextmanager
def _shown(upload: bytes, name: FileFormat) -> Iterator[_Shown]:
    if name in _FROM_MEMORY:
        yield _Shown(Path("the image"), name, upload)
        return
    with _file(upload) as path:
        yield _Shown(path, name, None)


def _format(upload: bytes, limits: UploadLimits) -> FileFormat:
    if len(upload) > limits.max_bytes:
        raise UploadError(
            413,
            "too-large",
            expected("the image", f"at most {limits.max_bytes:,} bytes", f"{len(upload):,}", _HINT),
        )
    found = format_of(upload[:HEAD_BYTES])
    if found is None:
        got = "a file of another kind" if upload else "an empty file"
        raise UploadError(
            415,
            "unknown-format",
            expected("the image", "a PNG, JPEG, TIFF, GIF, BMP or DICOM file", got,
                     "exporting it as one of these"),
        )  # fmt: skip
    return found


@contextlib.contextmanager
def _refusing(shown: _Shown) -> Iterator[None]:
    """Turn what the readers raise into a refusal."""
    try:
        yield
    except MissingExtraError as error:
        raise UploadError(415, "unknown-format", str(error)) from None
    except ImageFileError as error:
        raise _refusal(error, shown.path) from None
    except MemoryError:
        raise UploadError(413, "too-large", "There is no room for the decoded image.") from None


def _refusal(error: ImageFileError, path: Path) -> UploadError:
    """Tell what is too large from what is damaged; nothing is read again for that."""
    said = _said(error, path)
    if not error.over_limit:
        return UploadError(422, "damaged-image", said)
    # What the reader tries is a setting of its own, which no client can reach.
    return UploadError(413, "too-large", f"{said.partition(' Try ')[0]} Try {_HINT}.")


def _said(error: ImageFileError, path: Path) -> str:
    """Repeat an error without the name of our file."""
    return str(error).replace(repr(str(path)), "the image").replace(str(path), "the image")


@contextlib.contextmanager
def _file(upload: bytes) -> Iterator[Path]:
    """Lay an upload down where the readers find it; only this user can read it."""
    with tempfile.NamedTemporaryFile(prefix="penumbra-upload-", delete=False) as handle:
        path = Path(handle.name)
        try:
            handle.write(upload)
            handle.close()  # Windows opens a file once only.
            yield path
        finally:
            handle.close()
            path.unlink(missing_ok=True)
