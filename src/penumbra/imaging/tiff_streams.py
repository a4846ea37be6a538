"""What the strips and tiles of a TIFF page may take, checked before any of them is decoded.

The tags may announce 64×64 pixels and the JPEG in the only strip 20,000×20,000: decoders believe
the stream. Of plain packers no more is unpacked than the tags say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import tifffile

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.codestreams import StreamSize, jpeg2000_size, jpeg_frames, jpeg_size
from penumbra.imaging.limits import Limits, damaged

_PLAIN = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013}
"""None, CCITT, LZW, deflate, PackBits, LZMA and Zstandard."""
_JPEG = {6, 7, 33007, 34892}
_SIZES: dict[int, tuple[str, Callable[[bytes], StreamSize]]] = {
    **dict.fromkeys(_JPEG, ("JPEG", jpeg_size)),
    **dict.fromkeys((33003, 33004, 33005, 34712), ("JPEG 2000", jpeg2000_size)),
}
_HEAD = 2**20
"""The frame header stands within this many bytes of a strip's or tile's stream."""


def check_parts(path: Path, page: tifffile.TiffPage, limits: Limits) -> None:
    """Refuse a page whose parts would take more room than its size says.

    Args:
        path: named in errors.
        page: its own size has been checked.
        limits: a padded tile must keep within them too.

    Raises:
        ImageFileError: the compression is not read, a tile is over the limits, or a codestream is
            larger than its strip or tile, or damaged.
    """
    compression = int(page.compression)
    if compression not in _PLAIN and compression not in _SIZES:
        raise ImageFileError(
            expected(
                str(path),
                "plain or compressed by LZW, deflate, PackBits, CCITT, LZMA, Zstandard, JPEG or "
                "JPEG 2000",
                f"a TIFF file of compression {compression}",
                "exporting it with LZW or deflate, or as PNG",
            )
        )
    if page.is_tiled:
        _check_tile(path, page, limits)
    if compression in _SIZES:
        _check_streams(path, page, *_SIZES[compression])


def _check_tile(path: Path, page: tifffile.TiffPage, limits: Limits) -> None:
    height, width, depth = int(page.tilelength), int(page.tilewidth), max(1, int(page.tiledepth))
    pixels = height * width * depth
    item = max(1, page.bitspersample // 8) * (page.samplesperpixel if page.planarconfig == 1 else 1)
    if pixels > limits.max_pixels or pixels * item > limits.max_bytes:
        raise ImageFileError(
            expected(
                str(path),
                f"made of tiles of at most {limits.max_pixels:,} pixels and "
                f"{limits.max_bytes:,} bytes",
                f"tiles of {height}×{width} (height × width)",
                "exporting it with smaller tiles",
            )
        )


def _check_streams(
    path: Path, page: tifffile.TiffPage, name: str, size_of: Callable[[bytes], StreamSize]
) -> None:
    if page.jpegheader is not None:
        raise ImageFileError(
            expected(
                str(path),
                "a TIFF file whose strips or tiles are streams of their own",
                "a slide whose tiles lie within one JPEG stream",
                "exporting the region that is wanted",
            )
        )
    if page.jpegtables is not None and _holds_a_frame(page.jpegtables):
        raise damaged(path, "an image stands in its JPEG tables")
    if page.is_tiled:
        height, width = int(page.tilelength), int(page.tilewidth)
    else:
        # The last strip may be as tall as the others, and is then cut.
        height, width = min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)
    samples = int(page.samplesperpixel) if page.planarconfig == 1 else 1
    most = StreamSize(height, width, samples)
    file = page.parent.filehandle
    parts = dict.fromkeys(zip(page.dataoffsets, page.databytecounts, strict=False))
    for offset, count in parts:
        if not (offset and count):
            continue  # Nothing is stored there: it is left blank.
        file.seek(offset)
        found = size_of(file.read(min(count, _HEAD)))
        if any(one > other for one, other in zip(found, most, strict=True)):
            raise _too_large(path, name, found, most)


def _holds_a_frame(tables: bytes) -> bool:
    try:
        return bool(jpeg_frames(tables))
    except (ValueError, struct.error):
        return True


def _too_large(path: Path, name: str, found: StreamSize, most: StreamSize) -> ImageFileError:
    return ImageFileError(
        expected(
            str(path),
            f"made of {name} streams of at most {most.height}×{most.width} (height × width) and "
            f"{most.components} samples per pixel, as its tags announce",
            f"one of {found.height}×{found.width} and {found.components}",
            "exporting it again, or removing it",
        )
    )
