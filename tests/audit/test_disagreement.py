"""How far two masks disagree, against a count by sets and distances pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from penumbra.audit.disagreement import disagreement

SHAPE = (9, 11)
masks = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 1, 1, 2, 255]))


def places(mask, both, index):
    return {(int(y), int(x)) for y, x in zip(*np.nonzero((mask == index) & both), strict=True)}


def outline(region, both):
    """The pixels of a region with a 4-neighbour outside it that touch nothing ignored."""
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    inside = lambda y, x: 0 <= y < SHAPE[0] and 0 <= x < SHAPE[1]  # noqa: E731
    return [
        (y, x)
        for y, x in sorted(region)
        if any((y + dy, x + dx) not in region for dy, dx in steps)
        and all(both[y + dy, x + dx] for dy, dx in around if inside(y + dy, x + dx))
    ]


@settings(max_examples=150, deadline=None)
@given(masks, masks)
def test_scores_equal_a_count_by_hand(a, b):
    both = (a != 255) & (b != 255)
    dice, iou, least, most, distances, far = [], [], 0, 0, [], []
    for index in (1, 2):
        one, other = places(a, both, index), places(b, both, index)
        least, most = least + min(len(one), len(other)), most + max(len(one), len(other))
        if one or other:
            dice.append(2 * len(one & other) / (len(one) + len(other)))
            iou.append(len(one & other) / len(one | other))
        edges = outline(one, both), outline(other, both)
        if all(edges):
            table = cdist(*edges)
            there, back = table.min(axis=1), table.min(axis=0)
            distances += [*there, *back]
            far.append(max(np.percentile(there, 95), np.percentile(back, 95)))
    found = disagreement(a, b, classes=(1, 2))
    assert found.dice == pytest.approx(np.mean(dice) if dice else 1.0)
    assert found.iou == pytest.approx(np.mean(iou) if iou else 1.0)
    assert found.area_ratio == pytest.approx(least / most if most else 1.0)
    assert (found.distance is None) == (not distances)
    if distances:
        assert found.distance == pytest.approx(np.mean(distances), abs=1e-4)
        assert found.hd95 == pytest.approx(max(far), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_a_mask_agrees_with_itself(mask):
    found = disagreement(mask, mask, classes=(1, 2))
    assert (found.dice, found.iou, found.area_ratio) == (1.0, 1.0, 1.0)
    assert found.distance in (None, 0.0)


@settings(max_examples=50, deadline=None)
@given(masks, masks)
def test_the_order_of_the_masks_does_not_matter(a, b):
    one, other = (disagreement(*pair, classes=(1, 2)) for pair in ((a, b), (b, a)))
    assert one.dice == other.dice
    assert one.areas == other.areas[::-1]
    assert one.distance == pytest.approx(other.distance)


def test_one_empty_mask_shares_nothing():
    a = np.zeros(SHAPE, np.uint8)
    b = a.copy()
    b[2:5, 2:5] = 1
    found = disagreement(a, b, classes=(1,))
    assert (found.dice, found.iou, found.area_ratio) == (0.0, 0.0, 0.0)
    assert (found.distance, found.hd95, found.areas) == (None, None, (0, 9))
