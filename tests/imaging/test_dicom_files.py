"""Every real DICOM file at hand is read as pydicom decodes it, or refused with a reason."""

import warnings
from itertools import combinations

import numpy as np
import pytest

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image, read_mask_file, read_size

pydicom = pytest.importorskip("pydicom")
from penumbra.imaging.dicom import read_dicom, read_frames, read_segmentation  # noqa: E402

pytestmark = pytest.mark.real_data

GREY16, GREY8, RGB8, RGB16 = ("uint16", 1), ("uint8", 1), ("uint8", 3), ("uint16", 3)

READ = {
    "693_J2KR": (512, 512, *GREY16),
    "693_UNCI": (512, 512, *GREY16),
    "693_UNCR": (512, 512, *GREY16),
    "HTJ2KLossless_08_RGB": (480, 640, *RGB8),
    "HTJ2K_08_RGB": (480, 640, *RGB8),
    "JLSL_08_07_0_1F": (128, 128, *GREY8),
    "JLSL_16_15_1_1F": (128, 128, *GREY16),
    "JLSL_RGB_ILV0": (256, 256, *RGB8),
    "JLSL_RGB_ILV1": (256, 256, *RGB8),
    "JLSL_RGB_ILV2": (256, 256, *RGB8),
    "JLSN_RGB_ILV0": (256, 256, *RGB8),
    "JPEG-LL": (1024, 256, *GREY16),
    "JPEG2000_UNC": (1024, 256, *GREY16),
    "JPGLosslessP14SV1_1s_1f_8b": (768, 1024, *GREY8),
    "MR-SIEMENS-DICOM-WithOverlays": (484, 484, *GREY16),
    "MR2_J2KI": (1024, 1024, *GREY16),
    "MR2_J2KR": (1024, 1024, *GREY16),
    "MR2_UNCI": (1024, 1024, *GREY16),
    "MR2_UNCR": (1024, 1024, *GREY16),
    "OBXXXX1A": (600, 800, *RGB8),
    "OBXXXX1A_2frame": (600, 800, *RGB8),
    "OBXXXX1A_expb": (600, 800, *RGB8),
    "OBXXXX1A_expb_2frame": (600, 800, *RGB8),
    "OBXXXX1A_rle": (600, 800, *RGB8),
    "OBXXXX1A_rle_2frame": (600, 800, *RGB8),
    "OT-PAL-8-face": (480, 640, *RGB8),
    "RG1_J2KI": (1955, 1841, *GREY16),
    "RG3_J2KI": (1760, 1760, *GREY16),
    "RG3_J2KR": (1760, 1760, *GREY16),
    "SC_rgb": (100, 100, *RGB8),
    "SC_rgb_16bit": (100, 100, *RGB16),
    "SC_rgb_16bit_2frame": (100, 100, *RGB16),
    "SC_rgb_2frame": (100, 100, *RGB8),
    "SC_rgb_32bit": (100, 100, *RGB16),
    "SC_rgb_32bit_2frame": (100, 100, *RGB16),
    "SC_rgb_dcmtk_ebcr_dcmd": (100, 100, *RGB8),
    "SC_rgb_dcmtk_ebcyn1_dcmd": (100, 100, *RGB8),
    "SC_rgb_dcmtk_ebcyn2_dcmd": (100, 100, *RGB8),
    "SC_rgb_dcmtk_ebcynp_dcmd": (100, 100, *RGB8),
    "SC_rgb_dcmtk_ebcys2_dcmd": (100, 100, *RGB8),
    "SC_rgb_dcmtk_ebcys4_dcmd": (100, 100, *RGB8),
    "SC_rgb_expb": (100, 100, *RGB8),
    "SC_rgb_expb_16bit": (100, 100, *RGB16),
    "SC_rgb_expb_16bit_2frame": (100, 100, *RGB16),
    "SC_rgb_expb_2frame": (100, 100, *RGB8),
    "SC_rgb_expb_32bit": (100, 100, *RGB16),
    "SC_rgb_expb_32bit_2frame": (100, 100, *RGB16),
    "SC_rgb_gdcm2k_uncompressed": (100, 100, *RGB8),
    "SC_ybr_full_uncompressed": (100, 100, *RGB8),
    "US1_J2KI": (480, 640, *RGB8),
    "US1_J2KR": (480, 640, *RGB8),
    "US1_UNCI": (480, 640, *RGB8),
    "US1_UNCR": (480, 640, *RGB8),
    "bad_sequence": (512, 512, *GREY16),
    "color-pl": (120, 256, *RGB8),
    "color-px": (120, 256, *RGB8),
    "eCT_Supplemental": (512, 512, *GREY16),
    "emri_small": (64, 64, *GREY16),
    "emri_small_RLE": (64, 64, *GREY16),
    "emri_small_big_endian": (64, 64, *GREY16),
    "emri_small_jpeg_2k_lossless": (64, 64, *GREY16),
    "emri_small_jpeg_ls_lossless": (64, 64, *GREY16),
    "explicit_VR-UN": (512, 512, *GREY16),
    "gdcm-US-ALOKA-16": (480, 640, *RGB8),
    "gdcm-US-ALOKA-16_big": (480, 640, *RGB8),
    "liver": (512, 512, *GREY8),
    "liver_deflate": (512, 512, *GREY8),
    "liver_expb": (512, 512, *GREY8),
    "liver_j2k": (512, 512, *GREY8),
    "liver_nonbyte_aligned": (510, 510, *GREY8),
    "liver_nonbyte_aligned_deflate": (510, 510, *GREY8),
    "liver_nonbyte_aligned_j2k": (510, 510, *GREY8),
    "liver_nonbyte_aligned_rle": (510, 510, *GREY8),
    "liver_rle": (512, 512, *GREY8),
    "mlut_18": (512, 512, *GREY16),
    "parametric_map_double_float": (128, 128, "float32", 1),
    "parametric_map_float": (128, 128, "float32", 1),
    "vlut_04": (512, 512, *GREY8),
}
"""Height, width, type and channels of every file that is read."""

