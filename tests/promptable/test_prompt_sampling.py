"""Prompts drawn from masks: where they lie, how far they move, and that a key decides them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.promptable.prompt_sampling import (
    PromptSampling,
    centre_points,
    corrective_points,
    jittered_boxes,
    keyed_generator,
    points_inside,
    sample_prompts,
    tight_boxes,
)


def _masks(seed, count=4, size=(24, 31)):
    generator = np.random.default_rng(seed)
    masks = generator.random((count, *size)) < generator.uniform(0.005, 0.3)
    masks[np.arange(count), generator.integers(size[0], size=count), 3] = True
    return masks


@given(st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_tight_boxes_hold_all_and_no_more(seed):
    masks = _masks(seed)
    for mask, box in zip(masks, tight_boxes(masks).astype(int), strict=True):
        left, top, right, bottom = box
        inside = mask[top:bottom, left:right]
        assert inside.sum() == mask.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


@given(st.integers(0, 500), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_jittered_boxes_stay_in_the_image_and_near(seed, jitter):
    size = (24, 31)
    boxes = tight_boxes(_masks(seed))
    moved = jittered_boxes(boxes, size, keyed_generator(seed), jitter=jitter, limit=0.1)
    assert moved.dtype == np.float32
    assert (moved >= 0).all()
    assert (moved[:, [0, 2]] <= 31).all()
    assert (moved[:, [1, 3]] <= 24).all()
    assert (moved[:, 2:] - moved[:, :2] >= 1 - 1e-5).all()
    large = (boxes[:, 2:] - boxes[:, :2]).min(1) > 8
    assert (np.abs(moved - boxes)[large] <= 3.1 + 1e-4).all()


def test_jitter_has_the_deviation_that_it_says():
    boxes = np.tile(np.array([[400, 300, 600, 700]], np.float32), (4000, 1))
    moved = jittered_boxes(boxes, (1000, 1000), keyed_generator(0), jitter=0.02, limit=1)
    np.testing.assert_allclose((moved - boxes).std(0), [4, 8, 4, 8], rtol=0.06)
    limited = jittered_boxes(boxes, (1000, 1000), keyed_generator(0), jitter=0.5)
    assert np.abs(limited - boxes).max() == pytest.approx(1000 * 20 / 1024, abs=1e-3)
    free = jittered_boxes(boxes, (1000, 1000), keyed_generator(0), jitter=0.1, limit=None)
    np.testing.assert_allclose((free - boxes).std(0), [20, 40, 20, 40], rtol=0.06)


@given(st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_points_lie_in_their_objects(seed):
    masks = _masks(seed)
    for points in (points_inside(masks, keyed_generator(seed)), centre_points(masks)):
        columns, rows = points.astype(int).T
        assert masks[np.arange(len(masks)), rows, columns].all()


def test_every_pixel_is_as_likely():
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 1, 1:4], mask[0, 4, 4] = True, True
    points = points_inside(np.repeat(mask, 4000, 0), keyed_generator(1))
    _, counts = np.unique(points, axis=0, return_counts=True)
    assert len(counts) == 4
    assert np.abs(counts - 1000).max() < 120


@given(st.integers(0, 500), st.booleans())
@settings(max_examples=30, deadline=None)
def test_corrections_are_clicks_on_errors_with_the_right_sign(seed, chance):
    target, predicted = _masks(seed), _masks(seed + 1)
    generator = keyed_generator(seed) if chance else None
    points, labels = corrective_points(predicted, target, generator)
    columns, rows = points.astype(int).T
    here = np.arange(len(target)), rows, columns
    assert (target[here] != predicted[here]).all()
    assert (labels == target[here]).all()


@given(st.integers(0, 500), st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_correction_lands_where_nothing_is_known(seed, chance):
    target, predicted = _masks(seed), _masks(seed + 1)
    valid = np.random.default_rng(seed).random(target.shape) < 0.5
    valid |= target & (np.cumsum(target.reshape(4, -1), 1).reshape(target.shape) == 1)
    generator = keyed_generator(seed) if chance else None
    points, labels = corrective_points(predicted, target, generator, valid=valid)
    columns, rows = points.astype(int).T
    here = np.arange(len(target)), rows, columns
    assert valid[here].all()
    assert (labels == target[here]).all()
    wrong = ((predicted ^ target) & valid).any((1, 2))
    assert ((predicted ^ target)[here] == wrong).all()
    with pytest.raises(SettingsError, match="none in mask 0"):
        corrective_points(predicted, target, valid=np.zeros_like(target))


def test_a_person_clicks_in_the_middle_of_the_largest_error():
    target = np.zeros((1, 20, 20), bool)
    target[0, 2:5, 2:5] = True
    predicted = target.copy()
    predicted[0, 10:17, 8:17] = True
    predicted[0, 3, 3] = False
    points, labels = corrective_points(predicted, target)
    assert labels.tolist() == [0]
    assert points[0, 1] == 13
    assert 11 <= points[0, 0] <= 13


def test_a_perfect_mask_gets_a_point_in_the_object():
    target = _masks(5)
    points, labels = corrective_points(target, target)
    np.testing.assert_array_equal(labels, 1)
    columns, rows = points.astype(int).T
    assert target[np.arange(len(target)), rows, columns].all()


def test_shares_of_boxes_and_points():
    masks = _masks(1, count=64)
    drawn = sample_prompts(masks, keyed_generator(0), PromptSampling(box_share=0.5))
    assert 16 < drawn.has_box.sum() < 48
    np.testing.assert_array_equal(drawn.labels[:, 0], np.where(drawn.has_box, -1, 1))
    assert sample_prompts(masks, keyed_generator(0), PromptSampling(box_share=1)).has_box.all()


def test_a_key_decides_the_draw():
    masks = _masks(2)
    first, again = (sample_prompts(masks, keyed_generator(3, "a", masks)) for _ in range(2))
    np.testing.assert_array_equal(first.boxes, again.boxes)
    changed = masks.copy()
    changed[0, 0, 0] ^= True
    other = keyed_generator(3, "a", changed).random()
    assert other != keyed_generator(3, "a", masks).random()
    assert keyed_generator(0, "ab", "c").random() != keyed_generator(0, "a", "bc").random()
    assert keyed_generator(0, 1).random() != keyed_generator(0, "1").random()


def test_bad_masks_and_settings_are_refused():
    empty = np.zeros((2, 4, 4), bool)
    empty[0, 1, 1] = True
    for call in (tight_boxes, centre_points):
        with pytest.raises(SettingsError, match="none in mask 1"):
            call(empty)
    with pytest.raises(SettingsError, match="shape"):
        tight_boxes(np.ones((4, 4), bool))
    with pytest.raises(SettingsError, match="resizing"):
        corrective_points(np.ones((1, 3, 3), bool), np.ones((1, 4, 4), bool))
    with pytest.raises(SettingsError, match="box_share"):
        PromptSampling(box_share=1.5)
