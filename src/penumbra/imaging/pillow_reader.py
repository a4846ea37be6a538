"""PNG, JPEG, GIF and BMP, decoded by Pillow: from a file, or from bytes that are held already."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from penumbra.imaging.formats import FileFormat
from penumbra.imaging.limits import Limits, damaged
from penumbra.imaging.orientation import ORIENTATION_TAG, apply_orientation, swaps_sides
from penumbra.imaging.png_chunks import without_pixels

_LOG = logging.getLogger(__name__)

# Not `Image.open`: it has size limits of its own, which warn below ours and refuse in other words.
_OPENERS: dict[FileFormat, type[ImageFile.ImageFile]] = {
    "png": PngImageFile,
    "jpeg": JpegImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
}
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_GREY = {"1", "L", "LA", "La"}
_DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_BYTES_PER_PIXEL = {"1": 1, "L": 1, "I": 2, "I;16": 2, "I;16B": 2, "F": 4}


@contextlib.contextmanager
def opened(
    path: Path, file_format: FileFormat, limits: Limits, held: bytes | None = None
) -> Iterator[ImageFile.ImageFile]:
    """Open a file, check its size, and turn whatever the decoder raises into our error.

    Args:
        path: the file; where `held` is given, only what errors call it.
        file_format: what it is.
        limits: the largest image that is read.
        held: its bytes, where they are in memory already.
    """
    try:
        with _OPENERS[file_format](path if held is None else io.BytesIO(held)) as picture:
            per_pixel = 6 if _deep_colour(picture) else _BYTES_PER_PIXEL.get(picture.mode, 3)
            limits.check_size(path, picture.height, picture.width, bytes_per_pixel=per_pixel)
            yield picture
    except _DECODER_ERRORS as error:
        # Pillow has no error of its own for it, only words.
        ends = isinstance(error, EOFError) or "truncated" in str(error).casefold()
        raise damaged(path, error, truncated=ends) from error


def size(
    path: Path, file_format: FileFormat, limits: Limits, held: bytes | None = None
) -> tuple[int, int]:
    """Give (height, width) as `image` would return it; no pixel is decoded."""
    with opened(path, file_format, limits, held) as picture:
        if file_format == "png":
            turned = swaps_sides(_png_orientation(path, held))
        else:
            turned = swaps_sides(_orientation(path, picture))
        if turned:
            return picture.width, picture.height
        return picture.height, picture.width


def image(
    path: Path, file_format: FileFormat, limits: Limits, held: bytes | None = None
) -> NDArray[np.generic]:
    """Decode to (H, W, C), C = 1 or 3, uint8, uint16 or float32."""
    with opened(path, file_format, limits, held) as picture:
        if _deep_colour(picture):
            array = _deep_png(path.read_bytes() if held is None else held)
        else:
            array = _pixels(picture)
        array = apply_orientation(array, _orientation(path, picture))
    return np.ascontiguousarray(array)


def values(path: Path, file_format: FileFormat, limits: Limits) -> NDArray[np.generic]:
    """Decode to (H, W) palette indices or greys, or (H, W, C) where the file holds colours."""
    with opened(path, file_format, limits) as picture:
        array = _raw_values(picture)
        array = apply_orientation(array, _orientation(path, picture))
    return np.ascontiguousarray(array)


def _orientation(path: Path, picture: ImageFile.ImageFile) -> int:
    # A mangled EXIF block says nothing about the pixels, so it does not make the file unreadable.
    try:
        return int(picture.getexif().get(ORIENTATION_TAG, 1))
    except _DECODER_ERRORS as error:
        _LOG.warning("The EXIF block of %s is damaged (%s); taken as upright.", path, error)
        return 1


def _png_orientation(path: Path, held: bytes | None) -> int:
    # Pillow decodes every pixel of a PNG to look for an EXIF block behind them: show it a file
    # without pixels, and ask as it asks where all is read.
    with path.open("rb") if held is None else io.BytesIO(held) as stream:
        bare = without_pixels(stream)
    try:
        with PngImageFile(io.BytesIO(bare)) as picture:
            return int(Image.Image.getexif(picture).get(ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1  # As `_orientation`, which warns of it.


def _deep_colour(picture: ImageFile.ImageFile) -> bool:
    # Pillow cuts 16-bit colour down to 8 bits; its PNG reader's raw mode still names the depth.
    if picture.format != "PNG" or not picture.tile:
        return False
    arguments = picture.tile[0][3]
    return isinstance(arguments, str) and arguments in {"RGB;16B", "RGBA;16B", "LA;16B"}


def _deep_png(data: bytes) -> NDArray[np.generic]:
    array: NDArray[np.generic] = imagecodecs.png_decode(data)
    return array[..., :1] if array.shape[-1] == 2 else array[..., :3]


def _pixels(picture: ImageFile.ImageFile) -> NDArray[np.generic]:
    if picture.mode in _GREY:
        return np.array(picture if picture.mode == "L" else picture.convert("L"))[..., None]
    if picture.mode in _DEEP:
        return np.array(picture).astype(np.uint16)[..., None]
    if picture.mode == "F":
        return np.array(picture)[..., None]
    colours = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if picture.mode in {"P", "PA"} and _is_grey(_palette(picture)):
        return colours[..., :1]
    return colours


def _raw_values(picture: ImageFile.ImageFile) -> NDArray[np.generic]:
    if picture.mode in {"P", "PA"}:
        indices = np.array(picture if picture.mode == "P" else picture.getchannel("P"))
        palette = _palette(picture)
        # A palette of nothing but black and white is a grey image that some optimiser repacked,
        # now and then with white first: its colours carry the meaning, not its indices.
        if _is_grey(palette) and set(palette[:, 0].tolist()) <= {0, 255}:
            return np.asarray(palette[indices.clip(max=len(palette) - 1), 0])
        return indices
    array = _pixels(picture)
    return array[..., 0] if array.shape[-1] == 1 else array


def _palette(picture: ImageFile.ImageFile) -> NDArray[np.uint8]:
    picture.load()
    return np.array(picture.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)


def _is_grey(colours: NDArray[np.uint8]) -> bool:
    return bool((colours == colours[..., :1]).all())