REFUSED = {"emri_small_jpeg_2k_lossless_too_short": "its pixels are cut off"}
"""The reason of every file that is not."""

SAME = [
    ("693_UNCR", "693_J2KR"),
    ("MR2_UNCR", "MR2_J2KR"),
    ("MR2_UNCI", "MR2_J2KI"),
    ("US1_UNCR", "US1_J2KR"),
    ("US1_UNCI", "US1_J2KI"),
    ("JLSL_RGB_ILV0", "JLSL_RGB_ILV1", "JLSL_RGB_ILV2"),
    ("OBXXXX1A", "OBXXXX1A_expb", "OBXXXX1A_rle", "OBXXXX1A_2frame", "OBXXXX1A_rle_2frame"),
    ("OBXXXX1A", "OBXXXX1A_expb_2frame"),
    (
        "emri_small",
        "emri_small_RLE",
        "emri_small_big_endian",
        "emri_small_jpeg_2k_lossless",
        "emri_small_jpeg_ls_lossless",
    ),
    ("SC_rgb", "SC_rgb_2frame", "SC_rgb_expb", "SC_rgb_expb_2frame", "SC_rgb_gdcm2k_uncompressed"),
    ("SC_rgb_16bit", "SC_rgb_16bit_2frame", "SC_rgb_expb_16bit", "SC_rgb_expb_16bit_2frame"),
    ("SC_rgb_32bit", "SC_rgb_32bit_2frame", "SC_rgb_expb_32bit", "SC_rgb_expb_32bit_2frame"),
    ("color-pl", "color-px"),
    ("gdcm-US-ALOKA-16", "gdcm-US-ALOKA-16_big"),
    ("liver", "liver_expb", "liver_deflate", "liver_j2k", "liver_rle"),
    (
        "liver_nonbyte_aligned",
        "liver_nonbyte_aligned_deflate",
        "liver_nonbyte_aligned_j2k",
        "liver_nonbyte_aligned_rle",
    ),
]
"""Files that hold one image; MR2_*I and US1_*I were decompressed from the lossy stream."""


@pytest.fixture
def folder(real_data):
    return real_data / "dicom"


def test_every_file_has_an_expectation(folder):
    assert {path.stem for path in folder.glob("*.dcm")} == {*READ, *REFUSED}
    assert len(READ) + len(REFUSED) == 79


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_expected(folder, name):
    path = folder / f"{name}.dcm"
    image = read_image(path)
    height, width, dtype, channels = READ[name]
    assert (image.shape, str(image.dtype)) == ((height, width, channels), dtype)
    assert read_size(path) == (height, width)
    assert image.min() < image.max()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("read", [read_image, read_mask_file])
def test_a_file_is_refused_with_a_reason(folder, name, read):
    with pytest.raises(ImageFileError, match=REFUSED[name]):
        read(folder / f"{name}.dcm")


