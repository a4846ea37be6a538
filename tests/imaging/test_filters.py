"""Filters against scikit-image, SciPy and OpenCV, and what every one of them keeps."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import feature, filters

from penumbra.errors import ImageFileError
from penumbra.imaging.filters import FilterChain, LaplacianOfGaussian

NAMES = ("sobel", "canny", "log", "clahe", "window", "unsharp")
EDGES = ("sobel", "canny", "log")
DTYPES = (np.uint8, np.uint16, np.float32)


def smooth_image(height=97, width=131, seed=0):
    """A grey image of soft blobs, uint8."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width)), 3)
    return np.rint((noise - noise.min()) / np.ptp(noise) * 200 + 20).astype(np.uint8)


def filtered(image, *chain):
    return FilterChain.parse(list(chain)).apply(image)


def scale_of(strength):
    return max(np.percentile(strength, 99), strength.max() / 10)


# --- references --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (7, 5)])
def test_sobel_is_that_of_scikit_image(size):
    image = smooth_image()[: size[0], : size[1]]
    strength = filters.sobel(image / 255)
    reference = np.minimum(strength / scale_of(strength), 1) * 255
    np.testing.assert_allclose(filtered(image[..., None], "sobel")[..., 0], reference, atol=0.51)


@pytest.mark.parametrize(("sigma", "amount"), [(1.0, 0.5), (3.0, 2.0)])
def test_unsharp_is_that_of_scikit_image_in_each_channel(sigma, amount):
    image = np.stack([smooth_image(seed=seed) for seed in range(3)], axis=2)
    reference = filters.unsharp_mask(image, sigma, amount, channel_axis=2) * 255
    changed = filtered(image, {"unsharp": {"sigma": sigma, "amount": amount}})
    np.testing.assert_allclose(changed, reference, atol=0.51)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.5])
def test_laplacian_of_gaussian_is_that_of_scipy(sigma):
    grey = (smooth_image() / 255).astype(np.float32)
    reference = ndimage.gaussian_laplace(grey.astype(np.float64), sigma)
    response = LaplacianOfGaussian(sigma=sigma).response(grey)
    np.testing.assert_allclose(response, reference, atol=0.01 * np.abs(reference).max())
    image = filtered(grey[..., None], {"log": {"sigma": sigma}})[..., 0]
    strength = np.abs(reference)
    expected = np.minimum(strength / scale_of(strength), 1) * np.ptp(grey) + grey.min()
    np.testing.assert_allclose(image, expected, atol=0.02)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_canny_finds_the_lines_of_scikit_image(sigma):
    grey = smooth_image(200, 260) / 255
    soft = ndimage.gaussian_filter(grey, sigma)
    strength = np.hypot(ndimage.sobel(soft, 0), ndimage.sobel(soft, 1))
    low, high = (share * scale_of(strength) for share in (0.2, 0.5))
    reference = feature.canny(grey, sigma, low, high, mode="reflect")
    image = np.rint(grey * 255).astype(np.uint8)[..., None]
    lines = filtered(image, {"canny": {"sigma": sigma}})[..., 0] == 255
    square = np.ones((3, 3), bool)
    for one, other in ((lines, reference), (reference, lines)):
        near = ndimage.binary_dilation(other, square)
        assert one.sum() > 300
        assert (one & near).sum() / one.sum() > 0.94


@pytest.mark.parametrize("size", [(64, 64), (200, 264), (197, 250), (64, 67)])
@pytest.mark.parametrize("clip", [1.0, 2.0, 8.0])
def test_clahe_is_that_of_opencv(size, clip):
    image = smooth_image(*size)
    reference = cv2.createCLAHE(clip, (8, 8)).apply(image)
    changed = filtered(image[..., None], {"clahe": {"clip": clip}})[..., 0]
    assert np.abs(changed.astype(int) - reference).max() <= 1


