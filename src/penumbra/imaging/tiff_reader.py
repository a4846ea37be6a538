"""TIFF, decoded by tifffile and imagecodecs."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import tifffile
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.formats import FileFormat
from penumbra.imaging.limits import Limits, damaged
from penumbra.imaging.orientation import ORIENTATION_TAG, apply_orientation, swaps_sides
from penumbra.imaging.tiff_streams import check_parts
from penumbra.imaging.tiff_ycbcr import holds_plain_ycbcr, rgb_of_ycbcr

_DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6


@contextlib.contextmanager
def _first_page(path: Path, limits: Limits) -> Iterator[tifffile.TiffPage]:
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            per_pixel = (
                max(1, page.bitspersample // 8) * max(1, page.samplesperpixel) * page.imagedepth
            )
            limits.check_size(path, page.imagelength, page.imagewidth, bytes_per_pixel=per_pixel)
            yield page
    except _DECODER_ERRORS as error:
        raise damaged(path, error, truncated=_ends_too_soon(path)) from error


def _ends_too_soon(path: Path) -> bool:
    """Tell whether a file that could not be read names places behind its end."""
    try:
        with tifffile.TiffFile(path) as tiff:
            page, n_bytes = tiff.pages.first, tiff.filehandle.size
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
            return any(end > n_bytes for end in ends)
    except _DECODER_ERRORS:
        return _names_a_page_behind_its_end(path)


def _names_a_page_behind_its_end(path: Path) -> bool:
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(16)
        order = "<" if head[:2] == b"II" else ">"
        is_big = head[2:4] in {b"+\x00", b"\x00+"}
        (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", head, 8 if is_big else 4)
    except struct.error:
        return True  # the head itself is cut
    except OSError:
        return False
    return int(place) >= n_bytes


def size(path: Path, _format: FileFormat, limits: Limits) -> tuple[int, int]:
    """Give (height, width) as `image` would return it, from the header alone."""
    with _first_page(path, limits) as page:
        height, width = int(page.imagelength), int(page.imagewidth)
        return (width, height) if swaps_sides(_orientation(page)) else (height, width)


def image(path: Path, _format: FileFormat, limits: Limits) -> NDArray[np.generic]:
    """Decode the first page to (H, W, C), C = 1 or 3, uint8, uint16 or float32."""
    with _first_page(path, limits) as page:
        array = _in_colour(path, page, _stored(path, page, limits))
        array = apply_orientation(array, _orientation(page))
    return np.ascontiguousarray(array)


def values(path: Path, _format: FileFormat, limits: Limits) -> NDArray[np.generic]:
    """Decode to (H, W) palette indices or greys, or (H, W, C) where the file holds colours."""
    with _first_page(path, limits) as page:
        array = _stored(path, page, limits)
        if page.photometric != _PALETTE:
            array = _in_colour(path, page, array)
        array = apply_orientation(array, _orientation(page))
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array)


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return int(tag.value) if tag is not None else 1


def _stored(path: Path, page: tifffile.TiffPage, limits: Limits) -> NDArray[np.generic]:
    """Give the page's samples as (H, W, S), in the file's own meaning."""
    if page.dtype is not None and page.dtype.kind == "c":
        raise ImageFileError(
            expected(
                str(path),
                "made of real numbers",
                f"complex ones ({page.dtype})",
                "exporting the magnitude, or whichever part is wanted",
            )
        )
    check_parts(path, page, limits)
    if holds_plain_ycbcr(page):
        return rgb_of_ycbcr(page)
    array: NDArray[np.generic] = page.asarray(maxworkers=1)
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if array.size != height * width * samples:
        raise ImageFileError(
            expected(
                str(path),
                "one flat image per page",
                f"a page of shape {array.shape}",
                "exporting the slice that is wanted",
            )
        )
    if page.planarconfig == 2 and samples > 1:
        return np.moveaxis(array.reshape(samples, height, width), 0, -1)
    return array.reshape(height, width, samples)


def _in_colour(
    path: Path, page: tifffile.TiffPage, array: NDArray[np.generic]
) -> NDArray[np.generic]:
    if page.photometric == _PALETTE:
        return _through_palette(page, array)
    array = _plain_depth(path, page, array)
    if page.photometric == _SEPARATED and array.shape[-1] >= 4:
        return _from_cmyk(array)
    if page.photometric == _MINISWHITE:
        array = _inverted(array)
    if page.photometric not in {_MINISWHITE, _MINISBLACK, _RGB, _YCBCR} or array.shape[-1] > 4:
        raise ImageFileError(
            expected(
                str(path),
                "grey, palette, RGB or CMYK",
                f"{array.shape[-1]} samples per pixel, photometric {page.photometric!s}",
                "exporting it as grey or RGB",
            )
        )
    return array[..., :1] if array.shape[-1] < 3 else array[..., :3]


def _through_palette(page: tifffile.TiffPage, array: NDArray[np.generic]) -> NDArray[np.generic]:
    # TIFF palettes hold 16-bit values; the high byte is what 8-bit software shows.
    palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
    colours = palette[array[..., 0].astype(np.intp)]
    return colours[..., :1] if (palette == palette[:, :1]).all() else colours


def _plain_depth(
    path: Path, page: tifffile.TiffPage, array: NDArray[np.generic]
) -> NDArray[np.generic]:
    if page.bitspersample == 1:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(array.dtype.newbyteorder("="))
    # What float32 cannot hold becomes infinite, which is refused below.
    with np.errstate(over="ignore"):
        real = array.astype(np.float32)
    if not np.isfinite(real).all():
        raise ImageFileError(
            expected(
                str(path), "made of finite values", "NaN or infinity", "replacing them by numbers"
            )
        )
    return real


def _inverted(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind == "u":
        return np.invert(cast("NDArray[np.uint16]", array))
    real = array.astype(np.float32)
    return np.asarray(real.max() - real)


def _from_cmyk(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn inks into light: channel = white × (1 - ink) × (1 - black)."""
    white = float(np.iinfo(array.dtype.name).max) if array.dtype.kind == "u" else 1.0
    light = 1.0 - array[..., :4].astype(np.float32) / white
    return np.asarray((light[..., :3] * light[..., 3:] * white).round()).astype(array.dtype)