@pytest.mark.parametrize("names", SAME, ids=lambda names: names[0])
def test_lossless_variants_decode_bit_identically(folder, names):
    shown = [read_image(folder / f"{name}.dcm") for name in names]
    for one, other in combinations(shown, 2):
        np.testing.assert_array_equal(one, other)


def test_all_frames_of_lossless_variants_are_bit_identical(folder):
    names = ["", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless"]
    volumes = [
        np.stack([each.pixels for each in read_frames(folder / f"emri_small{name}.dcm")])
        for name in names
    ]
    assert volumes[0].shape == (10, 64, 64, 1)
    for volume in volumes[1:]:
        np.testing.assert_array_equal(volumes[0], volume)


def reference(path):
    """The first frame as pydicom decodes it; `None` where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        dataset.file_meta.setdefault("TransferSyntaxUID", "1.2.840.10008.1.2")
        try:
            pixels = dataset.pixel_array
        except (NotImplementedError, RuntimeError):
            return None, dataset
    return pixels[0] if int(dataset.get("NumberOfFrames", 1)) > 1 else pixels, dataset


@pytest.mark.parametrize("name", READ)
def test_measured_values_are_those_that_pydicom_decodes(folder, name):
    path = folder / f"{name}.dcm"
    stored, dataset = reference(path)
    if stored is None:
        assert name in {
            "liver_deflate",
            "liver_rle",
            "liver_nonbyte_aligned_deflate",
            "liver_nonbyte_aligned_rle",
        }
        return
    meaning = dataset.PhotometricInterpretation
    image = read_dicom(path, window=None).pixels
    if meaning == "PALETTE COLOR":
        # pydicom takes the words of a table in big endian for little ones: the twin file's table.
        little = pydicom.dcmread(folder / f"{name.replace('_expb', '')}.dcm", force=True)
        expected = pydicom.pixels.apply_color_lut(stored, little)
        expected = expected >> 8 if expected.dtype == np.uint16 else expected
        # The standard leaves open how a segmented palette rounds between its points.
        assert np.abs(image.astype(int) - expected).max() <= ("ALOKA" in name)
    elif dataset.SamplesPerPixel == 3:
        scaled = stored >> 16 if stored.dtype.itemsize == 4 else stored
        np.testing.assert_array_equal(image, scaled)
    else:
        expected = pydicom.pixels.apply_modality_lut(stored, dataset)
        shared = dataset.get("SharedFunctionalGroupsSequence", [pydicom.Dataset()])[0]
        frame = dataset.get("PerFrameFunctionalGroupsSequence", [pydicom.Dataset()])[0]
        for group in (shared, frame):
            for item in group.get("PixelValueTransformationSequence", []):
                expected = stored * float(item.RescaleSlope) + float(item.RescaleIntercept)
        np.testing.assert_array_equal(image[..., 0], expected.astype(np.float32))


def test_real_windows_show_what_pydicom_shows(folder):
    for name in ("693_UNCR", "MR2_UNCR", "bad_sequence", "vlut_04"):
        stored, dataset = reference(folder / f"{name}.dcm")
        values = pydicom.pixels.apply_modality_lut(stored, dataset)
        shown = pydicom.pixels.apply_voi_lut(values, dataset).astype(float)
        low, high = shown.min(), shown.max()
        image = read_dicom(folder / f"{name}.dcm").pixels[..., 0]
        white = np.iinfo(image.dtype).max
        # pydicom stretches to the range that could be stored; both ends occur in these images.
        np.testing.assert_allclose(image / white, (shown - low) / (high - low), atol=0.51 / white)


def test_the_baseline_jpeg_of_rsna_agrees_with_another_decoder(real_data):
    (path,) = (real_data / "rsna").glob("*.dcm")
    stored, _ = reference(path)
    image = read_image(path)
    # Two decoders may round the same cosine transform to neighbouring greys.
    assert np.abs(image[..., 0].astype(int) - stored).max() <= 1
    assert read_dicom(path).spacing == (0.168, 0.168)


def test_the_segmentation_of_three_slices_wants_to_know_the_image(folder):
    with pytest.raises(ImageFileError, match="3 frames in several slices"):
        read_mask_file(folder / "liver.dcm")
    found = read_segmentation(folder / "liver.dcm")
    stored = pydicom.dcmread(folder / "liver.dcm").pixel_array
    np.testing.assert_array_equal(np.stack([frame.mask for frame in found.frames]), stored)
    assert found.segments == {1: "Liver"}
