"""The challenge's mean average precision, against an implementation written apart from ours."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from penumbra.errors import SettingsError
from penumbra.evaluation.weak_boxes import THRESHOLDS, average_precision, boxes_of_areas, ious
from penumbra.inference.prediction import Prediction


def exact_iou(a, b):
    """Count unit squares, as fractions; boxes at whole pixels."""
    cells = [set(itertools.product(range(x0, x1), range(y0, y1))) for x0, y0, x1, y1 in (a, b)]
    return Fraction(len(cells[0] & cells[1]), len(cells[0] | cells[1]))


def reference(truth, found, confidence):
    """Follow the challenge's page sentence by sentence, in exact numbers."""
    if not truth and not found:
        return math.nan
    if not truth:
        return 0.0
    precisions = []
    for percent in range(40, 80, 5):
        unmatched = list(truth)
        true_positives = false_positives = 0
        # Ranks are stable: of two equally sure boxes the first given comes first.
        for _, index in sorted((-sure, index) for index, sure in enumerate(confidence)):
            candidates = [(exact_iou(box, found[index]), -n) for n, box in enumerate(unmatched)]
            best, n = max(candidates, default=(Fraction(0), 0))
            if best > Fraction(percent, 100):
                true_positives += 1
                del unmatched[-n]
            else:
                false_positives += 1
        total = true_positives + false_positives + len(unmatched)
        precisions.append(Fraction(true_positives, total))
    return float(sum(precisions) / len(precisions))


def box_near(draw, x, y):
    left, top = x + draw(st.integers(0, 3)), y + draw(st.integers(0, 3))
    return (left, top, left + draw(st.integers(4, 9)), top + draw(st.integers(4, 9)))


@st.composite
def images(draw):
    places = [(0, 0), (8, 2), (4, 12), (16, 16)]
    truth = [box_near(draw, *draw(st.sampled_from(places))) for _ in range(draw(st.integers(0, 4)))]
    found = [box_near(draw, *draw(st.sampled_from(places))) for _ in range(draw(st.integers(0, 5)))]
    sure = [draw(st.sampled_from([0.1, 0.4, 0.4, 0.9])) for _ in found]
    return truth, found, sure


@settings(max_examples=150, deadline=None)
@given(images())
def test_precision_is_that_of_the_reference(image):
    truth, found, sure = image
    expected = reference(truth, found, sure)
    got = average_precision(truth, found, sure)
    assert got == pytest.approx(expected, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(images(), st.randoms())
def test_precision_does_not_depend_on_the_order_of_boxes(image, random):
    truth, found, _ = image
    sure = [(n + 1) / 10 for n in range(len(found))]
    shuffled = list(range(len(found)))
    random.shuffle(shuffled)
    again = average_precision(truth, [found[n] for n in shuffled], [sure[n] for n in shuffled])
    assert again == pytest.approx(average_precision(truth, found, sure), nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(images())
def test_a_false_alarm_lowers_and_the_truth_is_perfect(image):
    truth, found, sure = image
    if truth:
        assert average_precision(truth, truth, [0.5] * len(truth)) in (1.0, 1)
    before = average_precision(truth, found, sure)
    after = average_precision(truth, [*found, (90, 90, 95, 95)], [*sure, 0.0])
    assert after <= before or math.isnan(before)
    if before and not math.isnan(before):
        assert after < before


def test_the_rules_for_images_without_boxes():
    box = [[0, 0, 10, 10]]
    assert math.isnan(average_precision([], [], []))
    assert average_precision([], box, [0.01]) == 0
    assert average_precision(box, [], []) == 0


def test_an_iou_at_a_threshold_is_no_hit():
    assert THRESHOLDS == (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    for height, hits in ((4, 0), (5, 2), (6, 4), (7, 6), (8, 8)):
        got = average_precision([[0, 0, 10, 10]], [[0, 0, 10, height]], [1])
        assert got == pytest.approx(hits / 8), height


def test_the_surest_box_takes_the_truth_first():
    truth = [[0, 0, 10, 10], [0, 0, 10, 7]]
    # Both overlap both true boxes; the surer one takes its better match, the other one the rest.
    assert average_precision(truth, [[0, 0, 10, 7], [0, 0, 10, 10]], [0.9, 0.8]) == 1
    with pytest.raises(SettingsError, match="one per box"):
        average_precision(truth, truth, [0.5])
    with pytest.raises(SettingsError, match="confidence"):
        average_precision(truth, truth, [0.5, math.nan])


@settings(deadline=None)
@given(images())
def test_iou_is_that_of_counted_squares(image):
    truth, found, _ = image
    got = ious(truth, found)
    assert got.shape == (len(truth), len(found))
    for (row, a), (column, b) in itertools.product(enumerate(truth), enumerate(found)):
        assert got[row, column] == float(exact_iou(a, b))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_areas_become_boxes_that_hold_them(seed):
    rng = np.random.default_rng(seed)
    p = ndimage.gaussian_filter(rng.random((30, 40)), 1.5).astype(np.float32)
    p = (p - p.min()) / (p.max() - p.min())
    mask = (p >= 0.6).astype(np.uint8)
    found = boxes_of_areas(Prediction(np.stack([1 - p, p]), mask, {}), least_area=5)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    big = [n for n in range(1, count + 1) if (labels == n).sum() >= 5]
    assert len(found.boxes) == len(big)
    for (x0, y0, x1, y1), sure, n in zip(found.boxes, found.confidence, big, strict=True):
        rows, columns = np.nonzero(labels == n)
        assert (x0, y0, x1 - 1, y1 - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
        assert sure == pytest.approx(p[labels == n].mean(), rel=1e-5)
