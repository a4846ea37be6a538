"""What lies behind a PNG's pixels is found without decoding them."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from penumbra.imaging.files import read_image, read_size
from penumbra.imaging.limits import Limits
from penumbra.imaging.pillow_reader import image, size
from penumbra.imaging.png_chunks import without_pixels

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'


def png(side=(7, 5), **options):
    target = io.BytesIO()
    Image.new("L", side, 9).save(target, format="PNG", **options)
    return target.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def behind(file, *chunks):
    """Put chunks between the pixels and the end."""
    end = file.rindex(b"IEND") - 4
    return file[:end] + b"".join(chunks) + file[end:]


TURNED = {
    "exif before": png(exif=exif(6)),
    "exif behind": behind(png(), chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))),
    "xmp behind": behind(png(), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
}


@pytest.mark.parametrize("kind", TURNED)
def test_a_size_is_that_of_the_upright_image(kind, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(TURNED[kind])
    decoded = read_image(path)
    assert decoded.shape == (7, 5, 1)
    assert np.array_equal(image(path, "png", Limits(), TURNED[kind]), decoded)

    def fail(_):
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr(PngImageFile, "load", fail)
    assert read_size(path) == size(path, "png", Limits(), TURNED[kind]) == (7, 5)


def test_pixels_and_what_says_nothing_are_left_out():
    texts = PngInfo()
    texts.add_text("a", "b")
    file = png((400, 300), pnginfo=texts, icc_profile=b"p" * 5000)
    bare = without_pixels(io.BytesIO(file))
    assert len(bare) < 100
    with PngImageFile(io.BytesIO(bare)) as picture:
        assert picture.size == (400, 300)
        assert picture.info["a"] == "b"


@given(st.sampled_from(sorted(TURNED)), st.integers(0, 200), st.integers(0, 255))
def test_damaged_files_end_the_search(kind, at, value):
    damaged = bytearray(TURNED[kind])
    damaged[at % len(damaged)] = value
    assert len(without_pixels(io.BytesIO(bytes(damaged)))) <= len(damaged) + 8
