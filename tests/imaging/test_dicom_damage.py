"""Files that are no DICOM images, or not whole, or not what they say: one named error, always."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penumbra.errors import ImageFileError
from penumbra.imaging.files import Limits, read_image, read_mask_file, read_size

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import read_dicom, read_header  # noqa: E402

ROOT = "1.2.840.10008.1.2"
PIXELS = (np.add.outer(np.arange(12), np.arange(10)) * 11).astype(np.uint16)
CODED = {
    "native": (PIXELS, f"{ROOT}.1"),
    "implicit": (PIXELS, ROOT),
    "big": (PIXELS, f"{ROOT}.2"),
    "deflated": (PIXELS, f"{ROOT}.1.99"),
    "jpeg": ([imagecodecs.jpeg8_encode(PIXELS, lossless=True, bitspersample=12)], f"{ROOT}.4.70"),
    "jpeg-ls": ([imagecodecs.jpegls_encode(PIXELS)], f"{ROOT}.4.80"),
    "j2k": (
        [imagecodecs.jpeg2k_encode(PIXELS, codecformat="J2K", reversible=True)],
        f"{ROOT}.4.90",
    ),
    "deflated frame": ([zlib.compress(PIXELS.tobytes(), wbits=-15)], f"{ROOT}.8.1"),
}


def made(make_dicom, kind, **keywords):
    pixels, syntax = CODED[kind]
    return make_dicom(pixels, syntax=syntax, size=PIXELS.shape, BitsStored=12, **keywords)


@pytest.mark.parametrize("kind", CODED)
def test_a_file_cut_off_at_any_byte_is_refused_and_never_half_read(make_dicom, kind):
    path = made(make_dicom, kind)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_dicom(path, window=None).pixels[..., 0], PIXELS)
    # The delimiter that closes the fragments, and the padding of a deflated file, hold no pixel.
    for length in reversed(range(len(whole) - (1 if kind == "deflated" else 0))):
        os.truncate(path, length)
        with pytest.raises(ImageFileError, match=r"^Expected .* Try "):
            read_dicom(path, window=None)


@pytest.mark.parametrize("kind", CODED)
def test_flipped_bytes_raise_nothing_but_our_error(make_dicom, kind):
    path = made(make_dicom, kind)
    whole = path.read_bytes()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1))
    def flip(changes):
        broken = bytearray(whole)
        for place, value in changes:
            broken[place] = value
        path.write_bytes(broken)
        for read in (read_image, read_mask_file, read_size):
            with contextlib.suppress(ImageFileError):
                read(path, limits=Limits(max_pixels=10_000, max_bytes=1_000_000))

    flip()


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.binary(max_size=400))
def test_noise_behind_a_preamble_raises_nothing_but_our_error(tmp_path, noise):
    path = tmp_path / "noise.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + noise)
    with pytest.raises(ImageFileError):
        read_image(path)


def test_a_page_of_the_web_called_dcm_is_named(tmp_path: Path):
    path = tmp_path / "scan.dcm"
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>\n" * 9)
    with pytest.raises(ImageFileError, match=r"begins with b'<!DOCTYP'"):
        read_image(path)


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
        ("1.2.826.0.1.4711", "no image"),
    ],
)
def test_what_holds_no_pixels_is_named_by_its_kind(make_dicom, uid, name):
    path = make_dicom(PIXELS)
    dataset = pydicom.dcmread(path)
    for keyword in ("PixelData", "Rows", "Columns"):
        del dataset[keyword]
    dataset.SOPClassUID = uid
    dataset.save_as(path)
    with pytest.raises(ImageFileError, match=f"without pixels .{name}"):
        read_image(path)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"Rows": 60_000, "Columns": 60_000}, "at most 100,000,000 pixels"),
        ({"Rows": 0}, "at least 1×1"),
        ({"Rows": 13}, "240 bytes of pixels instead of 260"),
        ({"NumberOfFrames": 2}, "240 bytes of pixels instead of 480"),
        ({"NumberOfFrames": 2_000_000_000}, "bytes of pixels instead of"),
        ({"NumberOfFrames": -3}, "-3 frames"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "bits per sample"),
        ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, "bits per sample"),
        ({"BitsStored": 17}, "17 bits"),
        ({"HighBit": 40}, "bit 40 of 16"),
        ({"SamplesPerPixel": 4}, "4 samples per pixel"),
        ({"PhotometricInterpretation": "CMYK"}, "another colour space"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "truncated or damaged"),
    ],
)
def test_what_a_header_announces_is_checked_before_pixels_are_decoded(make_dicom, keywords, reason):
    with pytest.raises(ImageFileError, match=reason):
        read_image(make_dicom(PIXELS, **keywords))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "j2k"])
def test_a_codestream_of_another_size_than_its_header_is_not_decoded(make_dicom, kind):
    path = made(make_dicom, kind, Rows=4, Columns=4)
    with pytest.raises(ImageFileError, match="its codestream another size"):
        read_image(path)


def test_a_deflated_bomb_is_refused(make_dicom):
    path = make_dicom(np.zeros((2000, 2000), np.uint8), syntax=f"{ROOT}.1.99")
    assert path.stat().st_size < 10_000
    assert read_size(path) == (2000, 2000)
    with pytest.raises(ImageFileError, match="at most 1,000,000 bytes"):
        read_header(path, limits=Limits(max_bytes=1_000_000))


def test_limits_are_those_of_the_caller(make_dicom):
    path = make_dicom(PIXELS)
    with pytest.raises(ImageFileError, match=r"max_side=…"):
        read_image(path, limits=Limits(max_side=11))
    with pytest.raises(ImageFileError, match=r"max_pixels=…"):
        read_size(path, limits=Limits(max_pixels=100))


def test_a_length_of_four_gigabytes_asks_for_no_memory(make_dicom):
    path = make_dicom(PIXELS)
    whole = path.read_bytes()
    place = whole.index(b"MRN-4711") - 2
    path.write_bytes(whole[:place] + struct.pack("<H", 0xFFFE) + whole[place + 2 :])
    with pytest.raises(ImageFileError):
        read_image(path)


def test_sequences_nested_without_end_are_refused(tmp_path: Path):
    item = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path = tmp_path / "deep.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + item * 20_000)
    with pytest.raises(ImageFileError, match="damaged"):
        read_image(path)


def test_images_that_are_not_finite_are_refused(make_dicom):
    path = make_dicom(np.zeros((2, 2), np.uint32))
    dataset = pydicom.dcmread(path)
    del dataset["PixelData"], dataset["BitsStored"], dataset["HighBit"]
    dataset.FloatPixelData = np.array([1, np.nan, 2, 3], "<f4").tobytes()
    dataset.save_as(path)
    with pytest.raises(ImageFileError, match="NaN"):
        read_image(path)
