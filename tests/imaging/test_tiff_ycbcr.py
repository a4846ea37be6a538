"""TIFF of luma and chroma without JPEG, as video tools write frames: against libtiff."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image, read_size

SHORT, LONG, RATIO = 3, 4, 5
NONE, LZW, PACKBITS, DEFLATE = 1, 5, 32773, 8
VIDEO = (15, 235, 128, 240, 128, 240)
ENCODERS = {
    NONE: bytes,
    LZW: imagecodecs.lzw_encode,
    PACKBITS: imagecodecs.packbits_encode,
    DEFLATE: imagecodecs.zlib_encode,
}


def write_tiff(path: Path, strips: list[bytes], tags: dict[int, tuple[int, list]]) -> Path:
    """Write a little-endian TIFF of one page by hand, strips first."""
    data, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(data))
        data += strip
    tags = tags | {
        273: (LONG, offsets),
        279: (LONG, [len(strip) for strip in strips]),
    }
    start = 8 + len(data) + len(data) % 2
    extra_at = start + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for code, (kind, values) in sorted(tags.items()):
        if kind == RATIO:
            packed = b"".join(struct.pack("<II", value, 1) for value in values)
        else:
            packed = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack("<I", extra_at + len(extra))
        entries += struct.pack("<HHI", code, kind, len(values)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, start)
    directory = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    path.write_bytes((head + data).ljust(start, b"\0") + directory + extra)
    return path


def write_ycbcr(
    path: Path,
    size: tuple[int, int],
    factors: tuple[int, int],
    *,
    compression: int = PACKBITS,
    reference: tuple[int, ...] | None = VIDEO,
    rows: int = 8,
    more: dict[int, tuple[int, list]] | None = None,
) -> Path:
    rng = np.random.default_rng(5)
    (height, width), (across, down) = size, factors
    strips = []
    for top in range(0, height, rows):
        lines = -(-min(rows, height - top) // down)
        shape = (lines * -(-width // across), across * down + 2)
        samples = rng.integers(0, 256, shape, dtype=np.uint8)
        strips.append(ENCODERS[compression](samples.tobytes()))
    tags = {
        256: (SHORT, [width]),
        257: (SHORT, [height]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [compression]),
        262: (SHORT, [6]),
        277: (SHORT, [3]),
        278: (SHORT, [rows]),
        284: (SHORT, [1]),
        530: (SHORT, [across, down]),
    }
    if reference is not None:
        tags[532] = (RATIO, list(reference))
    return write_tiff(path, strips, tags | (more or {}))


@pytest.mark.parametrize("compression", ENCODERS)
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4)], ids=str)
def test_frames_equal_what_libtiff_decodes(
    tmp_path: Path, compression: int, factors: tuple[int, int]
) -> None:
    path = write_ycbcr(tmp_path / "a.tif", (24, 32), factors, compression=compression)
    image = read_image(path)
    assert image.shape == (24, 32, 3)
    assert image.dtype == np.uint8
    # The same samples always go to libtiff packed, since Pillow reads bare ones by itself.
    packed = write_ycbcr(tmp_path / "b.tif", (24, 32), factors, compression=PACKBITS)
    reference = np.asarray(Image.open(packed).convert("RGB")).astype(int)
    # libtiff works in whole numbers and rounds on the way.
    assert np.abs(image - reference).max() <= 3


@pytest.mark.parametrize("size", [(21, 32), (24, 30), (17, 19), (3, 2)], ids=str)
@pytest.mark.parametrize("reference", [None, VIDEO], ids=["full", "video"])
def test_sizes_that_are_no_multiple_of_the_blocks(
    tmp_path: Path, size: tuple[int, int], reference: tuple[int, ...] | None
) -> None:
    path = write_ycbcr(tmp_path / "a.tif", size, (2, 2), reference=reference)
    image = read_image(path)
    assert image.shape == (*size, 3)
    assert read_size(path) == size
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(image - expected).max() <= 3


@pytest.mark.parametrize(
    "more",
    [
        {530: (SHORT, [3, 1])},
        {530: (SHORT, [0, 0])},
        {258: (SHORT, [16, 16, 16])},
        {317: (SHORT, [2])},
        {284: (SHORT, [2])},
        {532: (RATIO, [0, 0, 128, 255, 128, 255])},
        {532: (RATIO, [0, 255])},
        {278: (SHORT, [7])},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, more: dict) -> None:
    path = write_ycbcr(tmp_path / "a.tif", (24, 32), (2, 2), more=more)
    with pytest.raises(ImageFileError, match=r"^Expected .*a\.tif.* Try "):
        read_image(path)


@pytest.mark.parametrize("compression", [NONE, PACKBITS, DEFLATE])
def test_truncated_strips_are_refused(tmp_path: Path, compression: int) -> None:
    path = write_ycbcr(
        tmp_path / "a.tif", (24, 32), (2, 2), compression=compression, more={257: (SHORT, [240])}
    )
    with pytest.raises(ImageFileError, match="truncated or damaged"):
        read_image(path)
    path = write_ycbcr(
        tmp_path / "b.tif", (24, 32), (2, 2), compression=compression, more={256: (SHORT, [64])}
    )
    with pytest.raises(ImageFileError, match="truncated or damaged"):
        read_image(path)
