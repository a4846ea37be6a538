"""From stored samples to what is shown: rescaling, tables, windows, inversion, colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging.files import read_image, read_mask_file, read_spacing

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import Window, read_dicom, read_frames, read_header  # noqa: E402
from penumbra.imaging.dicom.luts import expanded  # noqa: E402

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
CT = {"RescaleSlope": 2, "RescaleIntercept": -1024}


def shown(path, **options):
    return read_dicom(path, **options).pixels[..., 0]


@given(
    st.floats(-3000, 3000, width=32),
    st.floats(2, 5000, width=32),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_agree_with_pydicom(center, width, function):
    values = np.linspace(-3000, 3000, 101)
    dataset = pydicom.Dataset()
    dataset.WindowCenter, dataset.WindowWidth = round(center, 3), round(width, 3)
    dataset.VOILUTFunction = function
    dataset.PhotometricInterpretation, dataset.BitsStored = "MONOCHROME2", 16
    dataset.PixelRepresentation = 0
    expected = pydicom.pixels.apply_windowing(values, dataset) / 65535
    window = Window(round(center, 3), round(width, 3), "", function)
    np.testing.assert_allclose(window.apply(values), expected, atol=1e-9)


def test_a_window_of_width_one_is_a_threshold():
    assert Window(10, 1).apply(np.array([9.0, 9.5, 9.6])).tolist() == [0, 0, 1]


def test_measured_values_are_hounsfield_units(make_dicom):
    image = read_dicom(make_dicom(RAMP, **CT), window=None)
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels[..., 0], RAMP * 2.0 - 1024)
    assert image.shown == "measured values"


def test_a_window_is_chosen_by_index_name_or_numbers(make_dicom):
    path = make_dicom(
        RAMP,
        **CT,
        WindowCenter=[40, -600],
        WindowWidth=[400, 1500],
        WindowCenterWidthExplanation=["ABDOMEN", "Lung"],
    )
    assert [each.name for each in read_header(path).windows] == ["ABDOMEN", "Lung"]
    lung = Window(-600, 1500).apply(RAMP * 2.0 - 1024)
    for choice in (1, "lung", (-600, 1500)):
        np.testing.assert_array_equal(shown(path, window=choice), np.rint(lung * 65535))
    np.testing.assert_array_equal(shown(path), shown(path, window="abdomen"))
    assert read_dicom(path).shown == "window 40/400 (ABDOMEN)"
    assert any("2 windows" in notice for notice in read_dicom(path).notices)
    np.testing.assert_array_equal(read_image(path), read_dicom(path).pixels)


@pytest.mark.parametrize("choice", [2, "bone", "lut"])
def test_a_window_that_the_file_lacks_is_refused(make_dicom, choice):
    path = make_dicom(RAMP, WindowCenter=[40, 60], WindowWidth=[400, 100])
    with pytest.raises(ImageFileError, match="2 windows and 0 VOI LUTs"):
        read_dicom(path, window=choice)


@pytest.mark.parametrize("choice", [-1, True, 1.5, (40, 0), (40, float("nan")), (1, 2, 3), [1, 2]])
def test_a_choice_that_means_nothing_is_refused(make_dicom, choice):
    with pytest.raises(SettingsError, match="Expected `window`"):
        read_dicom(make_dicom(RAMP), window=choice)


def test_monochrome1_and_inverse_are_inverted_when_shown_and_not_when_measured(make_dicom):
    plain = make_dicom(RAMP, name="a.dcm", WindowCenter=2048, WindowWidth=4096)
    for keywords in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
    ):
        other = make_dicom(RAMP, name="b.dcm", WindowCenter=2048, WindowWidth=4096, **keywords)
        np.testing.assert_allclose(shown(other), 65535 - shown(plain).astype(int), atol=1)
        np.testing.assert_array_equal(shown(other, window=None), RAMP)


def test_deep_images_without_window_show_their_percentiles_less_the_padding(make_dicom):
    pixels = RAMP.astype(np.int16)
    pixels[:20] = -2000
    path = make_dicom(pixels, PixelPaddingValue=-2000)
    low, high = np.percentile(pixels[20:], [0.5, 99.5])
    expected = np.clip((pixels - low) / (high - low), 0, 1) * 65535
    np.testing.assert_array_equal(shown(path), np.rint(expected))
    np.testing.assert_array_equal(shown(path, window="percentile"), shown(path))


def test_shallow_images_without_window_show_their_full_range(make_dicom):
    pixels = RAMP.astype(np.uint8)
    np.testing.assert_array_equal(shown(make_dicom(pixels)), pixels)
    seven = make_dicom(pixels // 2, name="seven.dcm", BitsStored=7)
    np.testing.assert_array_equal(shown(seven), np.rint((pixels // 2) * (255 / 127)))
    full = make_dicom(RAMP, name="full.dcm", BitsStored=12)
    np.testing.assert_array_equal(shown(full, window="full"), np.rint(RAMP * (65535 / 4095)))


def test_a_constant_image_is_black(make_dicom):
    assert not shown(make_dicom(np.full((4, 5), 700, np.uint16))).any()


def test_unused_bits_are_cleared_and_signs_kept(make_dicom):
    signed = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    packed = ((signed.astype(np.uint16) & 0xFFF) << 4) | 0xA
    path = make_dicom(packed, BitsStored=12, HighBit=15, PixelRepresentation=1)
    np.testing.assert_array_equal(shown(path, window=None), signed)
    overlay = make_dicom(RAMP | np.uint16(0xF000), name="overlay.dcm", BitsStored=12)
    np.testing.assert_array_equal(shown(overlay, window=None), RAMP)


def lut_item(first, entries, bits, name=""):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTExplanation = name
    item.LUTData = [int(entry) for entry in entries]
    item["LUTData"].VR = "US"
    return item


def test_tables_agree_with_pydicom(make_dicom):
    pixels = np.arange(-100, 156, dtype=np.int16).reshape(16, 16)
    modality = lut_item(-80, np.arange(200) ** 2, 16)
    path = make_dicom(pixels, ModalityLUTSequence=[modality])
    expected = pydicom.pixels.apply_modality_lut(pixels, pydicom.dcmread(path))
    np.testing.assert_array_equal(shown(path, window=None), expected)
    grey = RAMP[:16, :16].copy()
    voi = lut_item(30, np.linspace(0, 1023, 100).astype(int), 10, "Curve")
    path = make_dicom(grey, name="voi.dcm", VOILUTSequence=[voi], WindowCenter=9, WindowWidth=9)
    expected = pydicom.pixels.apply_voi_lut(grey, pydicom.dcmread(path))
    for choice in ("auto", "lut", "curve"):
        np.testing.assert_array_equal(
            shown(path, window=choice), np.rint(expected * (65535 / 1023))
        )
    assert read_header(path).voi_luts == ("Curve",)


def palette(entries, bits=16):
    keywords = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in zip(("Red", "Green", "Blue"), entries, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        keywords[f"{name}Descriptor"] = [len(table), 0, bits]
        keywords[f"{name}Data"] = np.asarray(table, "<u2").tobytes()
    return keywords


def test_palettes_become_colours_and_stay_indices_in_masks(make_dicom):
    indices = np.array([[0, 1], [2, 9]], np.uint8)
    tables = [[0, 0xFFFF, 0x8000], [0, 0, 0x4000], [0, 0x1200, 0xFFFF]]
    path = make_dicom(indices, **palette(tables))
    assert read_image(path).tolist() == [
        [[0, 0, 0], [255, 0, 0x12]],
        [[128, 64, 255], [128, 64, 255]],
    ]
    np.testing.assert_array_equal(read_mask_file(path), indices)
    grey = make_dicom(indices, name="grey.dcm", **palette([tables[0]] * 3))
    assert read_image(grey).shape == (2, 2, 1)


def test_segments_may_refer_to_segments():
    words = [0, 2, 5, 9, 1, 2, 11, 2, 2, 0, 0]
    assert expanded(words) == [5, 9, 10, 11, 5, 9, 10, 11]
    with pytest.raises(ValueError, match="7"):
        expanded([7, 1, 1])


def test_chroma_shared_by_two_pixels(make_dicom):
    row = np.array([[76, 76, 85, 255, 150, 29, 44, 21]], np.uint8)
    path = make_dicom(row, PhotometricInterpretation="YBR_FULL_422", SamplesPerPixel=3)
    dataset = pydicom.dcmread(path)
    dataset.Columns, dataset.PlanarConfiguration = 4, 0
    dataset.save_as(path)
    image = read_image(path)
    assert image.shape == (1, 4, 3)
    np.testing.assert_array_equal(image[0, 0], image[0, 1])
    assert image[0, 0].tolist() == [254, 0, 0]


@pytest.mark.parametrize(
    ("keywords", "spacing", "kind"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25), "patient"),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3), "detector"),
        ({"PixelSpacing": [0.5, 0.25], "ImagerPixelSpacing": [1, 1]}, (0.5, 0.25), "patient"),
        ({"PixelSpacing": [0, 0]}, None, None),
        ({}, None, None),
    ],
)
def test_pixel_spacing_is_rows_then_columns(make_dicom, keywords, spacing, kind):
    path = make_dicom(RAMP, **keywords)
    assert read_dicom(path).spacing == read_spacing(path) == spacing
    assert read_header(path).spacing_kind == kind


def test_frames_are_read_one_by_one_and_the_first_by_default(make_dicom):
    volume = np.stack([RAMP, RAMP[::-1], RAMP // 2])
    path = make_dicom(volume.reshape(-1, 64), NumberOfFrames=3, Rows=64)
    for frame, expected in enumerate(volume):
        np.testing.assert_array_equal(shown(path, window=None, frame=frame), expected)
    assert [each.frame for each in read_frames(path)] == [0, 1, 2]
    assert read_dicom(path).notices == ("It holds 3 frames; frame 0 is read.",)
    np.testing.assert_array_equal(read_image(path), read_dicom(path, frame=0).pixels)
    with pytest.raises(ImageFileError, match="0 to 2"):
        read_dicom(path, frame=3)


def test_a_frame_has_windows_and_rescaling_of_its_own(make_dicom):
    def group(center, intercept):
        item, voi, rescale = (pydicom.Dataset() for _ in range(3))
        voi.WindowCenter, voi.WindowWidth = center, 100
        rescale.RescaleIntercept, rescale.RescaleSlope = intercept, 1
        item.FrameVOILUTSequence = [voi]
        item.PixelValueTransformationSequence = [rescale]
        return item

    groups = [group(50, 0), group(900, -10)]
    path = make_dicom(
        np.concatenate([RAMP, RAMP]),
        NumberOfFrames=2,
        Rows=64,
        PerFrameFunctionalGroupsSequence=groups,
    )
    first, second = read_frames(path)
    assert (first.shown, second.shown) == ("window 50/100", "window 900/100")
    assert read_dicom(path, window=None, frame=1).pixels.min() == -10
