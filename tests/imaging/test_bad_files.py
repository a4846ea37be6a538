"""Files that are no images, or not whole, or too large: one named error that says what to do."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging.files import (
    Limits,
    read_image,
    read_mask_file,
    read_size,
    read_spacing,
    sniff_format,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)
READ = [read_image, read_mask_file, read_size]


def encoded(folder: Path, kind: str) -> bytes:
    path = folder / f"whole.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, PIXELS, compression="lzw", photometric="rgb")
    else:
        Image.fromarray(PIXELS).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"these are words, not pixels\n" * 9, "begins with b'these ar'"),
        (b"\x00" * 128 + b"DICM", "it is cut off"),
    ],
    ids=["empty", "text", "dicom"],
)
def test_what_is_no_image_is_named(tmp_path: Path, read, content: bytes, got: str) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(
        ImageFileError, match=r"^Expected .*scan\.png to be .*, but got .* Try "
    ) as e:
        read(path)
    assert got in str(e.value)


@pytest.mark.parametrize("read", READ)
def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, read) -> None:
    with pytest.raises(ImageFileError, match="no such file"):
        read(tmp_path / "absent.png")
    with pytest.raises(ImageFileError, match="a plain file"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.parametrize("read", [*READ, read_spacing, sniff_format])
@pytest.mark.parametrize("name", ["pipe.png", "pipe.dcm"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    if read is read_spacing and name == "pipe.png":
        assert read(pipe) is None
        return
    with pytest.raises(ImageFileError, match=rf"{name} to be a plain file, but got something else"):
        read(pipe)


@pytest.mark.parametrize("name", ["loop.png", "loop.dcm"])
def test_a_link_to_itself_is_no_readable_file(tmp_path: Path, name: str) -> None:
    loop = tmp_path / name
    loop.symlink_to(loop.name)
    with pytest.raises(ImageFileError, match="a readable file"):
        read_image(loop)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = encoded(tmp_path, kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole[: max(10, int(len(whole) * share))])
    with pytest.raises(ImageFileError, match="whole image file"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif"])
def test_flipped_bytes_give_an_array_or_our_error(tmp_path: Path, kind: str) -> None:
    whole = encoded(tmp_path, kind)
    path = tmp_path / f"flipped.{kind}"
    limits = Limits(max_pixels=1_000_000)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(
        st.lists(
            st.tuples(st.integers(0, min(400, len(whole) - 1)), st.integers(0, 255)),
            min_size=1,
            max_size=6,
        )
    )
    def check(changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for position, value in changes:
            data[position] = value
        path.write_bytes(bytes(data))
        for read in (read_image, read_mask_file):
            # Whatever else a decoder raises fails the test.
            with contextlib.suppress(ImageFileError):
                assert read(path, limits=limits).ndim == (3 if read is read_image else 2)

    check()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header announces width × height and whose data is a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\x00" * 64)
    marks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + marks


@pytest.mark.parametrize(
    ("size", "match"),
    [
        ((12_000, 12_000), "at most 100,000,000 pixels"),
        ((70_000, 2), "at most 65,500 pixels along a side"),
        ((14_000, 14_000), "at most 100,000,000 pixels"),
        ((60_000, 60_000), "at most 100,000,000 pixels, but got 60000×60000"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int], match: str) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(*size))
    for read in READ:
        with pytest.raises(ImageFileError, match=match):
            read(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["jpg", "gif", "bmp"])
def test_other_bombs_are_refused_by_their_header(tmp_path: Path, kind: str) -> None:
    data = bytearray(encoded(tmp_path, kind))
    start = data.index(b"\xff\xc0") + 5 if kind == "jpg" else {"gif": 6, "bmp": 18}[kind]
    form = {"jpg": ">HH", "gif": "<HH", "bmp": "<ii"}[kind]
    struct.pack_into(form, data, start, 40_000, 40_000)
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(bytes(data))
    for read in READ:
        with pytest.raises(ImageFileError, match="at most 100,000,000 pixels"):
            read(path)


@pytest.mark.filterwarnings("error")
def test_a_large_image_within_the_limits_is_opened_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bomb(9_500, 10_000))
    assert read_size(path) == (10_000, 9_500)


def test_a_tiff_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, PIXELS, compression="zlib", photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[name].overwrite(40_000)
    with pytest.raises(ImageFileError, match="at most 100,000,000 pixels"):
        read_image(path)


def test_limits_count_pixels_bytes_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    assert read_image(path, limits=Limits(max_pixels=48 * 40)).shape == (48, 40, 3)
    with pytest.raises(ImageFileError, match=r"Limits\(max_pixels="):
        read_image(path, limits=Limits(max_pixels=48 * 40 - 1))
    with pytest.raises(ImageFileError, match=r"Limits\(max_bytes="):
        read_image(path, limits=Limits(max_bytes=path.stat().st_size - 1))
    flat = tmp_path / "flat.png"
    Image.new("RGB", (200, 200)).save(flat)
    with pytest.raises(ImageFileError, match="once decoded"):
        read_image(flat, limits=Limits(max_bytes=100_000))
    with pytest.raises(SettingsError, match="max_side"):
        Limits(max_side=0)
