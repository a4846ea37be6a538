"""Corruptions: damage that grows, geometry that masks follow, draws that depend on nothing else."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from penumbra.data.phantom import phantom_sample
from penumbra.data.sample import Sample
from penumbra.errors import ImageFileError, PenumbraError, SettingsError
from penumbra.evaluation.shift import (
    KINDS,
    SEVERITIES,
    Shift,
    corrupt,
    corrupt_sample,
    parse_shifts,
)
from penumbra.evaluation.shift.catalogue import STRENGTHS

LEVEL_KINDS = tuple(kind for kind in KINDS if kind != "rotation")


def natural(dtype=np.uint8, channels=1, size=96):
    """A smooth texture with edges, in the middle of its range."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] / size
    base = 0.5 + 0.2 * np.sin(9 * x + 4 * y) + 0.15 * (np.hypot(x - 0.5, y - 0.4) < 0.25)
    image = np.stack([base + 0.03 * rng.standard_normal(base.shape) for _ in range(channels)], -1)
    image = np.clip(image, 0, 1)
    if dtype == np.float32:
        return (image * 3 - 1).astype(dtype)
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)


def rms(a, b):
    return float(np.sqrt(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_severity(kind, dtype):
    image = natural(dtype)
    for key in ("a", "b", "c"):
        damage = [rms(corrupt(image, kind, s, seed=1, key=key), image) for s in SEVERITIES]
        assert damage[0] > 0
        assert all(low < high for low, high in itertools.pairwise(damage)), damage


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    severity=st.sampled_from(SEVERITIES),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 3])),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    data=st.data(),
)
def test_any_image_keeps_shape_and_type_and_stays_finite(kind, severity, shape, dtype, data):
    finite = {"allow_nan": False, "allow_infinity": False} if dtype == np.float32 else {}
    image = data.draw(
        npst.arrays(dtype, shape, elements=npst.from_dtype(np.dtype(dtype), **finite))
    )
    before = image.copy()
    result = corrupt(image, kind, severity, seed=2, key="x")
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    assert np.array_equal(image, before)
    assert np.isfinite(result).all()
    if dtype != np.uint8:
        assert result.min() >= image.min()
        assert result.max() <= image.max()
    assert np.array_equal(result, corrupt(image, kind, severity, seed=2, key="x"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_images_are_safe(kind, dtype):
    image = np.full((5, 7, 1), 3, dtype)
    result = corrupt(image, kind, 5)
    if dtype != np.uint8 or kind in ("blur", "contrast", "resolution", "rotation"):
        assert np.array_equal(result, image)
    else:
        assert result.shape == image.shape


@pytest.mark.parametrize("kind", ["noise", "ghost", "rotation", "gamma"])
def test_draws_follow_seed_and_key_alone(kind):
    image = natural()
    keys = [f"sample-{i}" for i in range(8)]
    np.random.seed(0)  # noqa: NPY002  # global state must not matter
    first = [corrupt(image, kind, 3, seed=5, key=key) for key in keys]
    np.random.seed(1)  # noqa: NPY002
    again = [corrupt(image, kind, 3, seed=5, key=key) for key in reversed(keys)][::-1]
    other = [corrupt(image, kind, 3, seed=6, key=key) for key in keys]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in itertools.pairwise(first))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_noise_has_the_documented_spread():
    image = np.full((200, 200, 1), 128, np.uint8)
    spread = corrupt(image, "noise", 2, seed=0, key="n").astype(float).std()
    assert spread == pytest.approx(STRENGTHS["noise"][1] * 255, rel=0.02)


def test_contrast_shrinks_the_distance_from_the_mean():
    image = natural(np.float32)
    result = corrupt(image, "contrast", 2)
    assert result.mean() == pytest.approx(image.mean(), abs=1e-4)
    assert result.std() == pytest.approx(image.std() * STRENGTHS["contrast"][1], rel=1e-3)


def test_a_severity_means_the_same_for_a_larger_scan():
    small = natural(np.float32, size=256)
    large = np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)
    for kind in ("blur", "resolution"):
        one, four = rms(corrupt(small, kind, 3), small), rms(corrupt(large, kind, 3), large)
        assert four == pytest.approx(one, rel=0.15)


