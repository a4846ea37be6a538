"""Suppression against a plain double loop, and what it promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.promptable.nms import box_iou, suppress


def loop_iou(a, b):
    """Count pixels instead of multiplying sides."""

    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    mine, other = pixels(a), pixels(b)
    return len(mine & other) / len(mine | other) if mine | other else 0.0


def loop_suppress(boxes, scores, most):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(loop_iou(boxes[index], boxes[k]) <= most for k in kept):
            kept.append(index)
    return kept


BOX = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 5), st.integers(0, 5)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
SCORED = st.lists(st.tuples(BOX, st.sampled_from([0.1, 0.5, 0.9])), max_size=12)


@settings(max_examples=150, deadline=None)
@given(scored=SCORED, most=st.sampled_from([0.0, 0.26, 0.51, 0.7, 1.0]))
def test_it_is_what_a_plain_loop_gives(scored, most):
    boxes, scores = [box for box, _ in scored], [score for _, score in scored]
    kept = suppress(np.array(boxes).reshape(-1, 4), scores, most_iou=most)
    assert kept.tolist() == loop_suppress(boxes, scores, most)


@settings(max_examples=100, deadline=None)
@given(one=BOX, other=BOX)
def test_iou_counts_pixels(one, other):
    assert box_iou(one, [other])[0] == pytest.approx(loop_iou(one, other))


def test_what_does_not_fit_is_refused():
    with pytest.raises(SettingsError, match="1 finite numbers"):
        suppress([[0, 0, 1, 1]], [0.1, 0.2])
    with pytest.raises(SettingsError, match="finite"):
        suppress([[0, 0, 1, 1]], [float("nan")])
    with pytest.raises(SettingsError, match="most_iou"):
        suppress([[0, 0, 1, 1]], [0.5], most_iou=1.5)
