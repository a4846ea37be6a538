"""ACE against sorting every pixel, MCE against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.evaluation.adaptive import ConfidenceHistogram, ace, ace_bound, mce, tally_confidence
from penumbra.evaluation.calibration import tally
from penumbra.evaluation.histogram import coarsen, confidence_bins, confidence_edges


def _case(seed, *, n_classes=3, size=(60, 50), sharp=2.0):
    rng = np.random.default_rng(seed)
    logits = sharp * rng.normal(size=(n_classes, *size))
    p = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    truth = rng.integers(0, n_classes, size).astype(np.uint8)
    truth[rng.uniform(size=size) < 0.05] = 255
    return truth, p, p.argmax(axis=0).astype(np.uint8)


def _sorted_ace(confidence, hits, n_bins):
    """Sort, cut into runs of equal mass, sharing out the pixel that an edge falls into."""
    order = np.argsort(confidence, kind="stable")
    gap = np.concatenate([[0], np.cumsum(confidence[order] - hits[order])])
    edges = np.linspace(0, len(order), n_bins + 1)
    at = np.interp(edges, np.arange(len(gap)), gap)
    return np.abs(np.diff(at)).sum() / len(order)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.sampled_from([0.5, 2.0, 8.0]))
def test_ace_agrees_with_sorting_within_its_bound(seed, n_classes, sharp):
    truth, p, predicted = _case(seed, n_classes=n_classes, sharp=sharp)
    sums = tally_confidence(truth, p, predicted)
    found, bound, scored = ace(sums), ace_bound(sums), truth != 255
    rows = [(p.max(axis=0)[scored], predicted[scored] == truth[scored])]
    rows += [(p[c][scored], truth[scored] == c) for c in range(n_classes)]
    for column, (confidence, hits) in enumerate(rows):
        exact = _sorted_ace(confidence.astype(float), hits.astype(float), 15)
        assert abs(found[column] - exact) <= bound[column] + 1e-6
        assert found[column] == pytest.approx(exact, abs=0.01)


def test_the_bound_is_small_where_there_are_many_pixels():
    truth, p, predicted = _case(1, size=(400, 400), n_classes=2)
    assert ace_bound(tally_confidence(truth, p, predicted)).max() < 0.02


def test_every_pixel_is_in_the_bin_whose_edges_hold_it():
    p = np.concatenate(
        [np.linspace(0, 1, 5001), 10.0 ** -np.arange(1, 9), 1 - 10.0 ** -np.arange(1, 7)]
    )
    at, edges = confidence_bins(p), confidence_edges()
    assert (edges[at] <= p + 1e-6).all()
    assert (p <= edges[at + 1] + 1e-6).all()
    assert (np.diff(at[:5001]) >= 0).all()


def test_honest_probabilities_have_next_to_no_error_and_bold_ones_do():
    rng = np.random.default_rng(0)
    q = rng.beta(0.3, 0.3, size=(500, 500))
    truth = (rng.uniform(size=q.shape) < q).astype(np.uint8)

    def error(p):
        both = np.stack([1 - p, p])
        return ace(tally_confidence(truth, both, both.argmax(axis=0).astype(np.uint8)))

    bold = q**3 / (q**3 + (1 - q) ** 3)
    assert error(q).max() < 0.006
    assert error(bold).min() > 0.03


@given(st.integers(0, 10**6), st.integers(0, 60))
@settings(max_examples=15, deadline=None)
def test_parts_add_up_to_the_whole(seed, cut):
    truth, p, predicted = _case(seed)
    whole = tally_confidence(truth, p, predicted)
    a = tally_confidence(truth[:cut], p[:, :cut], predicted[:cut])
    b = tally_confidence(truth[cut:], p[:, cut:], predicted[cut:])
    np.testing.assert_allclose(a.bins + b.bins, whole.bins, rtol=1e-9)
    np.testing.assert_array_equal((a.bins + b.bins)[:, 0], whole.bins[:, 0])


def test_fewer_bins_give_nearly_the_same():
    sums = tally_confidence(*_case(2, size=(200, 200)))
    fewer = ConfidenceHistogram(coarsen(sums.bins, 512))
    np.testing.assert_allclose(ace(fewer), ace(sums), atol=1e-3)


def test_nothing_counted_is_not_a_number():
    assert np.isnan(ace(ConfidenceHistogram(np.zeros((3, 3, 64))))).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_mce_is_the_worst_row_of_the_table(seed):
    truth, p, predicted = _case(seed, size=(20, 20))
    scored = truth != 255
    found = mce(tally(truth, p, predicted))
    for column in range(4):
        conf = (p.max(axis=0) if column == 0 else p[column - 1])[scored].astype(float)
        hits = predicted[scored] == truth[scored] if column == 0 else truth[scored] == column - 1
        at = np.minimum((conf * 15).astype(int), 14)
        gaps = [abs(conf[at == b].mean() - hits[at == b].mean()) for b in np.unique(at)]
        assert found[column] == pytest.approx(max(gaps))
