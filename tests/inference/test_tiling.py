import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.inference.tiling import plan_tiles

sides = st.integers(1, 90)


@given(sides, sides, st.integers(1, 40), st.floats(0, 0.9))
@settings(max_examples=150, deadline=None)
def test_every_pixel_is_covered_and_every_tile_is_inside(height, width, tile, overlap):
    plan = plan_tiles((height, width), tile=tile, overlap=overlap)
    assert (plan.total > 0).all()
    for one in plan.tiles:
        assert 0 <= one.top <= one.top + one.height <= height
        assert 0 <= one.left <= one.left + one.width <= width
        assert (one.height, one.width) == (min(tile, height), min(tile, width))


@given(sides, sides, st.integers(4, 40), st.floats(0, 0.8))
@settings(max_examples=100, deadline=None)
def test_tiles_of_one_image_blend_back_to_it(height, width, tile, overlap):
    image = np.random.default_rng(0).random((2, height, width)).astype(np.float32)
    plan = plan_tiles((height, width), tile=tile, overlap=overlap)
    parts = [image[(slice(None), *one.window)] for one in plan.tiles]
    np.testing.assert_allclose(plan.blend(parts), image, atol=1e-6)


@given(st.integers(10, 200), st.integers(5, 40), st.floats(0, 0.8))
@settings(max_examples=100, deadline=None)
def test_neighbours_overlap_at_least_as_asked(length, tile, overlap):
    plan = plan_tiles((1, length), tile=tile, overlap=overlap)
    lefts = [one.left for one in plan.tiles]
    for a, b in itertools.pairwise(lefts):
        assert b > a
        assert (a + plan.tiles[0].width - b) >= tile * overlap - 1.5


def test_classes_still_sum_to_one():
    rng = np.random.default_rng(1)
    plan = plan_tiles((50, 70), tile=32, overlap=0.25)
    parts = []
    for one in plan.tiles:
        p = rng.random((3, one.height, one.width)).astype(np.float32)
        parts.append(p / p.sum(axis=0))
    np.testing.assert_allclose(plan.blend(parts).sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"tile": 0}, {"tile": 8, "overlap": 1.0}])
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(SettingsError, match="tiles"):
        plan_tiles((10, 10), **arguments)
