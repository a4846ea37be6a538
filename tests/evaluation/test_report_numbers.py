"""The numbers behind the report's charts, against loops by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.evaluation.report import ErrorsByDoubt, charts, curves, risk
from penumbra.evaluation.report.scores import image_scores, risk_by_coverage
from penumbra.inference.prediction import Prediction
from penumbra.pages import svg

counts = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def from_pixels(values):
    share = np.array([value for value, _ in values], dtype=np.float32)[None]
    wrong = np.array([is_wrong for _, is_wrong in values])[None]
    probabilities = np.stack([1 - share / 2, share / 2])
    doubt = {"entropy": (share * np.float32(math.log(2))).astype(np.float32)}
    return Prediction(probabilities, np.zeros(share.shape, np.uint8), doubt), wrong.astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(counts, counts)
def test_counts_of_parts_add_up_to_counts_of_the_whole(first, second):
    parts = (
        ErrorsByDoubt()
        .update(*from_pixels(first))
        .merge(ErrorsByDoubt().update(*from_pixels(second)))
    )
    whole = ErrorsByDoubt().update(*from_pixels(first + second))
    np.testing.assert_array_equal(parts.pixels, whole.pixels)
    np.testing.assert_array_equal(parts.errors, whole.errors)


@settings(max_examples=60, deadline=None)
@given(counts)
def test_errors_found_grow_from_none_to_all(values):
    rows = ErrorsByDoubt().update(*from_pixels(values)).rows()
    if not any(is_wrong for _, is_wrong in values):
        assert rows == []
        return
    errors = [row["errors"] for row in rows]
    assert errors[0] == 0.0
    assert errors[-1] == pytest.approx(1.0)
    assert errors == sorted(errors)


def test_errors_found_equals_a_loop_over_sorted_pixels():
    rng = np.random.default_rng(0)
    doubt = (rng.permutation(1000) + 0.5) / 1000
    wrong = rng.random(1000) < doubt**2
    count = ErrorsByDoubt().update(*from_pixels(list(zip(doubt, wrong, strict=True))))
    ordered = wrong[np.argsort(-doubt)]
    for share in (0.05, 0.1, 0.5, 0.9):
        brute = ordered[: round(share * 1000)].sum() / wrong.sum()
        assert count.errors_found(share) == pytest.approx(brute, abs=0.003)


def test_ignored_pixels_are_not_counted():
    truth = np.array([[0, 1, 255, 255]], np.uint8)
    share = np.full((1, 4), 0.2, np.float32)
    prediction = Prediction(np.stack([1 - share, share]), np.zeros((1, 4), np.uint8), {})
    count = ErrorsByDoubt().update(prediction, truth)
    assert (count.pixels.sum(), count.errors.sum()) == (2, 1)


def test_risk_by_coverage_equals_a_mean_over_the_kept():
    rows = [{"id": str(k), "dice": d, "mean_entropy": u} for k, (d, u) in enumerate(
        [(0.9, 0.1), (0.5, 0.3), (0.7, 0.2), (0.2, 0.4)])]  # fmt: skip
    curve = risk_by_coverage(image_scores(rows, "dice"))
    assert curve == [
        (0.25, pytest.approx(0.1)),
        (0.5, pytest.approx(0.2)),
        (0.75, pytest.approx(0.3)),
        (1.0, pytest.approx(0.425)),
    ]


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_round_few_and_inside(low, span):
    found = svg.ticks(low, low + span)
    assert 1 <= len(found) <= 11
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in found)


def test_charts_are_left_out_where_there_is_nothing_to_draw():
    assert charts.reliability([]) is None
    assert charts.errors_by_doubt([], where="") is None
    assert risk.images([], "Dice") is None
    assert risk.pixels([]) is None
    assert curves.sorted_scores([], "Dice") is None
    assert curves.groups([], "Dice") is None
    assert curves.training([{"epoch": 0, "loss": None}], "Loss") is None
    assert str(curves.interval_bar({"mean": None}, better="higher")) == ""
