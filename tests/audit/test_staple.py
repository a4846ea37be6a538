"""STAPLE against a plain loop over pixels, a known truth, and the paper's properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from penumbra.audit.fuse import FUSIONS, fuse
from penumbra.audit.staple import staple
from penumbra.errors import SettingsError


def slow_em(masks, n_classes, rounds):
    """Do the paper's equations one pixel and one reader at a time."""
    readers, pixels = len(masks), masks[0].size
    written = [mask.ravel().tolist() for mask in masks]
    every = [w for wrote in written for w in wrote]
    gamma = [every.count(c) / len(every) for c in range(n_classes)]
    off = (1 - 0.99999) / (n_classes - 1)
    theta = [
        [[0.99999 if d == t else off for t in range(n_classes)] for d in range(n_classes)]
        for _ in range(readers)
    ]

    def expect():
        rows = []
        for i in range(pixels):
            row = []
            for t in range(n_classes):
                value = gamma[t]
                for j in range(readers):
                    value *= theta[j][written[j][i]][t]
                row.append(value)
            rows.append([value / sum(row) for value in row])
        return rows

    truth = expect()
    for _ in range(rounds):
        for j in range(readers):
            for t in range(n_classes):
                whole = sum(row[t] for row in truth)
                for d in range(n_classes):
                    part = sum(row[t] for i, row in enumerate(truth) if written[j][i] == d)
                    if whole:
                        theta[j][d][t] = part / whole
        truth = expect()
    return np.array(truth).T.reshape(n_classes, *masks[0].shape), np.array(theta)


def readers_of(truth, rates, n_classes, seed):
    """Let readers write a wrong class at random, each at their own rate."""
    rng = np.random.default_rng(seed)
    masks = []
    for rate in rates:
        slip = rng.random(truth.shape) < rate
        other = (truth + rng.integers(1, n_classes, truth.shape)) % n_classes
        masks.append(np.where(slip, other, truth))
    return np.stack(masks).astype(np.uint8)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_loop_over_pixels(n_classes, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (6, 7))
    masks = readers_of(truth, (0.1, 0.2, 0.35), n_classes, seed)
    found = staple(masks, n_classes=n_classes, most=12, tolerance=0)
    probabilities, theta = slow_em(masks, n_classes, 12)
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-10)
    np.testing.assert_allclose(found.performance, theta, atol=1e-10)
    assert found.iterations == 12


@pytest.mark.parametrize("n_classes", [2, 3])
def test_readers_are_known_again(n_classes):
    truth = np.repeat(np.arange(120) * n_classes // 120, 120).reshape(120, 120)
    rates = (0.02, 0.1, 0.2, 0.3)
    found = staple(readers_of(truth, rates, n_classes, 5), n_classes=n_classes)
    assert found.converged
    for reader, rate in enumerate(rates):
        right = found.performance[reader].diagonal()
        np.testing.assert_allclose(right, 1 - rate, atol=0.03)
    assert (found.mask == truth).mean() > 0.985
    majority = fuse(readers_of(truth, rates, n_classes, 5), "majority", n_classes=n_classes)
    assert (found.mask == truth).mean() > (majority == truth).mean()


def test_sensitivity_and_specificity_are_the_performance_of_two_classes():
    truth = np.zeros((100, 100), dtype=np.int64)
    truth[25:75, 25:75] = 1
    rng = np.random.default_rng(0)
    masks = []
    for p, q in ((0.95, 0.9), (0.85, 0.97), (0.9, 0.8), (0.7, 0.95)):
        hit, miss = rng.random(truth.shape) < p, rng.random(truth.shape) >= q
        masks.append(np.where(truth == 1, hit, miss))
    found = staple(np.stack(masks).astype(np.uint8), n_classes=2)
    np.testing.assert_allclose(found.performance[:, 1, 1], [0.95, 0.85, 0.9, 0.7], atol=0.03)
    np.testing.assert_allclose(found.performance[:, 0, 0], [0.9, 0.97, 0.8, 0.95], atol=0.03)


def test_the_likelihood_never_falls():
    masks = readers_of(np.random.default_rng(2).integers(0, 3, (20, 20)), (0.2, 0.3, 0.4), 3, 2)

    def likelihood(rounds):
        found = staple(masks, n_classes=3, most=rounds, tolerance=0)
        value = np.tile(found.prior[:, None], masks[0].size)
        for mask, theta in zip(masks, found.performance, strict=True):
            value = value * theta[mask.ravel()].T
        return np.log(value.sum(axis=0)).sum()

    values = [likelihood(rounds) for rounds in (1, 2, 3, 5, 8, 13, 40)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(values))


mask_stacks = st.integers(2, 4).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        arrays(
            np.uint8,
            st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
            elements=st.sampled_from([*range(classes), 255]),
        ),
    )
)


