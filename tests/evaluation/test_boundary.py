"""Outline distances against MONAI, a brute-force loop, and cases drawn by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_hausdorff_distance
from scipy.spatial.distance import cdist

from penumbra.evaluation.boundary import boundary_f1, compare_outlines, hd95, outline

regions = arrays(np.uint8, (9, 11), elements=st.integers(0, 1))
spacings = st.tuples(st.floats(0.1, 5), st.floats(0.1, 5))


def _outline_points(region):
    """Pixels with a 4-neighbour outside, by looking at each one."""
    height, width = region.shape
    return np.array(
        [
            (y, x)
            for y in range(height)
            for x in range(width)
            if region[y, x]
            and any(
                not (0 <= y + a < height and 0 <= x + b < width and region[y + a, x + b])
                for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]
    ).reshape(-1, 2)


def _brute(truth, predicted, spacing=(1.0, 1.0)):
    a, b = _outline_points(truth) * spacing, _outline_points(predicted) * spacing
    distances = cdist(b, a)
    return distances.min(axis=1), distances.min(axis=0)


@given(regions)
def test_the_outline_is_every_pixel_beside_the_outside(region):
    ours = np.argwhere(outline(region.astype(bool)))
    np.testing.assert_array_equal(ours, _outline_points(region))


@given(regions, regions, spacings)
def test_distances_agree_with_brute_force(truth, predicted, spacing):
    assume(truth.any() and predicted.any())
    found = compare_outlines(truth, predicted, class_index=1, spacing=spacing)
    to_truth, to_predicted = _brute(truth, predicted)
    expected = max(np.percentile(to_truth, 95), np.percentile(to_predicted, 95))
    assert hd95(found) == pytest.approx(expected, abs=1e-4)
    p, r = (to_truth <= 2).mean(), (to_predicted <= 2).mean()
    f1 = 2 * p * r / (p + r) if p + r else 0.0
    assert boundary_f1(found) == pytest.approx(f1)
    in_mm = _brute(truth, predicted, spacing)
    expected = max(np.percentile(part, 95) for part in in_mm)
    assert hd95(found, unit="mm") == pytest.approx(expected, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), spacings)
def test_hd95_agrees_with_monai(seed, spacing):
    rng = np.random.default_rng(seed)
    truth, predicted = np.zeros((2, 40, 50), np.uint8)
    for mask in (truth, predicted):
        y, x, h, w = rng.integers((2, 2, 3, 3), (25, 30, 12, 18))
        mask[y : y + h, x : x + w] = 1
    one_hot = [torch.from_numpy(m)[None, None].float() for m in (predicted, truth)]
    found = compare_outlines(truth, predicted, class_index=1, spacing=spacing)
    in_pixels = compute_hausdorff_distance(*one_hot, include_background=True, percentile=95)
    assert hd95(found) == pytest.approx(float(in_pixels), abs=1e-3)
    in_mm = compute_hausdorff_distance(
        *one_hot, include_background=True, percentile=95, spacing=list(spacing)
    )
    assert hd95(found, unit="mm") == pytest.approx(float(in_mm), abs=1e-3)


@given(regions, regions)
def test_scores_do_not_depend_on_which_mask_is_the_truth(truth, predicted):
    there = compare_outlines(truth, predicted, class_index=1)
    back = compare_outlines(predicted, truth, class_index=1)
    assert boundary_f1(there) == pytest.approx(boundary_f1(back))
    assert hd95(there) == hd95(back)


def _square(shift=0):
    mask = np.zeros((30, 30), np.uint8)
    mask[10:20, 10 + shift : 20 + shift] = 1
    return mask


@pytest.mark.parametrize(("shift", "f1_at_2"), [(0, 1.0), (1, 1.0), (2, 1.0)])
def test_a_shift_within_the_tolerance_is_forgiven(shift, f1_at_2):
    found = compare_outlines(_square(), _square(shift), class_index=1, spacing=(0.5, 0.5))
    assert boundary_f1(found, tolerance=2) == f1_at_2
    assert hd95(found) == shift
    assert hd95(found, unit="mm") == shift / 2


def test_a_wider_tolerance_never_lowers_the_score():
    found = compare_outlines(_square(), _square(6), class_index=1)
    scores = [boundary_f1(found, tolerance=t) for t in range(8)]
    assert scores == sorted(scores)
    assert scores[0] < 0.5
    assert scores[-1] == 1.0


def test_empty_masks_follow_the_policy():
    nothing, something = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    something[5:9, 5:9] = 1
    both = compare_outlines(nothing, nothing, class_index=1, spacing=(1, 2))
    assert (boundary_f1(both), hd95(both), hd95(both, unit="mm")) == (1.0, 0.0, 0.0)
    for truth, predicted in ((nothing, something), (something, nothing)):
        one = compare_outlines(truth, predicted, class_index=1, spacing=(1, 2))
        assert boundary_f1(one) == 0.0
        assert hd95(one) == 50.0
        assert hd95(one, unit="mm") == pytest.approx(math.hypot(30, 80))
        assert math.isnan(hd95(one, empty="skip"))
        assert boundary_f1(one, empty="skip") == 0.0
    for empty in ("nan", "skip"):
        assert math.isnan(boundary_f1(both, empty=empty))
        assert math.isnan(hd95(both, empty=empty))


def test_millimetres_need_a_spacing():
    assert math.isnan(hd95(compare_outlines(_square(), _square(), class_index=1), unit="mm"))


@given(regions, regions, regions)
def test_outlines_inside_ignored_pixels_never_count(truth, predicted, other):
    ignored = truth.copy()
    ignored[:, :5] = 255
    changed = predicted.copy()
    changed[:, :4] = other[:, :4]  # column 4 touches what is scored
    first = compare_outlines(ignored, predicted, class_index=1)
    second = compare_outlines(ignored, changed, class_index=1)
    np.testing.assert_array_equal(first.to_truth, second.to_truth)
    np.testing.assert_array_equal(first.to_predicted, second.to_predicted)


def test_the_edge_of_an_ignored_area_is_no_outline():
    truth, predicted = _square(), _square()
    truth[:, 15:] = 255
    predicted[:, 15:] = 0
    found = compare_outlines(truth, predicted, class_index=1)
    assert boundary_f1(found, tolerance=0) == 1.0
    assert hd95(found) == 0.0
