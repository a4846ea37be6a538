"""Laying masks over each other agrees with turning and moving arrays, step by step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penumbra.audit.comparison import turned
from penumbra.audit.placement import Duplicate, compose, inverse, lay_over, places_of

MASK = np.random.default_rng(0).integers(0, 5, (256, 256)).astype(np.uint8)
places = st.tuples(st.integers(0, 7), st.integers(-9, 9), st.integers(-9, 9))


def known(mask):
    return mask != 255


@given(places, places)
def test_laying_twice_is_laying_once(outer, inner):
    by_steps = lay_over(lay_over(MASK, (256, 256), inner), (256, 256), outer)
    at_once = lay_over(MASK, (256, 256), compose(outer, inner))
    both = known(by_steps) & known(at_once)
    assert both.mean() > 0.8
    assert np.array_equal(by_steps[both], at_once[both])


@given(places)
def test_the_inverse_takes_back(place):
    back = lay_over(lay_over(MASK, (256, 256), place), (256, 256), inverse(place))
    assert np.array_equal(back[known(back)], MASK[known(back)])
    assert known(back).mean() > 0.9
    assert compose(place, inverse(place)) == (0, 0, 0)


@given(places)
def test_it_is_the_move_of_the_comparison(place):
    turn, dy, dx = place
    laid, other = lay_over(MASK, (256, 256), place), turned(MASK, turn)
    for y, x in ((20, 30), (100, 200), (240, 12)):
        assert laid[y + dy, x + dx] == other[y, x]


def test_another_size_takes_the_nearest_pixel():
    small = np.array([[0, 1], [2, 3]], np.uint8)
    large = lay_over(small, (4, 6), (0, 0, 0))
    assert np.array_equal(large, np.repeat(np.repeat(small, 2, 0), 3, 1))
    assert np.array_equal(lay_over(large, (2, 2), (0, 0, 0)), small)


def test_moves_are_scaled_and_may_leave_the_image():
    mask = np.ones((512, 128), np.uint8)
    laid = lay_over(mask, (512, 128), (0, 4, -2))
    assert (laid[:8] == 255).all()
    assert (laid[8:, :-1] == 1).all()
    assert (laid[:, -1] == 255).all()
    assert (lay_over(mask, (512, 128), (0, 300, 0)) == 255).all()


def test_places_go_from_pair_to_pair():
    pairs = [Duplicate("b", "a", place=(1, 2, 0)), Duplicate("b", "c", place=(4, 0, 3))]
    found = places_of(["a", "b", "c", "d"], [*pairs, Duplicate("x", "y", place=(1, 0, 0))])
    assert found["b"] == inverse((1, 2, 0))
    assert found["c"] == compose(found["b"], (4, 0, 3))
    assert "a" not in found
    assert "d" not in found
