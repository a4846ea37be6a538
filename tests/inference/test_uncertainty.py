"""Running sums of passes against NumPy and SciPy on all passes at once, and the maps they give."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from penumbra.errors import SettingsError
from penumbra.inference.uncertainty import PassSums, decompose, mutual_information


def make_passes(k, n_classes=2, size=(5, 7), seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (1, n_classes, *size)) + rng.normal(0, spread, (k, n_classes, *size))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def add_all(passes, **options):
    sums = PassSums(**options)
    for p in passes:
        sums.add(torch.from_numpy(p))
    return sums


def maps_of(sums, **more):
    return decompose(
        sums.mean.numpy(),
        sums.expected_entropy.numpy(),
        passes=sums.passes,
        variance=sums.variance.numpy(),
        squared_error=sums.squared_error.numpy(),
        **more,
    )


@pytest.mark.parametrize("n_classes", [2, 3, 11])
@pytest.mark.parametrize("k", [2, 3, 8, 64])
def test_sums_and_maps_agree_with_numpy_and_scipy_on_all_passes(k, n_classes):
    passes = make_passes(k, n_classes)
    wide = passes.astype(np.float64)
    found = maps_of(add_all(passes))
    predictive = scipy_entropy(wide.mean(axis=0), axis=0)
    within = scipy_entropy(wide, axis=1).mean(axis=0)
    variance = wide.var(axis=0, ddof=1)
    close = {"rtol": 2e-4, "atol": 2e-6}
    np.testing.assert_allclose(found.maps["entropy"], predictive, **close)
    np.testing.assert_allclose(found.maps["expected_entropy"], within, **close)
    np.testing.assert_allclose(found.maps["mutual_information"], predictive - within, **close)
    np.testing.assert_allclose(found.class_maps["variance"], variance, **close)
    np.testing.assert_allclose(found.maps["variance"], variance.sum(axis=0), **close)
    error = np.sqrt(variance.sum(axis=0) / k)
    np.testing.assert_allclose(found.maps["standard_error"], error, **close)
    assert all(plane.dtype == np.float32 for plane in found.maps.values())


def test_the_entropy_of_two_classes_has_both_terms():
    sums = add_all(np.full((2, 2, 1, 1), 0.5, dtype=np.float32))
    assert sums.expected_entropy.item() == pytest.approx(np.log(2), rel=1e-6)


@given(
    k=st.integers(2, 9),
    n_classes=st.integers(2, 5),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
)
@settings(max_examples=40, deadline=None)
def test_entropy_is_within_plus_between_and_nothing_is_negative(k, n_classes, seed, spread):
    found = maps_of(add_all(make_passes(k, n_classes, (3, 4), seed, spread))).maps
    assert all((plane >= 0).all() for plane in found.values())
    both = found["expected_entropy"] + found["mutual_information"]
    np.testing.assert_allclose(both, found["entropy"], atol=2e-6)
    assert (found["mutual_information"] <= min(np.log(n_classes), np.log(k)) + 1e-5).all()


def test_passes_that_agree_have_no_variance_and_no_disagreement():
    found = maps_of(add_all(np.repeat(make_passes(1, 3), 7, axis=0))).maps
    assert found["variance"].max() == 0
    assert found["standard_error"].max() == 0
    assert found["mutual_information"].max() < 1e-6


def test_a_small_variance_beside_a_probability_of_one_is_not_lost():
    p = np.array([0.99999, 0.99998, 0.99999, 0.99998], dtype=np.float32).reshape(4, 1, 1)
    sums = add_all(np.stack([1 - p, p], axis=1))
    assert sums.variance[1].item() == pytest.approx(p.astype(np.float64).var(ddof=1), rel=0.02)


def test_one_pass_gives_entropy_alone_and_mutual_information_says_why_not():
    passes = make_passes(1)
    found = maps_of(add_all(passes))
    assert list(found.maps) == ["entropy"]
    assert found.class_maps == {}
    with pytest.raises(SettingsError, match="Expected at least 2 passes for mutual information"):
        mutual_information(passes[0], np.zeros((5, 7), np.float32), passes=1)


def test_tiles_blended_bound_what_blended_passes_would_give():
    one, other = make_passes(6, 3, seed=1), make_passes(6, 3, seed=2)
    w = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    a, b = add_all(one), add_all(other)

    def blend(name):
        first, second = getattr(a, name).numpy(), getattr(b, name).numpy()
        return w * first + (1 - w) * second

    found = decompose(
        blend("mean"), blend("expected_entropy"), passes=6, variance=blend("variance"),
        squared_error=blend("squared_error"),
    )  # fmt: skip
    whole = maps_of(add_all(w * one + (1 - w) * other))
    np.testing.assert_allclose(found.maps["entropy"], whole.maps["entropy"], atol=2e-6)
    for name in ("mutual_information", "variance", "standard_error"):
        assert (found.maps[name] >= whole.maps[name] - 1e-6).all()
    np.testing.assert_array_equal(blend("mean")[:, w == 1], one.mean(axis=0)[:, w == 1])


def test_antithetic_pairs_take_the_error_from_the_means_of_pairs():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.1, (4, 1, 6, 6))
    p = np.stack([0.5 + noise, 0.5 - 0.8 * noise], axis=1).reshape(8, 1, 6, 6)
    passes = np.concatenate([1 - p, p], axis=1).astype(np.float32)
    paired, plain = add_all(passes, antithetic=True), add_all(passes)
    pairs = passes.astype(np.float64).reshape(4, 2, 2, 6, 6).mean(axis=1)
    expected = pairs.var(axis=0, ddof=1).sum(axis=0) / 4
    np.testing.assert_allclose(paired.squared_error.numpy(), expected, rtol=1e-3, atol=1e-8)
    assert paired.squared_error.mean() < 0.1 * plain.squared_error.mean()
    np.testing.assert_array_equal(paired.mean.numpy(), plain.mean.numpy())
    # One pair cannot tell its own spread; a pass without its partner is left out.
    one = add_all(passes[:2], antithetic=True)
    np.testing.assert_array_equal(one.squared_error, add_all(passes[:2]).squared_error)
    odd = add_all(passes[:5], antithetic=True)
    np.testing.assert_array_equal(
        odd.squared_error, add_all(passes[:4], antithetic=True).squared_error
    )


def test_the_standard_error_is_the_spread_of_repeated_means():
    rng = np.random.default_rng(0)
    p = rng.beta(2, 5, (400, 8, 1, 1, 1)).astype(np.float32)
    means, errors = [], []
    for run in p:
        sums = add_all(np.concatenate([1 - run, run], axis=1))
        means.append(sums.mean[1].item())
        errors.append(sums.squared_error.item())
    # Summed over both classes the variance of the mean counts twice.
    assert np.mean(errors) == pytest.approx(2 * np.var(means), rel=0.2)


def test_a_thousand_passes_take_the_memory_of_a_few():
    def add_random(count):
        sums = PassSums(antithetic=True)
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            noise = torch.rand(1, 64, 64, generator=generator)
            sums.add(torch.cat([1 - noise, noise]))
        return sums

    sums = add_random(1001)
    # Pickling writes all that is held, the storage behind every tensor included.
    held, plane = len(pickle.dumps(sums)), 2 * 64 * 64 * 4
    assert held == pytest.approx(len(pickle.dumps(add_random(5))), abs=1000)
    assert held < 7 * plane
    assert sums.passes == 1001
    np.testing.assert_allclose(sums.mean[1].numpy(), 0.5, atol=0.05)


def test_a_thousand_passes_are_averaged_to_float32():
    passes = make_passes(1000, 2, (4, 4))
    sums = add_all(passes)
    np.testing.assert_allclose(sums.mean.numpy(), passes.mean(axis=0, dtype=np.float64), atol=3e-6)
    variance = passes.astype(np.float64).var(axis=0, ddof=1)
    np.testing.assert_allclose(sums.variance.numpy(), variance, rtol=1e-4)


def test_tiles_side_by_side_give_the_same_bits_as_alone():
    many = np.stack([make_passes(5, 3, seed=seed) for seed in range(4)], axis=1)
    together = add_all(many)
    for index in range(4):
        alone = add_all(many[:, index])
        for name in ("mean", "variance", "expected_entropy", "squared_error"):
            assert torch.equal(getattr(together, name)[index], getattr(alone, name))


def test_half_precision_is_summed_as_float32():
    sums = add_all(make_passes(3))
    sums.add(torch.from_numpy(make_passes(1)[0]).half())
    assert sums.mean.dtype == torch.float32


def test_what_does_not_fit_is_refused():
    sums = add_all(make_passes(2))
    with pytest.raises(SettingsError, match="Expected a pass to be of shape"):
        sums.add(torch.zeros(3, 5, 7))
    with pytest.raises(SettingsError, match="C, h, w"):
        PassSums().add(torch.zeros(3, 5))
    mean, within, spread = sums.mean.numpy(), sums.expected_entropy.numpy(), sums.variance.numpy()
    with pytest.raises(SettingsError, match="at least 1, but got 0"):
        decompose(mean, within, passes=0, variance=spread)
    with pytest.raises(SettingsError, match="those of one `PassSums`"):
        decompose(mean, within[:-1], passes=2, variance=spread)


@pytest.mark.parametrize("pairs", [2, 4])
@pytest.mark.parametrize("curve", ["line", "parabola"])
def test_the_variance_of_antithetic_passes_is_that_of_a_single_one(pairs, curve):
    n = torch.randn(pairs, 40_000, generator=torch.Generator().manual_seed(pairs))

    def probability(noise):
        p = 0.5 + (0.05 * noise if curve == "line" else 0.02 * noise**2 + 0.03 * noise)
        return torch.stack([1 - p, p]).unsqueeze(1)

    sums = PassSums(antithetic=True)
    for one in n:
        sums.add(probability(one))
        sums.add(probability(-one))
    true = 0.05**2 if curve == "line" else 2 * 0.02**2 + 0.03**2
    assert float(sums.variance[1].mean()) == pytest.approx(true, rel=0.03)
