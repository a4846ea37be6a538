"""Image-level failure detection against SciPy, scikit-learn and repeated rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from penumbra.evaluation.image_risk import ImageRisks, flag_shares, image_risks, worst
from penumbra.inference.scores import aurc as aurc_of_images


def _images(seed, n=30, groups=7):
    rng = np.random.default_rng(seed)
    risk = np.round(rng.beta(1, 5, n), 2)
    doubt = np.round(risk + 0.1 * rng.normal(size=n), 1)  # with ties
    return ImageRisks(risk, doubt, rng.permutation(np.arange(n) % groups))


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_values_agree_with_references(seed):
    images = _images(seed)
    area, excess, rho, auroc = image_risks(images, np.ones((1, 7)))[0]
    assert area == pytest.approx(aurc_of_images(images.doubt, images.risk))
    assert excess == pytest.approx(area - aurc_of_images(images.risk, images.risk))
    assert rho == pytest.approx(spearmanr(images.doubt, images.risk).statistic)
    bad = images.risk >= np.sort(images.risk)[-6]
    assert auroc == pytest.approx(roc_auc_score(bad, images.doubt))


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_weight_is_a_repetition(seed):
    images = _images(seed)
    weights = np.random.default_rng(seed).multinomial(7, np.full(7, 1 / 7), size=3)
    found = image_risks(images, weights.astype(float))
    for row, weight in zip(found, weights, strict=True):
        times = weight[images.group]
        risk, doubt = np.repeat(images.risk, times), np.repeat(images.doubt, times)
        assert row[0] == pytest.approx(aurc_of_images(doubt, risk))
        if len(set(risk)) > 1 and len(set(doubt)) > 1:
            assert row[2] == pytest.approx(spearmanr(doubt, risk).statistic)


def test_blocks_of_resamples_change_nothing():
    images = _images(0, n=1500, groups=9)
    weights = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), size=900).astype(float)
    together = image_risks(images, weights)
    alone = np.concatenate([image_risks(images, row[None]) for row in weights[[0, 698, 699, 899]]])
    np.testing.assert_allclose(together[[0, 698, 699, 899]], alone, rtol=1e-12)


def test_perfect_and_constant_doubt():
    risk = np.linspace(0.1, 0.9, 10)
    perfect = image_risks(ImageRisks(risk, risk**2, np.arange(10)), np.ones((1, 10)))[0]
    assert perfect[1:] == pytest.approx([0, 1, 1], abs=1e-12)
    constant = image_risks(ImageRisks(risk, np.ones(10), np.arange(10)), np.ones((1, 10)))[0]
    assert constant[0] == pytest.approx(risk.mean())
    assert np.isnan(constant[2])
    assert constant[3] == 0.5


def test_the_worst_fifth_holds_its_ties():
    bad, limit = worst(np.array([0.1, 0.5, 0.5, 0.1, 0.3]))
    assert bad.tolist() == [False, True, True, False, False]
    assert limit == 0.5


@given(st.integers(0, 10**6))
def test_flag_shares_are_counts(seed):
    images = _images(seed)
    rng = np.random.default_rng(seed)
    flagged = rng.uniform(size=30) < 0.4
    flagged[0] = True
    weights = np.ones((2, 7))
    weights[1] = rng.integers(1, 4, 7)
    bad, _ = worst(images.risk)
    for row, weight in zip(
        flag_shares(flagged, images.risk, images.group, weights), weights, strict=True
    ):
        w = weight[images.group]
        expected = (
            (w * flagged).sum() / w.sum(),
            (w * (flagged & bad)).sum() / (w * bad).sum(),
            (w * (flagged & bad)).sum() / (w * flagged).sum(),
        )
        assert row == pytest.approx(expected)
