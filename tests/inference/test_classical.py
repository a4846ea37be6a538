"""Methods of no training: the contract of a predictor, the choice of foreground, bad input."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.filters import threshold_otsu

from penumbra.errors import ImageFileError, MissingExtraError, SettingsError
from penumbra.inference.classical.catalogue import METHODS, Baseline
from penumbra.inference.classical.predictor import ClassicalPredictor, choose_foreground
from penumbra.inference.classical.regions import softened
from penumbra.inference.classical.thresholds import modes
from penumbra.inference.contract import load_predictor

NAMES = [method.name for method in METHODS]


def scene(size=(60, 80), *, seed=0, foreground=170.0, background=70.0, channels=1):
    """A noisy disc; its image and its mask."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < (min(size) / 4) ** 2
    noise = np.random.default_rng(seed).normal(0, 12, (*size, channels))
    image = np.where(mask, foreground, background)[..., None] + noise
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_method_finds_a_disc_and_gives_probabilities(name, channels):
    image, truth = scene(channels=channels)
    # The surroundings have to be larger than what is looked for.
    extra = ",block=201,offset=0.15" if name == "adaptive" else ""
    (found,) = ClassicalPredictor(f"classical:{name},foreground=bright{extra}")([image], seed=3)
    assert found.probabilities.shape == (2, 60, 80)
    assert found.probabilities.dtype == np.float32
    assert found.probabilities.min() >= 0
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-6)
    assert np.array_equal(found.mask, found.probabilities[1] >= 0.5)
    assert dice(found.mask, truth) > 0.9
    assert found.uncertainty["entropy"].shape == (60, 80)
    assert set(found.scores) >= {"soft_dice", "mean_entropy"}
    assert found.seed == 3