def test_the_window_ends_at_the_percentiles():
    image = np.random.default_rng(0).normal(1000, 50, (80, 90, 1)).astype(np.float32)
    image[0, 0] = 1e5
    low, high = np.percentile(image, (2, 97))
    changed = filtered(image, {"window": {"low": 2, "high": 97}})
    span = float(image.max() - image.min())
    reference = image.min() + np.clip((image - low) / (high - low), 0, 1) * span
    np.testing.assert_allclose(changed, reference, atol=2e-3 * span)


def test_a_few_bright_pixels_on_an_empty_ground_are_shown_by_the_window():
    image = np.zeros((100, 100, 1), np.uint8)
    image[5, 5] = 40
    assert filtered(image, "window")[5, 5, 0] == 255


# --- what every filter keeps -------------------------------------------------------------------

images = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from((1, 3))),
        elements=(
            st.floats(-(2.0**127), 2.0**127, width=32)
            if dtype == np.float32
            else st.integers(0, np.iinfo(dtype).max)
        ),
    )
)
steps = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES), "mode": st.sampled_from(("replace", "blend", "channels"))}
)


@example(
    np.array([[[4.2949678e09], [-3.8685626e25]]], np.float32),
    [{"name": "sobel", "mode": "replace"}],
)
@settings(max_examples=150, deadline=None)
@given(images, st.lists(steps, min_size=1, max_size=3))
def test_size_type_and_range_stay_and_the_image_is_not_touched(image, drawn):
    modes = [step["mode"] for step in drawn]
    chain = [
        {step["name"]: {"mode": "replace" if "channels" in modes[:-1] else step["mode"]}}
        for step in drawn
    ]
    before = image.copy()
    first = filtered(image, *chain)
    stacked = next(iter(chain[-1].values()))["mode"] == "channels"
    assert first.shape == (*image.shape[:2], 3 if stacked else image.shape[2])
    assert first.dtype == image.dtype
    assert np.isfinite(first).all()
    if image.dtype != np.uint8:
        assert first.min() >= image.min()
        assert first.max() <= image.max()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(filtered(image, *chain), first)


@pytest.mark.parametrize("name", NAMES)
def test_eight_and_sixteen_bits_and_floats_give_one_picture(name):
    image = smooth_image()
    image.flat[:2] = 0, 255
    eight = filtered(image[..., None], name).astype(float) / 255
    sixteen = filtered((image.astype(np.uint16) * 257)[..., None], name) / 65535
    floats = filtered((image / np.float32(255)).astype(np.float32)[..., None], name)
    for other in (sixteen, floats):
        away = np.abs(other - eight)
        # Canny decides yes or no, and may decide otherwise on the last bit.
        assert (away > 0.004).mean() <= (0.001 if name == "canny" else 0)


def test_sixteen_bits_stay_finer_than_eight():
    ramp = np.tile(np.linspace(0, 65535, 512).astype(np.uint16), (512, 1))[..., None]
    for name in ("clahe", "window", "unsharp"):
        assert len(np.unique(filtered(ramp, name))) > 400


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_image_stays_constant_and_has_no_edges(name, dtype):
    for channels in (1, 3):
        image = np.full((40, 50, channels), 77, dtype)
        changed = filtered(image, name)
        assert np.unique(changed).size == 1
        if dtype != np.uint8 or name in ("window", "unsharp"):
            assert changed.flat[0] == 77
        elif name in EDGES:
            assert changed.flat[0] == 0
        assert filtered(image, {name: {"mode": "channels"}}).shape == (40, 50, 3)


@pytest.mark.parametrize("name", NAMES)
def test_grey_in_three_channels_is_filtered_like_grey(name):
    image = smooth_image()[..., None]
    three = filtered(np.repeat(image, 3, axis=2), name)
    np.testing.assert_array_equal(three, np.repeat(filtered(image, name), 3, axis=2))


