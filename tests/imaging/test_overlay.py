"""Overlays: colours mean what the legend says, sizes and types survive, doubt grows brighter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from penumbra.errors import SettingsError
from penumbra.imaging import palette
from penumbra.imaging.overlay import (
    evaluation_overlay,
    heatmap,
    line_width,
    outline,
    overlay_mask,
    to_display,
    viridis,
)

DISPLAYABLE = st.sampled_from([np.uint8, np.uint16, np.float32, np.bool_])


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


@settings(max_examples=50, deadline=None)
@given(st.data(), DISPLAYABLE, st.sampled_from([(), (1,), (3,)]))
def test_any_image_becomes_rgb_of_its_size(data, dtype, channels):
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    image = data.draw(hnp.arrays(dtype, (height, width, *channels)))
    shown = to_display(image)
    assert shown.shape == (height, width, 3)
    assert shown.dtype == np.uint8


def test_eight_bit_images_are_shown_as_they_are():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(to_display(image), image)


def test_a_lone_bright_pixel_is_not_lost_to_the_percentiles():
    image = np.zeros((100, 100), np.uint16)
    image[3, 4] = 900
    assert to_display(image)[3, 4].tolist() == [255, 255, 255]


def test_values_that_are_not_finite_are_black_and_do_not_spoil_the_rest():
    image = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    image[0, 0], image[0, 1] = np.nan, np.inf
    shown = to_display(image)
    assert shown[0, :2].max() == 0
    assert shown[9, 9, 0] == 255


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(SettingsError, match="Expected the image to be"):
        to_display(np.zeros(shape, np.uint8))


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_outline_equals_region_without_its_erosion(region):
    eroded = ndimage.binary_erosion(region, border_value=1)
    np.testing.assert_array_equal(outline(region), region & ~eroded)


def test_outline_of_a_region_that_leaves_the_image_stays_open():
    region = np.zeros((6, 6), bool)
    region[:3] = True
    assert outline(region).nonzero()[0].tolist() == [2] * 6


def test_lines_grow_with_the_image():
    widths = [line_width((side, side)) for side in (16, 256, 512, 1024, 4096)]
    assert widths == sorted(widths)
    assert widths[0] == 1


def test_mask_has_a_solid_line_a_light_fill_and_an_untouched_ground():
    image = np.full((64, 64, 1), 100, np.uint8)
    drawn = overlay_mask(image, disc(64, 20))
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[32, 52].tolist() == list(palette.TEAL)
    inside = np.rint(0.65 * 100 + 0.35 * np.array(palette.TEAL))
    assert drawn[32, 32].tolist() == inside.tolist()


def test_an_empty_mask_leaves_the_image_alone():
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    np.testing.assert_array_equal(overlay_mask(image, np.zeros((16, 16), np.uint8)), image)


def test_classes_differ_and_the_ignored_has_no_line():
    mask = np.zeros((32, 32), np.uint8)
    mask[4:12, 4:12], mask[4:12, 20:28], mask[20:28, 4:12] = 1, 2, 255
    drawn = overlay_mask(np.zeros((32, 32), np.uint8), mask)
    assert drawn[4, 4].tolist() == list(palette.class_colour(1))
    assert drawn[4, 20].tolist() == list(palette.class_colour(2))
    assert drawn[20, 4].tolist() == drawn[24, 8].tolist()


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2])),
    hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255])),
)
def test_every_pixel_of_an_evaluation_overlay_has_the_colour_of_its_outcome(predicted, truth):
    drawn = evaluation_overlay(np.zeros((6, 7), np.uint8), predicted, truth, opacity=1.0)
    for (row, column), is_, was in zip(np.ndindex(6, 7), predicted.flat, truth.flat, strict=True):
        if was == 255:
            wanted = palette.IGNORED
        elif is_ == was:
            wanted = palette.TRUE_POSITIVE if was else (0, 0, 0)
        elif is_ and was:
            wanted = palette.WRONG_CLASS
        else:
            wanted = palette.FALSE_POSITIVE if is_ else palette.FALSE_NEGATIVE
        assert tuple(drawn[row, column].tolist()) == wanted


def test_masks_of_another_size_are_refused():
    image, mask = np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8)
    with pytest.raises(SettingsError, match="8×8, but got 8×9"):
        overlay_mask(image, mask)
    with pytest.raises(SettingsError, match="`truth`"):
        evaluation_overlay(image, mask[:, :8], mask)
    with pytest.raises(SettingsError, match="`doubt`"):
        heatmap(image, mask.astype(np.float32), maximum=1.0)


@pytest.mark.parametrize("maximum", [0.0, -1.0, float("nan")])
def test_a_heatmap_needs_a_scale(maximum):
    with pytest.raises(SettingsError, match="`maximum`"):
        heatmap(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32), maximum=maximum)


@pytest.mark.parametrize("ground", [0, 255])
def test_more_doubt_is_brighter_amber_in_the_middle_and_white_at_the_end(ground):
    doubt = np.linspace(0, 1, 101, dtype=np.float32)[None]
    drawn = heatmap(np.full((1, 101), ground, np.uint8), doubt, maximum=1.0).astype(float)[0]
    assert drawn[0].tolist() == [round(ground * 0.6)] * 3
    assert drawn[100].min() >= 240
    red, green, blue = drawn[50]
    assert red > green > blue
    if ground == 0:
        assert (np.diff(drawn @ [0.299, 0.587, 0.114]) >= 0).all()


def test_viridis_is_that_of_matplotlib():
    import matplotlib as mpl

    values = np.linspace(0, 1, 256)
    reference = np.asarray(mpl.colormaps["viridis"](values))[:, :3] * 255
    assert np.abs(viridis(values) - reference).max() <= 3
    assert viridis(np.nan).tolist() == viridis(0.0).tolist()


def _linear(colour):
    share = np.array(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira and Fernandes (2009), severity 1.0.
DEFICIENCIES = {
    "normal": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def _lab(linear):
    from skimage.color import rgb2lab

    share = np.clip(linear, 0, 1)
    encoded = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return rgb2lab(encoded[None, None])[0, 0]


@pytest.mark.parametrize("deficiency", sorted(DEFICIENCIES))
def test_outcomes_are_told_apart_by_every_reader(deficiency):
    matrix = np.array(DEFICIENCIES[deficiency])
    names = ["TRUE_POSITIVE", "FALSE_NEGATIVE", "FALSE_POSITIVE", "WRONG_CLASS"]
    seen = [_lab(matrix @ _linear(getattr(palette, name))) for name in names]
    for first in range(len(seen)):
        for second in range(first):
            assert np.linalg.norm(seen[first] - seen[second]) > 25, (names[first], names[second])


def test_class_colours_are_distinct_beyond_the_named_ones():
    colours = palette.class_palette(40)
    assert len({tuple(c) for c in colours.tolist()}) == 40
    assert palette.AMBER not in {tuple(c) for c in colours.tolist()}


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colour_codes_round_trip(colour):
    assert palette.rgb(palette.hex_code(colour)) == colour


@pytest.mark.parametrize("code", ["", "#12", "teal", "#12345G", "#1234567"])
def test_bad_colour_codes_are_refused(code):
    with pytest.raises(SettingsError, match="#RRGGBB"):
        palette.rgb(code)


def test_negative_classes_are_refused():
    with pytest.raises(SettingsError, match="class index"):
        palette.class_colour(-1)
