"""The comparison image against a mean computed another way, and how two of them are matched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.audit.comparison import (
    best_match,
    block_sums,
    comparison_image,
    inverse_turn,
    moves,
    turned,
)


def slow_area_mean(image, side=256):
    """Mean over areas by repeating every pixel until both grids fit into one."""
    rows = np.repeat(np.repeat(image.astype(float), side, axis=0), side, axis=1)
    height, width = image.shape
    return rows.reshape(side, height, side, width).mean(axis=(1, 3))


def mean_by_integral(image, side=256):
    """Mean over areas along the rows: differences of the integral, read off between pixels."""
    length = len(image)
    edges = np.linspace(0, length, side + 1)
    integral = np.vstack([np.zeros(image.shape[1]), np.cumsum(image, axis=0)])
    read = [np.interp(edges, np.arange(length + 1), column) for column in integral.T]
    return np.diff(np.array(read), axis=1).T * side / length


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (16, 8), (10, 7)])
def test_enlarging_is_an_exact_mean_over_areas(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    wanted = slow_area_mean(image)
    found = comparison_image(image[..., None])
    np.testing.assert_allclose(found, wanted, atol=0.501)


@pytest.mark.parametrize("shape", [(512, 512), (300, 270), (257, 1000)])
def test_shrinking_is_an_exact_mean_over_areas(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    wanted = mean_by_integral(mean_by_integral(image.astype(float)).T).T
    np.testing.assert_allclose(comparison_image(image[..., None]), wanted, atol=0.502)


def test_deep_images_are_windowed():
    ramp = np.linspace(1000, 3000, 256).astype(np.uint16)
    image = np.tile(ramp, (256, 1))[..., None]
    found = comparison_image(image)
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found.astype(int), axis=1) >= 0).all()
    assert np.array_equal(found, comparison_image(image.astype(np.float32)))
    assert not comparison_image(np.full((4, 4, 1), 7, np.uint16)).any()


def test_a_square_grey_image_is_its_own_comparison_image():
    image = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    assert np.array_equal(comparison_image(image[..., None]), image)
    sums = image.astype(int).reshape(32, 8, 32, 8).sum(axis=(1, 3))
    assert np.array_equal(block_sums(image), sums)
    assert block_sums(np.full((256, 256), 255, np.uint8)).max() == 64 * 255


@pytest.mark.parametrize("turn", range(8))
def test_every_turn_is_taken_back(turn):
    array = np.arange(16).reshape(4, 4)
    assert np.array_equal(turned(turned(array, turn), inverse_turn(turn)), array)


def test_the_eight_turns_differ():
    array = np.arange(16).reshape(4, 4)
    assert len({turned(array, turn).tobytes() for turn in range(8)}) == 8


@settings(max_examples=25, deadline=None)
@given(
    turn=st.integers(0, 7),
    move=st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
    seed=st.integers(0, 99),
)
def test_the_turn_and_the_move_are_found(turn, move, seed):
    large = np.random.default_rng(seed).integers(0, 256, (262, 262), dtype=np.uint8)
    dy, dx = move
    seen = large[3:259, 3:259]
    # b, once turned, shows at (y, x) what a shows at (y + dy, x + dx).
    b = turned(large[3 + dy : 259 + dy, 3 + dx : 259 + dx], inverse_turn(turn))
    assert best_match(seen, b, turns=True, shifts=3) == (0.0, turn, move)


def test_the_difference_of_black_and_white_does_not_overflow():
    black, white = np.zeros((256, 256), np.uint8), np.full((256, 256), 255, np.uint8)
    assert best_match(black, white)[0] == 255.0


def test_moves_start_with_none():
    assert moves(1)[0] == (0, 0)
    assert len(set(moves(3))) == 49
