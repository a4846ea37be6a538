"""Image and mask files to arrays: PNG, JPEG, TIFF, GIF, BMP and DICOM.

The format is told by content, the size is checked before a pixel is decoded, and every file that
cannot be read raises `ImageFileError` with a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected
from penumbra.imaging import pillow_reader, tiff_reader
from penumbra.imaging.formats import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    FileFormat,
    format_in,
    looks_like_image,
    require_plain_file,
    sniff_format,
)
from penumbra.imaging.limits import Limits

__all__ = [
    "IMAGE_SUFFIXES",
    "READERS",
    "FileReader",
    "Limits",
    "looks_like_image",
    "read_image",
    "read_mask_file",
    "read_size",
    "read_spacing",
    "require_plain_file",
    "sniff_format",
]

_DEFAULT_LIMITS = Limits()
_DICOM_READER = "penumbra.imaging.dicom.reader"


@dataclass(frozen=True)
class FileReader:
    """What it takes to read one format; each function gets path, format and limits.

    Attributes:
        image: gives (H, W, C), C = 1 or 3, uint8, uint16 or float32.
        values: gives (H, W) indices or greys, or (H, W, C) where the file holds colours.
        size: gives (height, width) without decoding pixels.
    """

    image: Callable[[Path, FileFormat, Limits], NDArray[np.generic]]
    values: Callable[[Path, FileFormat, Limits], NDArray[np.generic]]
    size: Callable[[Path, FileFormat, Limits], tuple[int, int]]


def _reader(module: ModuleType) -> FileReader:
    return FileReader(image=module.image, values=module.values, size=module.size)


def _late_reader(name: str) -> FileReader:
    """Build the reader of a format whose decoder is an extra, and imported at its first file."""

    def image(path: Path, file_format: FileFormat, limits: Limits) -> NDArray[np.generic]:
        return _reader(import_module(name)).image(path, file_format, limits)

    def values(path: Path, file_format: FileFormat, limits: Limits) -> NDArray[np.generic]:
        return _reader(import_module(name)).values(path, file_format, limits)

    def size(path: Path, file_format: FileFormat, limits: Limits) -> tuple[int, int]:
        return _reader(import_module(name)).size(path, file_format, limits)

    return FileReader(image=image, values=values, size=size)


READERS: dict[FileFormat, FileReader] = {
    "png": _reader(pillow_reader),
    "jpeg": _reader(pillow_reader),
    "gif": _reader(pillow_reader),
    "bmp": _reader(pillow_reader),
    "tiff": _reader(tiff_reader),
    "dicom": _late_reader(_DICOM_READER),
}
"""Who reads which format. A format that `sniff_format` knows and this table lacks is refused."""


def read_image(path: str | Path, *, limits: Limits = _DEFAULT_LIMITS) -> NDArray[np.generic]:
    """Read an image file, upright.

    Alpha is dropped, a palette becomes RGB (one channel where the whole palette is grey), CMYK
    becomes RGB, one bit becomes 0/255, and the EXIF orientation is applied. Of several pages or
    frames the first is read. DICOM is read as its own window shows it
    (`penumbra.imaging.dicom.read_dicom` offers the choice).

    Args:
        path: a PNG, JPEG, TIFF, GIF, BMP or DICOM file, whatever its suffix.
        limits: the largest image that is read.

    Returns:
        (H, W, C) with C = 1 or 3; uint8, uint16 or float32 as the file holds it.

    Raises:
        ImageFileError: the file is missing, empty, truncated, no plain file, no image, or over
            the limits.
        MissingExtraError: a DICOM file without the extra ``[dicom]``.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "grey.png"
        ...     Image.new("LA", (4, 3), (7, 255)).save(file)
        ...     image = read_image(file)
        >>> image.shape, image.dtype, int(image.max())
        ((3, 4, 1), dtype('uint8'), 7)
    """
    file, name, reader = _open(path, limits)
    return reader.image(file, name, limits)


def read_mask_file(
    path: str | Path, *, on: str | Path | None = None, limits: Limits = _DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Read a mask file as it stands: palette indices or greys, not yet classes.

    A colour file counts as grey where its channels are equal. One bit, sixteen bits of only
    0 and 65535, and palettes of only black and white give 0/255. A DICOM segmentation object
    gives its segment numbers.

    Args:
        path: a PNG, JPEG, TIFF, GIF, BMP or DICOM file, whatever its suffix.
        on: the image that the mask belongs to. A DICOM segmentation object holds many slices and
            is placed on this one; other masks lie on their image as they are.
        limits: the largest mask that is read.

    Returns:
        (H, W) uint8.

    Raises:
        ImageFileError: the file cannot be read, holds colours, or holds values that are not
            whole numbers 0–255.
    """
    file, name, reader = _open(path, limits)
    if name == "dicom" and on is not None:
        array = import_module(_DICOM_READER).values_on(file, Path(on), limits)
    else:
        array = reader.values(file, name, limits)
    if array.ndim == 3:
        array = _one_channel(file, array)
    return _whole_bytes(file, array)


def read_size(path: str | Path, *, limits: Limits = _DEFAULT_LIMITS) -> tuple[int, int]:
    """Give the (height, width) that `read_image` would return, from the header alone.

    Raises:
        ImageFileError: the file is missing, empty, no plain file, no image, or over the limits.
    """
    file, name, reader = _open(path, limits)
    return reader.size(file, name, limits)


def read_spacing(path: str | Path) -> tuple[float, float] | None:
    """Give millimetres per pixel (row, column) where a file says so; DICOM files alone do.

    Other formats are told by their suffix here and not opened.

    Raises:
        ImageFileError: a DICOM file is missing or damaged.
        MissingExtraError: a DICOM file without the extra ``[dicom]``.
    """
    file = Path(path)
    if file.suffix.lower() not in DICOM_SUFFIXES:
        return None
    spacing: tuple[float, float] | None = import_module(_DICOM_READER).spacing(file)
    return spacing


def _open(path: str | Path, limits: Limits) -> tuple[Path, FileFormat, FileReader]:
    file = Path(path)
    limits.check_file(file, require_plain_file(file).st_size)
    name = format_in(file)
    reader = READERS.get(name)
    if reader is None:
        raise ImageFileError(
            expected(
                str(file),
                "a PNG, JPEG, TIFF, GIF, BMP or DICOM file",
                f"a {name.upper()} file, which Penumbra does not read yet",
                "exporting it as 16-bit PNG or TIFF",
            )
        )
    return file, name, reader


def _one_channel(path: Path, array: NDArray[np.generic]) -> NDArray[np.generic]:
    if (array != array[..., :1]).any():
        raise ImageFileError(
            expected(
                f"the mask {path}",
                "grey or a palette image, one class index per pixel",
                "a colour image",
                "exporting it as an index mask (8-bit grey or palette PNG)",
            )
        )
    return array[..., 0]


def _whole_bytes(path: Path, array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.asarray(array, dtype=np.uint8)
    if array.dtype == np.uint16 and np.isin(array, (0, 65535)).all():
        return np.where(array == 0, 0, 255).astype(np.uint8)
    # Bounds come before the cast: beyond them a float has no byte, and NumPy would warn of it.
    fits = np.min(array) >= 0 and np.max(array) <= 255
    if not fits or (array != array.astype(np.uint8)).any():
        raise ImageFileError(
            expected(
                f"every value in the mask {path}",
                "a whole number 0–255",
                f"values from {array.min()} to {array.max()} ({array.dtype})",
                "exporting it as 8-bit class indices",
            )
        )
    return array.astype(np.uint8)
