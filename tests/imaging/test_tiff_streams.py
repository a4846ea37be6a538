"""TIFF whose strips and tiles hold streams of their own: read where they fit, else refused."""

import contextlib
import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from penumbra.errors import ImageFileError
from penumbra.imaging.codestreams import jpeg2000_size, jpeg_size
from penumbra.imaging.files import Limits, read_image, read_size

GREY = (np.add.outer(np.arange(64), np.arange(64)) * 2).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)
LIMITS = Limits(max_pixels=1_000_000, max_bytes=8_000_000)
JPEG, JPEG_2000, DEFLATE = 7, 34712, 8
JP2_HEAD = bytes.fromhex("0000000c6a5020200d0a870a")


def write(path: Path, compression: int, data: bytes, **more: int) -> Path:
    """Write a TIFF of one grey strip, 64×64, whose stream is `data`."""
    tags = {256: 64, 257: 64, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: 64}
    tags |= {279: len(data)} | {int(code[1:]): value for code, value in more.items()}
    body = data + bytes(len(data) % 2)
    entries = [struct.pack("<HHII", code, 4, 1, value) for code, value in sorted(tags.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory)
    return path


def jpeg_of(height: int, width: int) -> bytes:
    """Encode 64×64 and write another size over its own."""
    data = bytearray(imagecodecs.jpeg8_encode(GREY))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def jpeg2000_of(height: int, width: int, tile: int = 20_000) -> bytes:
    data = bytearray(imagecodecs.jpeg2k_encode(GREY, codecformat="J2K", reversible=True))
    struct.pack_into(">6I", data, 8, width, height, 0, 0, tile, tile)
    return bytes(data)


STREAMS = [(JPEG, jpeg_of), (6, jpeg_of), (33007, jpeg_of), (JPEG_2000, jpeg2000_of),
           (33003, jpeg2000_of), (33005, jpeg2000_of)]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"rowsperstrip": 24}], ids=str)
@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_streams_that_fit_are_read(tmp_path: Path, array, compression: str, options: dict) -> None:
    path = tmp_path / "a.tif"
    photometric = "minisblack" if array.ndim == 2 else "rgb"
    tifffile.imwrite(path, array, compression=compression, photometric=photometric, **options)
    found = read_image(path, limits=LIMITS)
    assert found.shape == (64, 64, 1 if array.ndim == 2 else 3)
    assert np.abs(found.astype(int) - array.reshape(found.shape)).max() <= (
        0 if compression == "jpeg2000" else 8
    )


def test_streams_with_shared_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(COLOUR).save(path, compression="jpeg", quality=95)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.jpegtables is not None
    found = read_image(path, limits=LIMITS)
    reference = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(found - reference).max() <= 3


@pytest.mark.parametrize(("compression", "stream_of"), STREAMS)
def test_a_stream_larger_than_its_strip_is_not_decoded(
    tmp_path: Path, compression: int, stream_of
) -> None:
    path = write(tmp_path / "a.tif", compression, stream_of(20_000, 20_000))
    assert read_size(path) == (64, 64)
    tracemalloc.start()
    with pytest.raises(
        ImageFileError,
        match=r"made of JPEG.* streams of at most 64×64 .* but got one of 20000×20000 and 1\. Try",
    ):
        read_image(path, limits=LIMITS)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    for size in ((65, 64), (64, 65)):
        with pytest.raises(ImageFileError, match="of at most 64×64"):
            read_image(write(path, compression, stream_of(*size)))
    assert read_image(write(path, compression, stream_of(64, 64))).shape == (64, 64, 1)


def test_a_last_strip_as_tall_as_the_others_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", JPEG, imagecodecs.jpeg8_encode(GREY), _257=40, _278=64)
    with pytest.raises(ImageFileError, match="at most 40×64"):
        read_image(path)
    tifffile.imwrite(path, GREY, compression="jpeg", rowsperstrip=32)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(56)
    assert read_image(path).shape == (56, 64, 1)


def test_a_tile_that_is_larger_than_its_image_keeps_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib", tile=(256, 256))
    np.testing.assert_array_equal(read_image(path, limits=LIMITS)[..., 0], GREY)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileWidth", "TileLength"):
            tiff.pages.first.tags[name].overwrite(60_000)
    with pytest.raises(ImageFileError, match=r"tiles of at most 1,000,000 pixels .* 60000×60000"):
        read_image(path, limits=LIMITS)


