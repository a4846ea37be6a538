"""Every transfer syntax that is said to decode does, and gives back what was encoded."""

import tempfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import SYNTAXES, read_dicom, read_frames  # noqa: E402

ROOT = "1.2.840.10008.1.2"
RNG = np.random.default_rng(4)
SMOOTH = np.add.outer(np.arange(48), np.arange(40)) * 37
DEEP = (SMOOTH + RNG.integers(0, 20, (48, 40))).astype(np.uint16)
COLOUR = np.stack([SMOOTH // 14, SMOOTH[::-1] // 14, 255 - SMOOTH // 14], -1).astype(np.uint8)


def jpeg(array, **options):
    return imagecodecs.jpeg8_encode(array, **options)


ENCODED = {
    f"{ROOT}.4.57": jpeg(DEEP, lossless=True, bitspersample=12),
    f"{ROOT}.4.70": jpeg(DEEP, lossless=True, predictor=1, bitspersample=12),
    f"{ROOT}.4.80": imagecodecs.jpegls_encode(DEEP),
    f"{ROOT}.4.90": imagecodecs.jpeg2k_encode(DEEP, codecformat="J2K", reversible=True, level=0),
    f"{ROOT}.8.1": zlib.compress(DEEP.astype("<u2").tobytes(), wbits=-15),
}


@pytest.mark.parametrize("syntax", ENCODED, ids=lambda uid: SYNTAXES[uid].name)
def test_lossless_syntaxes_give_back_what_was_encoded(make_dicom, syntax):
    path = make_dicom([ENCODED[syntax]], syntax=syntax, size=DEEP.shape, BitsStored=12)
    np.testing.assert_array_equal(read_dicom(path, window=None).pixels[..., 0], DEEP)


@pytest.mark.parametrize(
    "syntax", [ROOT, f"{ROOT}.1", f"{ROOT}.1.99", f"{ROOT}.2"], ids=lambda uid: SYNTAXES[uid].name
)
@pytest.mark.parametrize("pixels", [DEEP, DEEP.astype(np.int16) - 900, COLOUR, COLOUR[..., 0]])
def test_native_syntaxes_give_back_what_was_written(make_dicom, syntax, pixels):
    path = make_dicom(pixels, syntax=syntax)
    image = read_dicom(path, window=None).pixels
    np.testing.assert_array_equal(image.squeeze(), pixels)


def test_twelve_bits_of_lossy_jpeg(make_dicom):
    frame = jpeg(DEEP, level=95, bitspersample=12)
    path = make_dicom([frame], syntax=f"{ROOT}.4.51", size=DEEP.shape, BitsStored=12)
    image = read_dicom(path, window=None).pixels[..., 0]
    assert image.max() > 255
    assert np.abs(image.astype(int) - DEEP).max() <= 12


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_luma_and_chroma_of_jpeg_become_colours_whatever_they_are_called(make_dicom, photometric):
    frame = jpeg(COLOUR, level=98)
    path = make_dicom(
        [frame],
        syntax=f"{ROOT}.4.50",
        size=COLOUR.shape,
        BitsAllocated=8,
        BitsStored=8,
        PhotometricInterpretation=photometric,
    )
    assert np.abs(read_image(path).astype(int) - COLOUR).max() <= 8


def test_jpeg_that_holds_red_green_and_blue(make_dicom):
    frame = jpeg(COLOUR, level=98, colorspace="RGB", outcolorspace="RGB")
    path = make_dicom(
        [frame], syntax=f"{ROOT}.4.50", size=COLOUR.shape, BitsAllocated=8, BitsStored=8
    )
    assert np.abs(read_image(path).astype(int) - COLOUR).max() <= 8


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 8, 16]))
def test_rle_gives_back_what_pydicom_encodes(height, width, frames, bits):
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders import RLELosslessEncoder
    from pydicom.uid import UID

    top = 2 ** min(bits, 8)
    dtype = np.uint8 if bits <= 8 else np.uint16
    rng = np.random.default_rng(height * width)
    pixels = rng.integers(0, top, (frames, height, width)).astype(dtype)
    dataset = pydicom.Dataset()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, 1
    dataset.NumberOfFrames, dataset.PhotometricInterpretation = frames, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = max(bits, 8)
    dataset.HighBit, dataset.PixelRepresentation = max(bits, 8) - 1, 0
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    packed = [RLELosslessEncoder.encode(frame, **options(dataset)) for frame in pixels]
    dataset.PixelData = encapsulate(packed)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(f"{ROOT}.5")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rle.dcm"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        found = np.stack([each.pixels[..., 0] for each in read_frames(path, window=None)])
    np.testing.assert_array_equal(found, pixels)


def options(dataset):
    return {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": 0,
    }


def test_one_bit_frames_follow_each_other_without_padding(make_dicom):
    bits = RNG.integers(0, 2, (5, 3, 7)).astype(np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little")
    path = make_dicom(packed.reshape(1, -1), NumberOfFrames=5, BitsAllocated=1, BitsStored=1)
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns, dataset.HighBit = 3, 7, 0
    dataset.save_as(path)
    found = np.stack([each.pixels[..., 0] for each in read_frames(path)])
    np.testing.assert_array_equal(found, bits * 255)


def test_fragments_are_joined_by_table_and_by_where_a_stream_starts(make_dicom):
    from pydicom.encaps import encapsulate

    frames = [imagecodecs.jpegls_encode(DEEP), imagecodecs.jpegls_encode(DEEP[::-1].copy())]
    for table in (True, False):
        path = make_dicom(
            frames, syntax=f"{ROOT}.4.80", size=DEEP.shape, BitsStored=12, NumberOfFrames=2
        )
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=table)
        dataset.save_as(path)
        one, two = (each.pixels[..., 0] for each in read_frames(path, window=None))
        np.testing.assert_array_equal(one, DEEP)
        np.testing.assert_array_equal(two, DEEP[::-1])


def test_the_documented_table_is_the_one_in_the_code():
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "dicom.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if "`1.2.840" in line]
    assert rows == [
        f"| `{uid}` | {each.name} | {'yes' if each.is_lossless else 'no'} | {each.codec or 'no'} |"
        for uid, each in SYNTAXES.items()
    ]


@pytest.mark.parametrize("syntax", [uid for uid, each in SYNTAXES.items() if each.codec is None])
def test_what_is_not_decoded_is_refused_by_name(make_dicom, syntax):
    path = make_dicom([b"\0" * 64], syntax=syntax, size=(8, 8))
    with pytest.raises(ImageFileError, match="transfer syntax") as error:
        read_dicom(path)
    assert SYNTAXES[syntax].name in str(error.value)


def test_an_unknown_transfer_syntax_is_refused(make_dicom):
    with pytest.raises(ImageFileError, match="an unknown one"):
        read_dicom(make_dicom([b"\0" * 64], syntax="1.2.3.4.5", size=(8, 8)))
