"""Agreement of rankings, against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from penumbra.errors import SettingsError
from penumbra.evaluation.rankings import kendall, rank_agreement, spearman

NUMBERS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.sampled_from([0.1, 0.2, 0.3])),
    min_size=3,
    max_size=9,
)


@settings(max_examples=150, deadline=None)
@given(NUMBERS)
def test_coefficients_are_scipys_with_ties_too(pairs):
    a, b = np.array(pairs).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert np.isnan(kendall(a, b))
        assert np.isnan(spearman(a, b))
        return
    assert float(kendall(a, b)) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert float(spearman(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic)
    both = kendall(np.stack([a, b]), np.stack([b, a])).tolist()
    assert both == pytest.approx([float(kendall(a, b))] * 2)


def test_the_value_is_that_of_the_means_and_the_interval_resamples_groups():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.3, 0.9, 8)[:, None]
    truth = quality + rng.normal(0, 0.15, (8, 30))
    proxy = quality + rng.normal(0, 0.3, (8, 30))
    proxy[2, 5] = np.nan
    groups = [f"g{n % 10}" for n in range(30)]
    found = rank_agreement(proxy, truth, groups, seed=1)
    a, b = np.nanmean(proxy, axis=1), truth.mean(axis=1)
    assert found.kendall["mean"] == pytest.approx(stats.kendalltau(a, b).statistic)
    assert found.spearman["mean"] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.kendall["low"] < found.kendall["mean"] <= found.kendall["high"]
    weights = np.random.default_rng(1).multinomial(10, np.full(10, 0.1), size=2000)
    drawn = []
    for weight in weights[:200]:
        rows = np.concatenate([np.arange(n, 30, 10) for n in range(10) for _ in range(weight[n])])
        values = np.nanmean(proxy[:, rows], axis=1), truth[:, rows].mean(axis=1)
        drawn.append(stats.kendalltau(*values).statistic)
    assert found.kendall["low"] == pytest.approx(np.percentile(drawn, 2.5), abs=0.1)
    assert found.kendall["high"] == pytest.approx(np.percentile(drawn, 97.5), abs=0.1)
    assert found.to_json()["n_methods"] == 8


def test_order_of_images_decides_nothing():
    rng = np.random.default_rng(3)
    a, b = rng.random((5, 12)), rng.random((5, 12))
    groups = np.array([f"g{n // 2}" for n in range(12)])
    order = rng.permutation(12)
    shuffled = rank_agreement(a[:, order], b[:, order], groups[order])
    assert shuffled == rank_agreement(a, b, groups)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(SettingsError, match="at least 3"):
        rank_agreement([[1.0], [2.0]], [[1.0], [2.0]], ["a"])
    with pytest.raises(SettingsError, match="one group per image"):
        rank_agreement([[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]], ["a", "b"])
