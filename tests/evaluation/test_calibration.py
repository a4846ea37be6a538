"""Calibration scores against scikit-learn, torchmetrics and a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from penumbra.evaluation import calibration
from penumbra.evaluation.calibration import merge, reliability, tally


def _case(seed, *, n_classes=3, size=(14, 17), ignored=0.1):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n_classes, 0.5), size=size).transpose(2, 0, 1)
    # Away from 0 and 1, where float32 and the clamp would be what is compared.
    p = (0.98 * p + 0.02 / n_classes).astype(np.float32)
    truth = rng.integers(0, n_classes, size).astype(np.uint8)
    truth[rng.uniform(size=size) < ignored] = 255
    return truth, p, p.argmax(axis=0).astype(np.uint8)


def _slow_ece(confidence, hits, n_bins):
    total = 0.0
    for b in range(n_bins):
        last = b == n_bins - 1
        inside = [
            (c, h)
            for c, h in zip(confidence, hits, strict=True)
            if b <= c * n_bins and (c * n_bins < b + 1 or last)
        ]
        if inside:
            conf, hit = zip(*inside, strict=True)
            total += len(inside) * abs(np.mean(conf) - np.mean(hit))
    return total / len(confidence)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 5]), st.sampled_from([5, 15, 20]))
def test_ece_agrees_with_a_plain_loop(seed, n_classes, n_bins):
    truth, p, predicted = _case(seed, n_classes=n_classes)
    sums = tally(truth, p, predicted, n_bins=n_bins)
    scored = truth != 255
    confidence = p.max(axis=0)[scored].astype(float)
    right = predicted[scored] == truth[scored]
    assert calibration.ece(sums) == pytest.approx(_slow_ece(confidence, right, n_bins))
    for index in range(n_classes):
        expected = _slow_ece(p[index][scored].astype(float), truth[scored] == index, n_bins)
        assert calibration.class_ece(sums)[index] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_ece_agrees_with_torchmetrics(seed):
    truth, p, predicted = _case(seed, ignored=0.0)
    flat = torch.from_numpy(p.reshape(3, -1).T.copy())
    theirs = multiclass_calibration_error(
        flat, torch.from_numpy(truth.ravel().astype(np.int64)), num_classes=3, n_bins=15
    )
    assert calibration.ece(tally(truth, p, predicted)) == pytest.approx(float(theirs), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_brier_and_nll_agree_with_scikit_learn(seed):
    truth, p, predicted = _case(seed, n_classes=2)
    sums, scored = tally(truth, p, predicted), truth != 255
    y, foreground = truth[scored], np.clip(p[1][scored].astype(float), 1e-7, 1 - 1e-7)
    assert calibration.brier(sums) == pytest.approx(
        brier_score_loss(y, p[1][scored].astype(float)), abs=1e-6
    )
    assert calibration.nll(sums) == pytest.approx(log_loss(y, foreground, labels=[0, 1]), rel=1e-4)
    np.testing.assert_allclose(calibration.class_nll(sums), calibration.nll(sums), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_nll_of_many_classes_agrees_with_scikit_learn(seed):
    truth, p, predicted = _case(seed, n_classes=4)
    sums, scored = tally(truth, p, predicted), truth != 255
    rows = np.clip(p[:, scored].T.astype(float), 1e-7, 1)
    picked = rows[np.arange(len(rows)), truth[scored]]
    assert calibration.nll(sums) == pytest.approx(-np.log(picked).mean())
    rows /= rows.sum(axis=1, keepdims=True)
    theirs = log_loss(truth[scored], rows, labels=range(4))
    assert calibration.nll(sums) == pytest.approx(theirs, rel=1e-4)
    by_class = [brier_score_loss(truth[scored] == c, p[c][scored].astype(float)) for c in range(4)]
    np.testing.assert_allclose(calibration.class_brier(sums), by_class, atol=1e-6)
    assert calibration.brier(sums) == pytest.approx(np.mean(by_class), abs=1e-6)


@given(st.integers(0, 10**6), st.integers(0, 14))
def test_sums_of_parts_add_up_to_the_whole(seed, cut):
    truth, p, predicted = _case(seed)
    whole = tally(truth, p, predicted)
    parts = merge(
        tally(truth[:cut], p[:, :cut], predicted[:cut]),
        tally(truth[cut:], p[:, cut:], predicted[cut:]),
    )
    for name in ("n", "brier", "nll", "class_nll", "bins"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_array_equal(parts.bins[..., 0], whole.bins[..., 0])


def test_ignored_pixels_never_count():
    truth, p, predicted = _case(3)
    other = p.copy()
    other[:, truth == 255] = 1 / 3
    np.testing.assert_array_equal(
        tally(truth, p, predicted).bins, tally(truth, other, predicted).bins
    )


def test_probabilities_that_tell_the_truth_have_no_calibration_error():
    rng = np.random.default_rng(0)
    foreground = rng.uniform(size=(700, 700))
    truth = (rng.uniform(size=foreground.shape) < foreground).astype(np.uint8)
    p = np.stack([1 - foreground, foreground])
    sums = tally(truth, p, p.argmax(axis=0).astype(np.uint8))
    assert calibration.ece(sums) < 0.005
    assert calibration.class_ece(sums).max() < 0.005


def test_certain_and_wrong_is_finite():
    truth, p = np.ones((1, 2), np.uint8), np.array([[[1.0, 1.0]], [[0.0, 0.0]]])
    sums = tally(truth, p, np.zeros((1, 2), np.uint8))
    assert calibration.nll(sums) == pytest.approx(-np.log(1e-7))
    assert calibration.ece(sums) == calibration.brier(sums) == 1.0


def test_the_table_is_what_the_error_is_made_of():
    truth, p, predicted = _case(5)
    sums = tally(truth, p, predicted)
    for index, expected in ((None, calibration.ece(sums)), (1, calibration.class_ece(sums)[1])):
        rows = [row for row in reliability(sums, class_index=index) if row.count]
        total = sum(row.count for row in rows)
        assert total == (truth != 255).sum()
        gap = sum(row.count * abs(row.confidence - row.accuracy) for row in rows) / total
        assert gap == pytest.approx(expected)
        assert all(row.low <= row.confidence <= row.high for row in rows)


def test_confidence_belongs_to_the_class_that_was_predicted():
    """With a threshold other than one half, the mask need not be the likeliest class."""
    truth, p = np.ones((1, 4), np.uint8), np.full((2, 1, 4), 0.5)
    p[0], p[1] = 0.7, 0.3
    sums = tally(truth, p, np.ones((1, 4), np.uint8))
    assert calibration.ece(sums) == pytest.approx(0.7)