def turned_by_hand(mask, degrees):
    """Nearest neighbours by a loop over the result's pixels."""
    height, width = mask.shape
    angle = np.deg2rad(degrees)
    out = np.full_like(mask, 255)
    for i in range(height):
        for j in range(width):
            y, x = i - (height - 1) / 2, j - (width - 1) / 2
            row = np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2
            column = -np.sin(angle) * y + np.cos(angle) * x + (width - 1) / 2
            if 0 <= row <= height - 1 and 0 <= column <= width - 1:
                out[i, j] = mask[int(np.floor(row + 0.5)), int(np.floor(column + 0.5))]
    return out


@pytest.mark.parametrize("severity", SEVERITIES)
def test_rotation_turns_mask_and_image_alike(severity):
    rng = np.random.default_rng(severity)
    mask = rng.integers(0, 3, (21, 34)).astype(np.uint8)
    image = (mask[..., None] * 90).astype(np.uint8)
    shift = Shift("rotation", severity)
    seen = set()
    for name in ("a", "b", "c", "d"):
        result = corrupt_sample(Sample(name, image, mask, "g"), shift, seed=0)
        by_sign = {s: turned_by_hand(mask, s * shift.strength) for s in (1, -1)}
        sign = next(s for s in (1, -1) if np.array_equal(result.mask, by_sign[s]))
        seen.add(sign)
        outside = result.mask == 255
        assert outside.any()
        assert not outside.all()
        fill = np.rint(image.mean())
        assert (np.abs(result.image[outside].astype(float) - fill) <= 1).all()
    assert seen == {1, -1}


def test_rotation_moves_structures_in_step():
    """The turned image of a mask is where the turned mask is."""
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 20:34] = 1
    sample = Sample("s", mask[..., None] * np.uint8(200), mask, "g", boxes=np.zeros((1, 4), "f4"))
    result = corrupt_sample(sample, Shift("rotation", 5), seed=0)
    inside = result.mask != 255
    agree = (result.image[..., 0][inside] > 100) == (result.mask[inside] == 1)
    assert agree.mean() > 0.99
    assert result.boxes is None


def test_levels_leave_masks_alone():
    sample = phantom_sample("xray", size=40, seed=1)
    whole = Sample("s", sample.image, sample.mask, "g")
    for kind in LEVEL_KINDS:
        assert corrupt_sample(whole, Shift(kind, 2)).mask is whole.mask


def test_shifts_are_read_as_people_write_them():
    assert len(parse_shifts("all")) == len(KINDS) * 5
    assert [s.name for s in parse_shifts("blur, contrast:3,blur:2")] == [
        "blur-1", "blur-2", "blur-3", "blur-4", "blur-5", "contrast-3",
    ]  # fmt: skip
    assert parse_shifts(["noise:1", "noise:1"]) == (Shift("noise", 1),)


@pytest.mark.parametrize("text", ["fog", "blur:6", "blur:0", "blur:", "blur:x", "", "blur:1:2"])
def test_bad_shifts_say_what_there_is(text):
    with pytest.raises(SettingsError, match=r"^Expected .* Try .*\.$"):
        parse_shifts(text)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 1), np.int32),
        np.zeros((0, 4, 1), np.uint8),
        np.full((4, 4, 1), np.nan, np.float32),
    ],
)
def test_bad_images_are_refused(image):
    with pytest.raises(ImageFileError, match="Expected"):
        corrupt(image, "blur", 1)


def test_bad_kinds_and_severities_are_refused():
    for kind, severity in (("fog", 1), ("blur", 9), ("blur", True)):
        with pytest.raises(PenumbraError, match="Expected"):
            corrupt(natural(), kind, severity)
