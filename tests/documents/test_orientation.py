"""A run that finds the upper half turns a crop upright, or says that it cannot tell."""

import dataclasses

import numpy as np
import pytest

from penumbra.documents import Rectified, rectify
from penumbra.documents.orientation import orient, orientation_of, turn

SIZE = (480, 640)


@pytest.fixture
def card(scene):
    image, mask = scene.photograph(scene.seen_quad(turn=0.2), SIZE)
    found = rectify(image, scene.prediction_of(mask))
    assert isinstance(found, Rectified)
    return found


def finds_red_above(scene):
    """Stands for a run: the printed card is red in its upper part and blue in its lower."""

    def predict(crops):
        rows = [crop[..., 0].astype(float) - crop[..., 2] for crop in crops]
        halves = []
        for row in rows:
            half = len(row) // 2
            upper = np.full(row.shape, 0.1)
            (upper[:half] if row[:half].mean() > row[half:].mean() else upper[half:])[...] = 0.9
            halves.append(scene.prediction_of(upper))
        return halves

    return predict


def test_an_upside_down_crop_is_turned(card, scene):
    as_it_was, found = orient(card, finds_red_above(scene))
    assert found.rotation == 0
    np.testing.assert_array_equal(as_it_was.image, card.image)
    upright, found = orient(turn(card, 180), finds_red_above(scene))
    assert found.rotation == 180
    np.testing.assert_array_equal(upright.image, card.image)
    np.testing.assert_allclose(upright.corners.points, card.corners.points)


def test_an_unsure_run_turns_nothing(card, scene):
    unsure, found = orient(card, lambda crops: [scene.prediction_of(np.full((9, 9), 0.5))])
    assert found.rotation is None
    assert unsure is card


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_corners_and_homography_turn_with_the_pixels(card, rotation):
    turned = turn(card, rotation)
    np.testing.assert_array_equal(np.rot90(turned.image, rotation // 90), card.image)
    height, width = turned.uncertainty.shape
    at = np.column_stack([turned.corners.points, np.ones(4)]) @ turned.homography.T
    expected = [[0, 0], [width, 0], [width, height], [0, height]]
    np.testing.assert_allclose(at[:, :2] / at[:, 2:], expected, atol=1e-6)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_quarter_turns_are_told_where_they_are_candidates(rotation):
    upper = np.zeros((20, 20))
    upper[:10] = 1
    # Turned back, so that turning it clockwise by the answer makes it upright.
    found = orientation_of(np.rot90(upper, rotation // 90), (0, 90, 180, 270))
    assert found.rotation == rotation


def test_four_turns_back_to_where_it_was(card):
    again = card
    for _ in range(4):
        again = turn(again, 90)
    np.testing.assert_allclose(again.homography, card.homography, rtol=1e-6, atol=1e-9)
    for name in ("points", "ratio"):
        np.testing.assert_allclose(getattr(again.corners, name), getattr(card.corners, name))
    assert dataclasses.asdict(again.quality) == dataclasses.asdict(card.quality)
