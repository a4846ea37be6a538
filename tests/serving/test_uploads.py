"""Uploads: told and measured before a pixel is decoded, and refused without quoting them."""

import asyncio
import contextlib
import io
import struct
import tempfile
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.errors import ImageFileError
from penumbra.imaging.dicom.write import write_dicom
from penumbra.imaging.files import read_image, read_size
from penumbra.serving.routes.sizes import size_of
from penumbra.serving.settings import ServeSettings
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


def test_a_tiff_whose_stream_is_larger_than_its_tags_say_is_422_and_takes_no_memory():
    upload = bytearray(saved(pixels(64, 64, 1), "TIFF", compression="jpeg"))
    with tifffile.TiffFile(io.BytesIO(upload)) as file:
        start = file.pages.first.dataoffsets[0]
    struct.pack_into(">HH", upload, upload.index(b"\xff\xc0", start) + 5, 20_000, 20_000)
    assert sniff(bytes(upload), LIMITS) == ("tiff", 64, 64)
    tracemalloc.start()
    assert refused(bytes(upload)) == (422, "damaged-image")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def deflated(tmp_path, before=0, behind=0):
    """A deflated DICOM file with so many bytes of zeros before its pixels and behind them."""
    import pydicom

    data_set = pydicom.dcmread(io.BytesIO(dicom(tmp_path)))
    if before:
        data_set.add_new(0x00091010, "OB", bytes(before))
    if behind:
        data_set.add_new(0xFFFCFFFC, "OB", bytes(behind))
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    target = io.BytesIO()
    pydicom.dcmwrite(target, data_set, enforce_file_format=True)
    return target.getvalue()


def test_of_a_deflated_file_little_is_inflated_to_measure_it(tmp_path):
    upload, limits = deflated(tmp_path, behind=60_000_000), UploadLimits(max_pixels=5_000_000)
    assert len(upload) < 100_000
    tracemalloc.start()
    assert sniff(upload, limits) == ("dicom", 12, 20)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.reset_peak()
    assert refused(upload, limits) == (413, "too-large")
    assert tracemalloc.get_traced_memory()[1] < 1.5 * limits.of_readers.max_bytes
    tracemalloc.stop()


@pytest.mark.parametrize("before", [6_000_000, 10_000_000])
def test_a_deflated_header_that_goes_on_and_on_is_422(tmp_path, before):
    upload = deflated(tmp_path, before=before)
    limits = UploadLimits(max_pixels=10_000_000)
    if before < 2**23:
        assert sniff(upload, limits) == ("dicom", 12, 20)
    else:
        with pytest.raises(
            UploadError, match=r"begin within 8,388,608 bytes once inflated, but"
        ) as found:
            sniff(upload, limits)
        assert found.value.status == 422
    assert decode(upload, limits).shape == (12, 20, 1)


def test_what_is_refused_is_read_once(monkeypatch, tmp_path):
    reads = []

    def read(path, *, limits):
        reads.append(path)
        return read_size(path, limits=limits)

    monkeypatch.setattr("penumbra.serving.uploads.read_size", read)
    assert refused(tiff_of_tags((257, 4, 1, 10)), by=sniff)
    assert refused(tiff_of_tags((256, 4, 1, 9999), (257, 4, 1, 9999)), by=sniff)[0] == 413
    assert refused(dicom(tmp_path)[:300], by=sniff) == (422, "damaged-image")
    assert len(reads) == 3


def test_headers_are_read_while_other_threads_are_taken():
    async def measure():
        held = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        other = loop.run_in_executor(None, held.wait)
        try:
            async with asyncio.timeout(60):
                return await size_of(saved(pixels(), "TIFF"), ServeSettings(runs={}))
        finally:
            held.set()
            await other

    assert asyncio.run(measure()) == (40, 60)


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