@pytest.mark.parametrize("name", [name for name in NAMES if name != "grabcut"])
def test_dark_on_bright_is_bright_on_dark_turned_over(name):
    image, _ = scene()
    turned = 255 - image
    bright = ClassicalPredictor(f"classical:{name},foreground=bright")([image])[0]
    dark = ClassicalPredictor(f"classical:{name},foreground=dark")([turned])[0]
    np.testing.assert_allclose(dark.probabilities, bright.probabilities, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_image_gives_the_same_bits(name):
    image, _ = scene(channels=3)
    other, _ = scene(seed=1)
    predictor = ClassicalPredictor(f"classical:{name},foreground=bright")
    alone = predictor([image])[0]
    _, after = predictor([other, image])
    assert np.array_equal(alone.probabilities, after.probabilities)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_all_background(name, value):
    image = np.full((20, 30, 1), value, dtype=np.uint8)
    (found,) = ClassicalPredictor(f"classical:{name},foreground=bright")([image])
    assert not found.mask.any()
    assert found.probabilities[1].max() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(name, bad):
    image = np.zeros((8, 8, 1), dtype=np.float32)
    image[3, 3] = bad
    with pytest.raises(ImageFileError, match="finite"):
        ClassicalPredictor(f"classical:{name},foreground=bright")([image])


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (0, 4, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ImageFileError, match="Expected an image"):
        ClassicalPredictor("classical:otsu,foreground=bright")([np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("name", NAMES)
@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
        lambda size: arrays(np.uint8, (*size, 1))
    )
)
@settings(max_examples=25, deadline=None)
def test_tiny_images_keep_the_contract(name, image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = ClassicalPredictor(f"classical:{name},foreground=bright")([image])
    assert found.probabilities.shape == (2, *image.shape[:2])
    assert np.isfinite(found.probabilities).all()
    assert found.probabilities.min() >= 0
    assert found.probabilities.max() <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_range_of_values_does_not_matter(dtype):
    image, truth = scene()
    (found,) = ClassicalPredictor("classical:otsu,foreground=bright")([image.astype(dtype) * 200])
    assert dice(found.mask, truth) > 0.95


def test_otsus_threshold_parts_pixels_as_scikit_image_does():
    image, _ = scene()
    grey = image[..., 0].astype(np.float32) / 255
    assert np.array_equal(
        grey >= modes(grey).threshold, image[..., 0] > threshold_otsu(image[..., 0])
    )


def test_otsus_mask_is_where_its_probability_is_a_half():
    image, _ = scene()
    found = ClassicalPredictor("classical:otsu,foreground=bright")([image])[0]
    brightest_out = image[found.mask == 0].max()
    assert brightest_out < image[found.mask == 1].min()


def test_large_images_are_worked_at_the_longest_side_that_is_set():
    image, truth = scene((150, 200))
    text = "classical:watershed,foreground=bright,longest=50"
    (found,) = ClassicalPredictor(text)([image])
    assert found.mask.shape == (150, 200)
    assert dice(found.mask, truth) > 0.9


@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_softening_keeps_the_mask(mask):
    assert np.array_equal(softened(mask, 2.0) >= 0.5, mask)


@pytest.mark.parametrize(
    ("foreground", "background", "wanted"), [(170, 70, "bright"), (60, 150, "dark")]
)
@pytest.mark.parametrize("name", ["otsu", "walker"])
def test_training_samples_say_what_is_foreground(name, foreground, background, wanted):
    samples = [scene(seed=s, foreground=foreground, background=background) for s in range(3)]
    chosen = choose_foreground(Baseline.parse(f"classical:{name}"), samples)
    assert chosen.foreground == wanted


def test_what_was_said_is_not_learned_again():
    said = Baseline.parse("classical:otsu,foreground=dark")
    assert choose_foreground(said, [scene()]) is said


def test_samples_without_both_classes_say_nothing():
    image, truth = scene()
    ignored = np.full_like(truth, 255)
    with pytest.raises(SettingsError, match="both classes"):
        choose_foreground(Baseline.parse("classical:otsu"), [(image, truth * 0), (image, ignored)])


def test_images_alone_do_not_say_what_is_foreground():
    with pytest.raises(SettingsError, match="foreground=bright"):
        load_predictor("classical:otsu")


@pytest.mark.parametrize(
    "text",
    [
        "classical:",
        "classical:otzu",
        "otsu",
        "classical:otsu,block=3",
        "classical:otsu,foreground=blue",
        "classical:otsu,foreground",
        "classical:adaptive,block=4",
        "classical:adaptive,block=3.5",
        "classical:adaptive,block=1",
        "classical:adaptive,offset=nan",
        "classical:walker,beta=-1",
        "classical:walker,beta=1,beta=2",
    ],
)
def test_wrong_names_and_settings_are_refused(text):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        Baseline.parse(text)


def test_a_name_can_be_read_back():
    text = "classical:chan-vese,foreground=dark,iterations=9,width=1.5"
    assert str(Baseline.parse(text)) == text
    assert Baseline.parse(text).settings["smoothing"] == 1


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": 1.0}, {"class_names": ("a", "b", "c")}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(SettingsError, match="Expected"):
        ClassicalPredictor("classical:otsu,foreground=bright", **options)


def test_options_of_networks_are_refused_rather_than_ignored():
    with pytest.raises(SettingsError, match="sampler"):
        load_predictor("classical:otsu,foreground=bright", sampler="noise:8")


def test_without_scikit_image_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    image, _ = scene()
    with pytest.raises(MissingExtraError, match=r"penumbra-segmentation\[classical\]"):
        ClassicalPredictor("classical:watershed,foreground=bright")([image])
    assert ClassicalPredictor("classical:otsu,foreground=bright")([image])[0].mask.any()


def test_the_page_lists_every_method_with_its_settings():
    page = Path(__file__).parents[2] / "docs" / "how-to" / "baselines.md"
    rows = [line.split("|") for line in page.read_text(encoding="utf-8").splitlines()
            if line.startswith("| `")]  # fmt: skip
    listed = {row[1].strip(" `"): re.findall(r"`(.+?)`", row[4]) for row in rows}
    defaults = {
        method.name: [f"{key}={setting.default:g}" for key, setting in method.settings.items()]
        for method in METHODS
    }
    assert listed == defaults
