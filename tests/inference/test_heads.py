"""Heads: calibrated logits, exact marginals, and samples that agree with them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from penumbra.errors import RunError, SettingsError
from penumbra.inference.calibration import Calibration, LinearMap, LogitNoise, Temperature
from penumbra.inference.doubt import DOUBT_TAPS, doubt_levels
from penumbra.inference.heads import Head
from penumbra.inference.linear_map import MapTensors, with_strides
from penumbra.inference.logit_noise import expected_sigmoid, marginal_probabilities

LENGTHS = (0.0, 0.0, 32.0, 16.0, 8.0)
CHANNELS = (6, 3)


def linear(rows: int, *, seed: int = 0, size: float = 0.4) -> LinearMap:
    rng = np.random.default_rng(seed)
    return LinearMap(
        taps=("up.0", "up.1"),
        mean=tuple(tuple(rng.normal(size=c)) for c in CHANNELS),
        std=tuple(tuple(rng.uniform(0.5, 2, size=c)) for c in CHANNELS),
        weight=tuple(
            tuple(tuple(row) for row in rng.normal(size=(rows, c)) * size) for c in CHANNELS
        ),
        bias=tuple(rng.normal(size=rows) * size),
    )


def batch(n: int, k: int, size: tuple[int, int] = (48, 32), seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, *size, generator=generator) * 2
    taps = tuple(
        torch.randn(n, c, size[0] // s, size[1] // s, generator=generator)
        for c, s in zip(CHANNELS, (4, 1), strict=True)
    )
    return logits, taps


def noisy(k: int, **options: float) -> Head:
    noise = LogitNoise(
        map=linear(len(LENGTHS) * k), log_scale=-0.2, lengths=LENGTHS, temperature=1.3, **options
    )
    return Head.of(Calibration(logit_noise=noise), k)


def test_without_a_calibration_logits_stay_as_they_are():
    logits, _ = batch(2, 3)
    head = Head.of(None, 3)
    assert head.taps == ()
    assert not head.has_logit_noise
    assert torch.equal(head.logits(logits, ()), logits)
    assert torch.equal(head.noisy_logits(logits, ()), logits)


def test_global_and_class_temperatures_divide_and_noisy_passes_have_their_own():
    logits, _ = batch(1, 3)
    calibration = Calibration(
        temperature=Temperature(kind="class", values=(1.0, 2.0, 4.0)),
        noise_temperature=Temperature(values=(0.5,)),
    )
    head = Head.of(calibration, 3)
    divided = logits / torch.tensor([1.0, 2.0, 4.0])[None, :, None, None]
    torch.testing.assert_close(head.logits(logits, ()), divided)
    torch.testing.assert_close(head.noisy_logits(logits, ()), logits * 2)


def test_a_linear_map_is_that_of_the_enlarged_standardised_features():
    _, taps = batch(2, 1)
    plain = linear(3)
    levels = with_strides(taps, (48, 32))
    assert [level.stride for level in levels] == [4, 1]
    want = torch.tensor(plain.bias, dtype=torch.float64)[None, :, None, None].expand(2, 3, 48, 32)
    for features, mean, std, weight in zip(taps, plain.mean, plain.std, plain.weight, strict=True):
        wide = torch.nn.functional.interpolate(
            features.double(), size=(48, 32), mode="bilinear", align_corners=False
        )
        standard = (wide - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        want = want + torch.einsum("rc,nchw->nrhw", torch.tensor(weight).double(), standard)
    got = MapTensors.of(plain)(levels, (48, 32))
    torch.testing.assert_close(got, want.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "padded"), [(17, 32), (33, 48), (127, 128), (128, 128)])
def test_strides_are_found_where_the_network_pads(width, padded):
    features = [torch.zeros(1, 1, padded // s, padded // s) for s in (8, 4, 2, 1)]
    assert [level.stride for level in with_strides(features, (width, width))] == [8, 4, 2, 1]


@given(k=st.integers(1, 4), seed=st.integers(0, 50), strength=st.floats(0.1, 3))
@settings(max_examples=20, deadline=None)
def test_a_local_temperature_leaves_the_mask(k, seed, strength):
    logits, taps = batch(1, k, seed=seed)
    temperature = Temperature(kind="local", values=(1.7,), map=linear(1, seed=seed, size=strength))
    scaled = Head.of(Calibration(temperature=temperature), k).logits(logits, taps)
    ratio = logits / 1.7 / scaled
    assert float(ratio.log().abs().max()) < 1.51
    assert ratio.max() / ratio.min() > 1.01  # it is local
    if k == 1:
        assert torch.equal(scaled > 0, logits > 0)
    else:
        assert torch.equal(scaled.argmax(dim=1), logits.argmax(dim=1))


def test_features_of_the_logits_need_no_taps():
    logits, _ = batch(2, 1, size=(45, 31))
    levels = doubt_levels(logits)
    widths = [len(level.features[0]) for level in levels]
    assert widths == [3] * len(DOUBT_TAPS)
    assert all(level.features.isfinite().all() for level in levels)
    mapped = LinearMap(
        taps=DOUBT_TAPS,
        mean=((0.0,) * 3,) * 5,
        std=((1.0,) * 3,) * 5,
        weight=(((0.1, -0.2, 0.3),),) * 5,
        bias=(0.0,),
    )
    head = Head.of(Calibration(temperature=Temperature(kind="local", map=mapped)), 1)
    assert head.taps == ()
    assert head.logits(logits, ()).shape == logits.shape


@pytest.mark.parametrize("k", [1, 2, 3])
def test_doubt_is_highest_at_a_boundary(k):
    logits = torch.zeros(1, k, 64, 64)
    logits[:, -1, :, :32], logits[:, -1, :, 32:] = -5, 5
    if k > 1:
        logits[:, 0] = -logits[:, -1]
    for level in doubt_levels(logits)[1:]:
        of_mean = level.features[0, 1]
        assert of_mean[:, of_mean.shape[1] // 2].mean() > of_mean[:, 0].mean() + 0.1


@given(mean=st.floats(-8, 8), deviation=st.floats(0, 4))
@settings(max_examples=40, deadline=None)
def test_the_marginal_is_the_integral(mean, deviation):
    def density(z: float) -> float:
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (1 + math.exp(-mean - deviation * z))

    want, _ = quad(density, -12, 12, limit=200)
    got = float(expected_sigmoid(torch.tensor(mean), torch.tensor(deviation)))
    assert got == pytest.approx(want, abs=1.5e-3)


@pytest.mark.parametrize(("k", "close"), [(1, 0.012), (2, 0.012), (4, 0.03)])
def test_the_marginal_agrees_with_independent_draws(k, close):
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(1, k, 4, 4, generator=generator)
    amplitudes = torch.randn(1, 5, k, 4, 4, generator=generator) * 0.6
    z = torch.randn(40_000, 5, generator=generator)
    eta = mean + torch.einsum("sr,nrkhw->skhw", z, amplitudes)
    if k == 1:
        p = torch.sigmoid(eta).mean(dim=0)
        want = torch.cat([1 - p, p])
    else:
        want = torch.softmax(eta, dim=1).mean(dim=0)
    got = marginal_probabilities(mean, amplitudes)[0]
    torch.testing.assert_close(got.sum(dim=0), torch.ones(4, 4))
    assert float((got - want).abs().max()) < close


@pytest.mark.parametrize(("k", "close"), [(1, 0.015), (3, 0.02)])
def test_the_mean_of_samples_comes_to_the_marginal(k, close):
    logits, taps = batch(1, k, size=(16, 16))
    head = noisy(k)
    samples = head.samples(logits, taps, keys=torch.tensor([8]), first=0, count=1200)
    assert samples.shape == (1, 1200, max(k, 2), 16, 16)
    torch.testing.assert_close(samples.sum(dim=2), torch.ones(1, 1200, 16, 16))
    off = samples.mean(dim=1) - head.marginal(logits, taps)
    assert float(off.square().mean().sqrt()) < close
    assert float(samples.std(dim=1).mean()) > 0.03


def test_samples_do_not_depend_on_which_others_are_drawn_or_which_images_beside():
    logits, taps = batch(3, 1)
    head, keys = noisy(1), torch.tensor([5, 6, 7])
    whole = head.samples(logits, taps, keys=keys, first=0, count=9)
    parts = [
        head.samples(logits, taps, keys=keys, first=first, count=count)
        for first, count in ((0, 3), (3, 1), (4, 5))
    ]
    assert torch.equal(whole, torch.cat(parts, dim=1))
    alone = head.samples(logits[1:2], [tap[1:2] for tap in taps], keys=keys[1:2], first=2, count=4)
    torch.testing.assert_close(alone, whole[1:2, 2:6], atol=1e-6, rtol=0)
    other = head.samples(logits, taps, keys=keys + 1, first=0, count=9)
    assert not torch.equal(whole, other)


def test_a_second_sample_has_the_opposite_noise():
    logits, taps = batch(1, 1)
    pair = noisy(1).samples(logits, taps, keys=torch.tensor([5]), first=6, count=2)
    eta = torch.logit(pair[0, :, 1].double())
    torch.testing.assert_close(eta.mean(dim=0).float(), logits[0, 0] / 1.3, atol=2e-3, rtol=2e-3)


def test_two_windows_of_one_image_are_parts_of_one_sample():
    logits, taps = batch(1, 1, size=(64, 64))
    head, keys = noisy(1), torch.tensor([5])
    whole = head.samples(logits, taps, keys=keys, first=0, count=4)
    # With a map of the finest level alone nothing is enlarged, so that windows see the same.
    noise = head.logit_noise
    assert noise is not None
    rows = slice(16, 48)
    fine = LogitNoise(
        map=LinearMap(taps=("a",), mean=((0.0,),), std=((1.0,),),
                      weight=(((0.5,),) * len(LENGTHS),), bias=(0.2,) * len(LENGTHS)),
        log_scale=0.1, lengths=LENGTHS,
    )  # fmt: skip
    head = Head.of(Calibration(logit_noise=fine), 1)
    tap = taps[1][:, :1]
    whole = head.samples(logits, (tap,), keys=keys, first=0, count=4)
    part = head.samples(
        logits[..., rows, rows], (tap[..., rows, rows],), keys=keys, first=0, count=4,
        origins=torch.tensor([[16.0, 16.0]]),
    )  # fmt: skip
    torch.testing.assert_close(part, whole[..., rows, rows], atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused():
    two = Temperature(kind="class", values=(1.0, 2.0))
    with pytest.raises(RunError, match="class temperature"):
        Head.of(Calibration(temperature=two), 3)
    noise = LogitNoise(map=linear(2 * len(LENGTHS)), log_scale=0.0, lengths=LENGTHS)
    with pytest.raises(RunError, match="noise in logit space"):
        Head.of(Calibration(logit_noise=noise), 1)
    broken = linear(1).model_copy(update={"std": ((1.0,) * 6, (0.0,) * 3)})
    with pytest.raises(RunError, match="linear map"):
        MapTensors.of(broken)
    logits, _ = batch(1, 1)
    with pytest.raises(SettingsError, match="without noise in logit space"):
        Head.of(None, 1).marginal(logits, ())
    with pytest.raises(SettingsError, match="taps"):
        noisy(1).marginal(logits, ())


def test_samples_are_scaled_as_the_mean_that_is_seen():
    """A local temperature may read the logits; samples around a mean share the mean's factor."""
    levels = doubt_levels(torch.zeros(1, 1, 48, 32))
    counts = [level.features.shape[1] for level in levels]
    rng = np.random.default_rng(0)
    of_logits = LinearMap(
        taps=DOUBT_TAPS, mean=tuple((0.0,) * n for n in counts),
        std=tuple((1.0,) * n for n in counts),
        weight=tuple((tuple(rng.normal(size=n) * 0.4),) for n in counts), bias=(0.0,),
    )  # fmt: skip
    head = Head.of(Calibration(temperature=Temperature(kind="local", map=of_logits)), 1)
    mean, _ = batch(1, 1)
    sample = mean + 3 * torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    factor = head.logits(mean, ()) / mean
    torch.testing.assert_close(head.logits(sample, (), seen=mean), sample * factor)
    assert (head.logits(sample, ()) - sample * factor).abs().max() > 0.1