@given(mask_stacks)
@settings(max_examples=60, deadline=None)
def test_any_masks_give_probabilities_and_the_order_of_readers_is_nothing(drawn):
    n_classes, masks = drawn
    found = staple(masks, n_classes=n_classes, most=50)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-9)
    assert np.isfinite(found.performance).all()
    assert ((found.mask == 255) == (masks == 255).all(axis=0)).all()
    turned = staple(masks[::-1].copy(), n_classes=n_classes, most=50)
    np.testing.assert_allclose(found.probabilities, turned.probabilities, atol=1e-6)


@given(mask_stacks)
@settings(max_examples=60, deadline=None)
def test_fusions_are_what_a_loop_says(drawn):
    n_classes, masks = drawn
    union, intersection, majority = (
        fuse(masks, rule, n_classes=n_classes) for rule in ("union", "intersection", "majority")
    )
    for place in np.ndindex(masks.shape[1:]):
        said = [int(mask[place]) for mask in masks if mask[place] != 255]
        if not said:
            assert {int(union[place]), int(intersection[place]), int(majority[place])} == {255}
            continue
        counts = [said.count(c) for c in range(n_classes)]
        assert majority[place] == counts.index(max(counts))
        assert intersection[place] == (said[0] if len(set(said)) == 1 else 0)
        front = counts[1:]
        assert union[place] == (front.index(max(front)) + 1 if any(front) else 0)


@pytest.mark.parametrize("rule", FUSIONS)
def test_one_mask_stays_as_it_is(rule):
    mask = np.array([[0, 1, 2], [2, 255, 0]], dtype=np.uint8)
    assert np.array_equal(fuse(np.stack([mask, mask]), rule, n_classes=3), mask)
    assert np.array_equal(fuse(mask[None], rule, n_classes=3), mask)


def test_a_hundred_readers_do_not_underflow():
    truth = np.zeros((10, 10), dtype=np.int64)
    truth[3:7, 3:7] = 1
    masks = readers_of(truth, [0.3] * 300, 2, 0)
    found = staple(masks, n_classes=2)
    assert np.array_equal(found.mask, truth)


@pytest.mark.parametrize(
    ("masks", "options"),
    [
        (np.zeros((2, 2), dtype=np.uint8), {}),
        (np.zeros((2, 2, 2)), {}),
        (np.full((2, 2, 2), 7, dtype=np.uint8), {}),
        (np.zeros((2, 2, 2), dtype=np.uint8), {"prior": [1.0]}),
        (np.zeros((2, 2, 2), dtype=np.uint8), {"prior": [-1.0, 2.0]}),
    ],
)
def test_bad_input_is_refused(masks, options):
    with pytest.raises(SettingsError, match="Expected"):
        staple(masks, n_classes=2, **options)


def test_an_unknown_rule_is_refused():
    with pytest.raises(SettingsError, match="one of union"):
        fuse(np.zeros((1, 2, 2), dtype=np.uint8), "average", n_classes=2)
