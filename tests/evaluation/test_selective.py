"""Areas under risk and coverage against sorting every pixel and against scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from penumbra.data.sample import IGNORE
from penumbra.evaluation import selective
from penumbra.evaluation.histogram import coarsen, condense
from penumbra.evaluation.pixel_risk import PIXEL_SCORES, risk_bounds, risks, tally_risk
from penumbra.evaluation.sums import combine, weigh
from penumbra.inference.prediction import Prediction, entropy


def _sorted_aurc(doubt, loss):
    ordered = np.asarray(loss, float)[np.argsort(doubt, kind="stable")]
    return float(np.mean(np.cumsum(ordered) / np.arange(1, len(ordered) + 1)))


def _prediction(seed, *, n_classes=2, size=(40, 41), sharp=3.0):
    rng = np.random.default_rng(seed)
    logits = sharp * rng.normal(size=(n_classes, *size))
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    drawn = (rng.uniform(size=size) > np.cumsum(p, axis=0)).sum(axis=0)
    truth = np.minimum(drawn, n_classes - 1).astype(np.uint8)
    truth[rng.uniform(size=size) < 0.05] = IGNORE
    p = p.astype(np.float32)
    maps = {
        "entropy": entropy(p),
        "mutual_information": (entropy(p) * rng.uniform(size=size)).astype(np.float32),
        "variance": (0.1 * rng.uniform(size=size) ** 3).astype(np.float32),
    }
    return truth, Prediction(p, p.argmax(axis=0).astype(np.uint8), maps, passes=4)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=6))
def test_ties_count_as_the_mean_over_their_orders(things):
    """The closed form is the mean over every order of things with equal doubt."""
    doubt = np.array([d for d, _ in things])
    loss = np.array([x for _, x in things])
    n = np.bincount(doubt, minlength=4).astype(float)
    total = np.bincount(doubt, weights=loss, minlength=4)
    orders = itertools.permutations(range(len(things)))
    slow = np.mean([_sorted_aurc(doubt[list(o)], loss[list(o)]) for o in orders])
    assert selective.aurc(n, total) == pytest.approx(slow, abs=1e-9)


@given(st.integers(1, 400), st.data())
def test_the_best_order_has_every_error_last(n, data):
    errors = data.draw(st.integers(0, n))
    loss = np.concatenate([np.zeros(n - errors), np.ones(errors)])
    found = selective.aurc_of_best_order(np.array(float(n)), np.array(float(errors)))
    assert found == pytest.approx(_sorted_aurc(np.arange(n), loss), abs=1e-9)


@given(st.integers(0, 10**6))
def test_auroc_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    doubt, hits = rng.integers(0, 9, 50), rng.integers(0, 2, 50)
    hits[:2] = 0, 1
    n = np.bincount(doubt, minlength=9)
    found = selective.auroc(n, np.bincount(doubt, weights=hits, minlength=9))
    assert found == pytest.approx(roc_auc_score(hits, doubt))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 4]), st.sampled_from([1.0, 3.0, 8.0]))
def test_histograms_agree_with_sorting_every_pixel(seed, n_classes, sharp):
    truth, prediction = _prediction(seed, n_classes=n_classes, sharp=sharp)
    scored = truth != IGNORE
    p = prediction.probabilities[:, scored].astype(float)
    mask = prediction.mask[scored]
    wrong = (mask != truth[scored]).astype(float)
    one_hot = np.arange(n_classes)[:, None] == truth[scored]
    loss = ((p - one_hot) ** 2).mean(axis=0)
    maps = dict(prediction.uncertainty) | {"least_confidence": 1 - prediction.probabilities.max(0)}
    sums = tally_risk(truth, prediction)
    found, bound = risks(sums), risk_bounds(sums)
    for row, name in enumerate(PIXEL_SCORES):
        doubt = maps[name][scored]
        exact = _sorted_aurc(doubt, wrong)
        best = _sorted_aurc(wrong, wrong)
        sparse = _sorted_aurc(doubt, loss) - _sorted_aurc(loss, loss)
        for value, reference, limit in zip(
            found[row], (exact, exact - best, sparse), bound[row], strict=True
        ):
            assert abs(value - reference) <= limit + 1e-7
        assert bound[row, 0] < 0.05 * exact + 1e-4
        assert found[row, 0] == pytest.approx(exact, rel=0.02, abs=1e-4)


def test_sparsification_of_errors_is_the_excess_area():
    """With 0/1 losses for the Brier scores AUSE and E-AURC are one number."""
    rng = np.random.default_rng(0)
    doubt, wrong = rng.integers(0, 50, 999), rng.integers(0, 2, 999).astype(float)
    n, errors = np.bincount(doubt), np.bincount(doubt, weights=wrong)
    oracle = selective.aurc(np.array([999 - wrong.sum(), wrong.sum()]), np.array([0, wrong.sum()]))
    excess = selective.aurc_of_best_order(n.sum(), errors.sum())
    assert oracle == pytest.approx(float(excess))


def test_entropy_and_least_confidence_rank_two_classes_alike():
    truth, prediction = _prediction(3, size=(200, 200))
    found = risks(tally_risk(truth, prediction))
    np.testing.assert_allclose(found[0], found[1], rtol=0.01)


def test_random_doubt_has_the_mean_loss_and_perfect_doubt_no_excess():
    rng = np.random.default_rng(1)
    truth, plain = _prediction(5, size=(300, 300))
    noise = rng.uniform(0, 0.5, truth.shape).astype(np.float32)
    wrong = (plain.mask != truth).astype(np.float32)
    given_ = {"entropy": wrong * 0.5, "variance": noise}
    prediction = Prediction(plain.probabilities, plain.mask, given_, passes=2)
    found = risks(tally_risk(truth, prediction))
    rate = wrong[truth != IGNORE].mean()
    assert found[0, 1] == pytest.approx(0, abs=1e-6)
    assert found[3, 0] == pytest.approx(rate, rel=0.05)
    assert np.isnan(found[2]).all()  # no map of mutual information was given


@given(st.integers(0, 10**6), st.integers(1, 39))
@settings(max_examples=15, deadline=None)
def test_parts_add_up_to_the_whole(seed, cut):
    truth, whole = _prediction(seed)

    def part(rows):
        maps = {name: m[rows] for name, m in whole.uncertainty.items()}
        cropped = Prediction(whole.probabilities[:, rows], whole.mask[rows], maps, passes=4)
        return tally_risk(truth[rows], cropped)

    both = combine(np.add, part(slice(None, cut)), part(slice(cut, None)))
    once = tally_risk(truth, whole)
    np.testing.assert_allclose(both.scores, once.scores, rtol=1e-12)
    np.testing.assert_array_equal(both.scores[:, :2], once.scores[:, :2])
    np.testing.assert_allclose(both.oracle, once.oracle, rtol=1e-12)


def test_condensed_bins_keep_the_area_of_every_resample():
    rng = np.random.default_rng(0)
    sums = [tally_risk(*_prediction(seed, size=(64, 64))) for seed in range(6)]
    stacked = combine(lambda *arrays: np.stack(arrays), *sums)
    few = combine(lambda bins: condense(bins, 256), stacked)
    assert few.scores.shape == (6, 4, 3, 256)
    np.testing.assert_allclose(few.scores.sum(axis=-1), stacked.scores.sum(axis=-1))
    weights = rng.multinomial(6, np.full(6, 1 / 6), size=20).astype(float)
    fine, coarse = (risks(weigh(each, weights)) for each in (stacked, few))
    np.testing.assert_allclose(coarse[..., :2], fine[..., :2], rtol=5e-3, atol=1e-6)


def test_coarser_bins_are_those_of_a_coarser_count():
    truth, prediction = _prediction(0)
    fine, coarse = (tally_risk(truth, prediction, n_bins=n) for n in (4096, 512))
    np.testing.assert_allclose(coarsen(fine.scores, 512), coarse.scores)
    np.testing.assert_allclose(coarsen(fine.oracle, 512), coarse.oracle)
