"""Uploads: told and measured before a pixel is decoded, and refused without quoting them."""

import contextlib
import io
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.errors import ImageFileError
from penumbra.imaging.dicom.write import write_dicom
from penumbra.imaging.files import read_image
from penumbra.serving.uploads import UploadError, UploadLimits, decode, sniff

LIMITS = UploadLimits(max_bytes=4_000_000, max_pixels=1_000_000)


def pixels(height=40, width=60, channels=3, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)


def saved(image, kind, **options):
    target = io.BytesIO()
    Image.fromarray(np.squeeze(image)).save(target, format=kind, **options)
    return target.getvalue()


def tiff(image):
    target = io.BytesIO()
    tifffile.imwrite(target, image)
    return target.getvalue()


def dicom(tmp_path, image=None):
    path = tmp_path / "secret-name.dcm"
    write_dicom(path, pixels(12, 20, 1, np.uint16) if image is None else image)
    return path.read_bytes()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(height, width, depth=8, colour=2):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def tiff_of_tags(*tags):
    """A TIFF whose only page has these (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + body + bytes(4) + bytes(64)


def refused(upload, limits=LIMITS, by=decode):
    with pytest.raises(UploadError) as found:
        by(upload, limits)
    error = found.value
    assert "penumbra-upload" not in str(error)
    assert tempfile.gettempdir() not in str(error)
    assert str(error).startswith("Expected")
    return error.status, error.code


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"exif": b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00"
      b"\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"}), ("BMP", {}), ("GIF", {}),
     ("TIFF", {})],
)  # fmt: skip
def test_an_upload_is_read_as_the_same_file_is(tmp_path, kind, options):
    upload = saved(pixels(), kind, **options)
    path = tmp_path / "image"
    path.write_bytes(upload)
    expected = read_image(path)
    image = decode(upload, LIMITS)
    assert np.array_equal(image, expected)
    found = sniff(upload, LIMITS)
    assert found.format == kind.lower()
    assert (found.height, found.width) == image.shape[:2]


def test_dicom_is_read_too(tmp_path):
    upload = dicom(tmp_path)
    assert sniff(upload, LIMITS) == ("dicom", 12, 20)
    assert decode(upload, LIMITS).shape == (12, 20, 1)


@pytest.mark.parametrize("upload", [b"", b"x", b"<svg/>", b"%PDF-1.7", b"\x00" * 500])
def test_what_is_no_image_is_415(upload):
    assert refused(upload, by=sniff) == refused(upload) == (415, "unknown-format")


@pytest.mark.parametrize("size", [(60_000, 60_000), (1, 1_000_001), (70_000, 1), (1001, 1000)])
def test_a_bomb_is_413_and_takes_no_memory(size):
    upload = png_of_size(*size)
    tracemalloc.start()
    assert refused(upload, by=sniff) == refused(upload) == (413, "too-large")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_file_of_too_many_bytes_is_413():
    upload = saved(pixels(), "BMP")
    limits = UploadLimits(max_bytes=len(upload) - 1)
    assert refused(upload, limits, by=sniff) == (413, "too-large")
    assert sniff(upload, UploadLimits(max_bytes=len(upload))).height == 40


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_what_is_cut_off_is_422(kind, share):
    upload = saved(pixels(200, 200), kind)
    assert refused(upload[: int(len(upload) * share)]) == (422, "damaged-image")


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1)], (413, "too-large")),
        ([(256, 4, 1, 10), (257, 4, 1, 10), (277, 3, 1, 65535), (258, 3, 1, 64)], None),
        ([(256, 4, 2**31, 8), (257, 4, 1, 10)], None),
        ([(256, 4, 1, 0), (257, 4, 1, 0)], (422, "damaged-image")),
        ([(257, 4, 1, 10)], None),
        ([(256, 2, 4, 10), (257, 2, 4, 10)], None),
    ],
)
def test_absurd_tiff_tags_are_refused(tags, code):
    status, name = refused(tiff_of_tags(*tags))
    assert (status, name) == code if code else status in (413, 422)


@pytest.mark.parametrize("sides", [(65535, 65535), (0, 10), (2000, 2000)])
def test_absurd_dicom_sizes_are_refused_and_nobody_is_named(tmp_path, sides):
    import pydicom

    data_set = pydicom.dcmread(io.BytesIO(dicom(tmp_path)))
    data_set.PatientName, data_set.PatientID = "Doe^Jane", "ID-4711"
    data_set.Rows, data_set.Columns = sides
    target = io.BytesIO()
    data_set.save_as(target)
    for by in (sniff, decode):
        with pytest.raises(UploadError) as found:
            by(target.getvalue(), LIMITS)
        assert found.value.status == (422 if 0 in sides else 413)
        assert not any(word in str(found.value) for word in ("Doe", "Jane", "4711", "secret"))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP"]),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.floats(0.05, 1.0),
)
def test_mutated_files_are_read_or_refused(kind, changes, cut):
    upload = bytearray(saved(pixels(24, 30, seed=1), kind))
    for place, value in changes:
        upload[place % len(upload)] = value
    with contextlib.suppress(UploadError):
        image = decode(bytes(upload[: int(len(upload) * cut)]), LIMITS)
        assert image.shape[0] * image.shape[1] <= LIMITS.max_pixels
        assert image.shape[2] in (1, 3)


def test_no_file_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    decode(saved(pixels(), "TIFF"), LIMITS)
    refused(saved(pixels(), "TIFF")[:300])
    refused(png_of_size(60_000, 60_000))
    refused(saved(pixels(), "JPEG")[:300])
    assert list(Path(tmp_path).iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(128, 1500), st.integers(0, 255)), max_size=8),
    cut=st.floats(0.1, 1.0),
)
def test_mutated_dicom_is_read_or_refused_and_nobody_is_named(tmp_path_factory, changes, cut):
    path = tmp_path_factory.getbasetemp() / "named.dcm"
    write_dicom(path, pixels(12, 20, 1, np.uint16), patient="JANEDOE4711")
    upload = bytearray(path.read_bytes())
    for place, value in changes:
        upload[place % len(upload)] = value
    try:
        image = decode(bytes(upload[: int(len(upload) * cut)]), LIMITS)
    except UploadError as refusal:
        said = str(refusal)
    else:
        said = str(image.shape)
    assert "JANEDOE" not in said
    assert "penumbra-upload" not in said


@pytest.mark.real_data
def test_real_files_are_read_as_from_disk_or_refused_without_their_names(real_data):
    files = sorted((real_data / "dicom").glob("*.dcm"))[:40]
    files += sorted((real_data / "nerve").rglob("*.tif"))[:3]
    assert len(files) > 10
    limits, read = UploadLimits(), 0
    for file in files:
        try:
            wanted = read_image(file)
        except ImageFileError:
            with pytest.raises(UploadError) as found:
                decode(file.read_bytes(), limits)
            assert file.name not in str(found.value)
            continue
        image = decode(file.read_bytes(), limits)
        read += 1
        assert np.array_equal(image, wanted)
        assert sniff(file.read_bytes(), limits)[1:] == image.shape[:2]
    assert read > 5