@pytest.mark.parametrize(
    "compression", [34933, 34927, 50001, 50002, 52546, 34934, 22610, 34887, 48124, 65000, 4711]
)
def test_what_could_not_be_bounded_is_not_read(tmp_path: Path, compression: int) -> None:
    path = write(tmp_path / "a.tif", compression, imagecodecs.png_encode(GREY))
    with pytest.raises(ImageFileError, match=rf"compression {compression}\. Try exporting"):
        read_image(path)


@pytest.mark.parametrize(
    ("compression", "data"),
    [
        (DEFLATE, zlib.compress(bytes(30_000_000))),
        (50000, imagecodecs.zstd_encode(bytes(30_000_000))),
        (34925, imagecodecs.lzma_encode(bytes(30_000_000), level=0)),
        (5, imagecodecs.lzw_encode(bytes(3_000_000))),
        (32773, b"\x81\0" * 200_000),
    ],
    ids=["deflate", "zstandard", "lzma", "lzw", "packbits"],
)
def test_no_more_is_unpacked_than_a_strip_holds(
    tmp_path: Path, compression: int, data: bytes
) -> None:
    path = write(tmp_path / "a.tif", compression, data)
    tracemalloc.start()
    # Some packers say that there is more, and some stop in silence.
    with contextlib.suppress(ImageFileError):
        assert not read_image(path).any()
    assert tracemalloc.get_traced_memory()[1] < 2_500_000
    tracemalloc.stop()


def test_an_image_in_the_shared_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tables = jpeg_of(20_000, 20_000)
    tifffile.imwrite(
        path, GREY, compression="jpeg", extratags=[(347, 7, len(tables), tables, True)]
    )
    with pytest.raises(ImageFileError, match="an image stands in its JPEG tables"):
        read_image(path)


SMALL, LARGE = jpeg_of(64, 64), jpeg_of(20_000, 20_000)
FRAME = SMALL[(at := SMALL.index(b"\xff\xc0")) : at + 13]


@pytest.mark.parametrize(
    "data",
    [
        b"\0" + SMALL,
        b"\xff\xd8\xff\xd8" + SMALL[2:],
        b"\xff\xd8" + FRAME + LARGE[2:],
        b"\xff\xd8\xff" + SMALL[2:],
        b"\xff\xd8\xff\xd0" + SMALL[2:],
        b"\xff\xd8\0\0" + SMALL[2:],
        SMALL[:at] + SMALL[at + 13 :],
        SMALL[: at + 6],
        jpeg_of(0, 64),
        b"",
    ],
    ids=["late", "twice", "two frames", "filled", "restart", "gap", "none", "cut", "open", "empty"],
)
def test_what_decoders_could_read_in_two_ways_is_no_jpeg(data: bytes) -> None:
    assert jpeg_size(SMALL) == (64, 64, 1)
    with pytest.raises((ValueError, struct.error)):
        jpeg_size(data)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def test_a_codestream_is_not_searched_for_in_other_boxes() -> None:
    small, large = jpeg2000_of(64, 64), jpeg2000_of(20_000, 20_000)
    assert jpeg2000_size(JP2_HEAD + box(b"uuid", small) + box(b"jp2c", large))[:2] == (20_000,) * 2
    wide = struct.pack(">I4sQ", 1, b"uuid", 16 + len(small)) + small
    assert jpeg2000_size(JP2_HEAD + wide + box(b"jp2c", large))[:2] == (20_000,) * 2
    whole = imagecodecs.jpeg2k_encode(GREY, codecformat="JP2")
    assert jpeg2000_size(whole) == (64, 64, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\0" + jpeg2000_of(64, 64),
        JP2_HEAD + box(b"uuid", jpeg2000_of(64, 64)),
        JP2_HEAD + struct.pack(">I4s", 0, b"free") + box(b"jp2c", jpeg2000_of(64, 64)),
        JP2_HEAD + box(b"jp2h", box(b"pclr", bytes(9))) + box(b"jp2c", jpeg2000_of(64, 64)),
        jpeg2000_of(65, 64, tile=1),
        jpeg2000_of(64, 64, tile=0),
        jpeg2000_of(0, 64),
        jpeg2000_of(64, 64)[:30],
    ],
    ids=["late", "no codestream", "endless box", "palette", "tiles", "no tile", "empty", "cut"],
)
def test_what_is_no_jpeg_2000_or_takes_more_than_it_says(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        jpeg2000_size(data)