def test_colour_differences_outlast_clahe():
    image = np.stack([smooth_image(), smooth_image() // 2, smooth_image() // 3], axis=2)
    changed = filtered(image, {"clahe": {"clip": 1.5}}).astype(int)
    inside = ((changed > 0) & (changed < 255)).all(axis=2)
    was, is_now = (np.diff(a.astype(int), axis=2)[inside] for a in (image, changed))
    assert np.abs(was - is_now).max() <= 1


# --- modes -------------------------------------------------------------------------------------


def test_a_blend_is_the_weighted_sum():
    image = smooth_image()[..., None]
    edges = filtered(image, "sobel").astype(float)
    blend = filtered(image, {"sobel": {"mode": "blend", "weight": 0.3}})
    np.testing.assert_allclose(blend, 0.7 * image + 0.3 * edges, atol=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_blend_of_weight_zero_is_the_image(dtype):
    image = (smooth_image()[..., None].astype(np.float64) * 3.1).astype(dtype)
    same = filtered(image, {"log": {"mode": "blend", "weight": 0}})
    np.testing.assert_allclose(same.astype(float), image, rtol=1e-6)


def test_channels_are_raw_contrast_and_edges():
    image = smooth_image()[..., None]
    for chain in ({"sobel": {"mode": "channels"}}, {"clahe": {"mode": "channels"}}):
        stack = filtered(image, chain)
        for plane, alone in enumerate((image, filtered(image, "clahe"), filtered(image, "sobel"))):
            np.testing.assert_array_equal(stack[..., plane], alone[..., 0])
    other = filtered(image, {"canny": {"mode": "channels"}})
    assert set(np.unique(other[..., 2])) == {0, 255}


def test_a_prompt_leaves_pixels_and_sees_the_filters_before_it():
    image = smooth_image()[..., None]
    chain = FilterChain.parse(["clahe", {"sobel": {"mode": "prompt"}}])
    np.testing.assert_array_equal(chain.apply(image), filtered(image, "clahe"))
    edges = chain.edge_map(image)
    assert edges.dtype == np.float32
    assert edges.shape == image.shape[:2]
    reference = filtered(filtered(image, "clahe"), "sobel")[..., 0] / 255
    np.testing.assert_allclose(edges, reference, atol=0.02)
    alone = FilterChain.parse({"sobel": {"mode": "prompt"}})
    assert alone.apply(image) is image
    assert not alone.edge_map(np.full((9, 9, 1), 5, np.uint16)).any()


def test_filters_follow_each_other():
    image = smooth_image()[..., None]
    both = filtered(image, "clahe", "unsharp").astype(float)
    # Nothing is rounded between the two of a chain.
    np.testing.assert_allclose(both, filtered(filtered(image, "clahe"), "unsharp"), atol=2)
    assert np.abs(both - filtered(image, "unsharp", "clahe")).max() > 5


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((5, 5), np.uint8), r"\(H, W, 1\) or \(H, W, 3\)"),
        (np.zeros((5, 5, 4), np.uint8), r"\(H, W, 1\) or \(H, W, 3\)"),
        (np.zeros((0, 5, 1), np.uint8), "at least 1"),
        (np.full((5, 5, 1), np.nan, np.float32), "finite everywhere"),
        (np.full((5, 5, 1), 1e300), "finite everywhere"),
        (np.zeros((5, 5, 1), complex), "uint8, uint16 or float32"),
        (np.full((5, 5, 1), "a"), "uint8, uint16 or float32"),
    ],
)
def test_what_is_no_image_is_refused(image, said):
    with pytest.raises(ImageFileError, match=said):
        filtered(image, "sobel")
    with pytest.raises(ImageFileError, match=said):
        FilterChain.parse({"sobel": {"mode": "prompt"}}).edge_map(image)


@pytest.mark.parametrize("dtype", [np.float64, np.int16, bool])
def test_other_numbers_are_taken_as_float32(dtype):
    image = (smooth_image()[..., None] > 90).astype(dtype)
    assert filtered(image, "sobel").dtype == np.float32
