"""Intervals over groups: right on known cases, seeded, bounded in memory."""

import numpy as np
import pytest
from scipy import stats

from penumbra.evaluation import bootstrap as module
from penumbra.evaluation.bootstrap import bootstrap


def _mean_of(scores):
    return lambda weights: weights @ scores / weights.sum(axis=1)


def test_the_interval_of_a_mean_is_close_to_theory():
    scores = np.random.default_rng(0).normal(0.8, 0.1, 400)
    value, low, high = bootstrap(_mean_of(scores), n_groups=400)
    assert value == pytest.approx(scores.mean())
    error = scores.std() / np.sqrt(400)
    assert low == pytest.approx(value - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(value + 1.96 * error, abs=0.15 * error)


def test_it_agrees_with_scipy():
    scores = np.random.default_rng(1).beta(5, 2, 60)
    _, low, high = bootstrap(_mean_of(scores), n_groups=60, resamples=20000)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert low == pytest.approx(theirs.low, abs=0.002)
    assert high == pytest.approx(theirs.high, abs=0.002)


def test_about_95_percent_of_the_intervals_hold_the_truth():
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        _, low, high = bootstrap(
            _mean_of(rng.normal(0.5, 0.2, 50)), n_groups=50, resamples=400, seed=trial
        )
        held += bool(low <= 0.5 <= high)
    assert 0.88 <= held / 200 <= 0.99


def test_the_seed_decides_the_interval():
    scores = np.random.default_rng(4).uniform(size=30)
    first, same, other = (bootstrap(_mean_of(scores), n_groups=30, seed=s) for s in (1, 1, 2))
    assert first == same
    assert first != other


def test_one_group_has_a_value_but_no_interval():
    value, low, high = bootstrap(_mean_of(np.array([0.9])), n_groups=1)
    assert value == 0.9
    assert np.isnan([low, high]).all()


def test_a_value_that_is_not_a_number_has_no_interval():
    def statistic(weights):
        return np.stack([weights[:, 0] * np.nan, weights[:, 0] * 0 + 1], axis=-1)

    value, low, high = bootstrap(statistic, n_groups=5)
    assert np.isnan([value[0], low[0], high[0]]).all()
    assert (value[1], low[1], high[1]) == (1, 1, 1)


def test_resamples_in_parts_are_the_resamples_at_once(monkeypatch):
    scores = np.random.default_rng(5).uniform(size=40)
    whole = bootstrap(_mean_of(scores), n_groups=40)
    monkeypatch.setattr(module, "_CELLS", 40 * 7)
    np.testing.assert_allclose(bootstrap(_mean_of(scores), n_groups=40), whole)
