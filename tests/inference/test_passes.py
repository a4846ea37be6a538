"""Passes of a sampler: the same bits anywhere, sums that agree with the passes they sum up."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from penumbra.errors import SettingsError
from penumbra.inference.calibration import (
    Calibration,
    FeatureNoise,
    LinearMap,
    LogitNoise,
    NoiseSite,
    Temperature,
)
from penumbra.inference.doubt import DOUBT_TAPS, doubt_levels
from penumbra.inference.prediction import entropy
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.unet.unet import UNet
from penumbra.noise.patterns import Pattern

NAMES = ("background", "thing")


def picture(height, width, *, seed=0):
    return (np.random.default_rng(seed).random((height, width, 1)) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(1, 1, width=8, depth=3).train()
        with torch.no_grad():
            for _ in range(3):
                net(torch.randn(2, 1, 64, 64))
            # Logits on both sides of 0, so that there are masks to speak of.
            net.outc.bias.fill_(0.0)
    return net.eval()


@pytest.fixture(scope="module")
def calibration(network):
    sites = {
        name: NoiseSite(gate=0.6, std=(1.0,) * channels, pattern=Pattern(length=16))
        for name, channels in zip(network.site_names, network.channels, strict=True)
    }
    counts = [level.features.shape[1] for level in doubt_levels(torch.zeros(1, 1, 32, 32))]
    rng = np.random.default_rng(0)
    amplitudes = LinearMap(
        taps=DOUBT_TAPS,
        mean=tuple((0.0,) * n for n in counts),
        std=tuple((1.0,) * n for n in counts),
        weight=tuple(tuple(tuple(rng.normal(size=n).tolist()) for _ in (0, 16)) for n in counts),
        bias=(0.5, 0.5),
    )
    return Calibration(
        logit_noise=LogitNoise(map=amplitudes, log_scale=-1.0, lengths=(0.0, 16.0)),
        temperature=Temperature(values=(1.5,)),
        noise_temperature=Temperature(values=(1.2,)),
        noise=FeatureNoise(sites=sites),
        sampler="noise:4",
    )


def make(network, sampler=None, **options):
    options = {"precision": "fp32", "symmetry": "dihedral"} | options
    return Predictor(
        network,
        preprocess=Preprocess(size=64, fit=options.pop("fit", "crop"), channels=1),
        class_names=NAMES,
        sampler=sampler,
        **options,
    )


SAMPLERS = ["noise:4", "noise*augmentation:5", "augmentation", "dropout:3", "dropblock:3",
            "multiplicative:3", "masksembles:3", "logit-noise:6",
            "logit-noise*augmentation:16"]  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_bits_alone_and_in_any_batch(network, calibration, sampler):
    predictor = make(network, sampler, calibration=calibration)
    images = [picture(h, w, seed=h) for h, w in [(64, 64), (50, 90), (64, 64), (130, 70)]]
    together = predictor(images, seed=3, keep_samples=2)
    for one, whole in zip(images, together, strict=True):
        alone = predictor([one], seed=3, keep_samples=2)[0]
        assert np.array_equal(alone.probabilities, whole.probabilities)
        assert np.array_equal(alone.samples.planes, whole.samples.planes)
        for name, plane in whole.uncertainty.items():
            assert np.array_equal(alone.uncertainty[name], plane), name


@pytest.mark.parametrize("sampler", ["noise:4", "dropout:4", "noise*augmentation:4"])
def test_the_seed_decides_the_draws_and_not_the_mask(network, calibration, sampler):
    predictor = make(network, sampler, calibration=calibration)
    image = picture(64, 64)
    first, again, other = (predictor([image], seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.probabilities, other.probabilities)
    assert np.array_equal(first.mask, other.mask)
    assert np.array_equal(
        first.mask, make(network, "deterministic", calibration=calibration)([image])[0].mask
    )


def test_two_images_of_one_call_do_not_share_their_noise(network, calibration):
    predictor = make(network, "noise:2", calibration=calibration)
    a, b = predictor([picture(64, 64, seed=1), picture(64, 64, seed=2)], keep_samples=2)
    spread_a = a.samples.planes[0] - a.samples.planes[1]
    spread_b = b.samples.planes[0] - b.samples.planes[1]
    assert abs(np.corrcoef(spread_a[1].ravel(), spread_b[1].ravel())[0, 1]) < 0.9


@pytest.mark.parametrize("fit", ["crop", "resize"])
@pytest.mark.parametrize("sampler", ["noise:6", "augmentation:8", "dropout:6"])
def test_sums_agree_with_the_passes_they_sum_up(network, calibration, sampler, fit):
    predictor = make(network, sampler, calibration=calibration, fit=fit)
    (found,) = predictor([picture(60, 100)], keep_samples=100)
    passes = np.stack(list(found.samples))
    assert len(passes) == found.passes
    np.testing.assert_allclose(found.probabilities, passes.mean(axis=0), atol=1e-5)
    maps = found.uncertainty
    np.testing.assert_allclose(maps["entropy"], entropy(found.probabilities), atol=1e-6)
    np.testing.assert_allclose(
        maps["mutual_information"],
        maps["entropy"] - maps["expected_entropy"],
        atol=1e-6,
    )
    assert (maps["mutual_information"] >= 0).all()
    assert found.areas.shape == (found.passes, 2)
    np.testing.assert_allclose(found.areas.sum(axis=1), 6000, rtol=1e-4)
    np.testing.assert_allclose(found.areas, passes.sum(axis=(2, 3)), rtol=2e-2, atol=20)


def test_in_a_single_tile_variance_and_entropy_are_those_of_the_passes(network, calibration):
    (found,) = make(network, "noise:5", calibration=calibration)([picture(64, 64)], keep_samples=5)
    passes = np.stack(list(found.samples))
    np.testing.assert_allclose(
        found.class_uncertainty["variance"], passes.var(axis=0, ddof=1), atol=1e-6
    )
    np.testing.assert_allclose(
        found.uncertainty["expected_entropy"],
        np.mean([entropy(p) for p in passes], axis=0),
        atol=1e-6,
    )
    own = found.mask == 1
    dice = [2 * (own & (p[1] >= 0.5)).sum() / (own.sum() + (p[1] >= 0.5).sum()) for p in passes]
    np.testing.assert_allclose(found.sample_dice, dice, atol=1e-6)


def test_a_network_without_place_and_direction_does_not_mind_symmetries():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Tanh(), nn.Conv2d(4, 1, 1)).eval()
    image = picture(50, 70)
    (plain,) = make(net)([image])
    (found,) = make(net, "augmentation")([image])
    np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-6)
    assert found.uncertainty["mutual_information"].max() < 1e-5


def test_an_ensemble_of_one_network_twice_is_that_network(network):
    image = picture(64, 64)
    (plain,) = make(network)([image])
    (found,) = make(network, "ensemble", members=[(network, None)])([image])
    np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-6)
    assert found.passes == 2


def test_ensembles_average_probabilities_not_logits(network):
    image = picture(64, 64)
    other = Calibration(temperature=Temperature(values=(4.0,)))
    (one,), (two,) = make(network)([image]), make(network, calibration=other)([image])
    (both,) = make(network, "ensemble", members=[(network, other)])([image])
    mean = (one.probabilities + two.probabilities) / 2
    np.testing.assert_allclose(both.probabilities, mean, atol=1e-6)


@pytest.mark.parametrize("sampler", ["logit-noise:512", "logit-noise*augmentation:1024"])
def test_samples_behind_a_pass_tend_to_the_moments_known_without_them(
    network, calibration, sampler
):
    (found,) = make(network, sampler, calibration=calibration)([picture(32, 32)], keep_samples=1024)
    passes = np.stack(list(found.samples))
    np.testing.assert_allclose(found.probabilities, passes.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(found.class_uncertainty["variance"], passes.var(axis=0), atol=0.03)
    np.testing.assert_allclose(
        found.uncertainty["expected_entropy"],
        np.mean([entropy(p) for p in passes], axis=0),
        atol=0.06,
    )
    own = found.mask == 1
    dice = [2 * (own & (p[1] >= 0.5)).sum() / (own.sum() + (p[1] >= 0.5).sum()) for p in passes]
    np.testing.assert_allclose(found.sample_dice, dice, atol=1e-6)
    assert found.uncertainty["standard_error"].max() == 0


def test_dropout_of_a_network_is_woken_where_it_has_any():
    net = nn.Sequential(nn.Conv2d(1, 16, 1), nn.Dropout2d(0.5), nn.Conv2d(16, 1, 1)).eval()
    (found,) = make(net, "dropout:400")([picture(8, 8)], keep_samples=400)
    logits = np.log(found.samples.planes[:, 1] / found.samples.planes[:, 0])
    (plain,) = make(net)([picture(8, 8)])
    want = np.log(plain.probabilities[1] / plain.probabilities[0])
    # Behind a linear layer the mean logit of dropout is that without it.
    error = logits.std(axis=0) / 20
    assert (np.abs(logits.mean(axis=0) - want) < 5 * error + 1e-3).all()
    assert logits.std(axis=0).min() > 0.01


def test_a_network_trained_with_gates_brings_its_own_noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NoiseAwareUNet(1, 1, {"noise_scale": 1.0}, width=4, depth=2)
        with pytest.raises(SettingsError, match="measured"):
            make(net.eval(), "noise:4")([picture(64, 64)])
        with torch.no_grad():
            net.train()(torch.randn(2, 1, 64, 64))
    net.eval()
    (found,) = make(net, "noise:4")([picture(64, 64)])
    assert found.uncertainty["mutual_information"].max() > 0


def test_one_pass_has_no_disagreement(network, calibration):
    (found,) = make(network, "noise:1", calibration=calibration)([picture(64, 64)])
    assert set(found.uncertainty) == {"entropy"}
    assert found.areas is None
    assert found.samples is None


@pytest.mark.parametrize(
    ("sampler", "wanted"),
    [("noise", "penumbra calibrate"), ("logit-noise", "penumbra calibrate"), ("ssn", "ssn-unet")],
)
def test_what_a_network_does_not_have_is_named(network, sampler, wanted):
    with pytest.raises(SettingsError, match=wanted):
        make(network, sampler)


def test_a_thousand_passes_take_no_more_memory_than_a_few(network, calibration):
    predictor = make(network, "noise:1000", calibration=calibration)
    member, taken = predictor.members[0], {}

    def counted(encoded, tiles, sample, plain=member.probabilities):
        if sample in (10, 990):
            alive = (each for each in gc.get_objects() if isinstance(each, torch.Tensor))
            taken[sample] = sum(each.untyped_storage().nbytes() for each in alive)
        return plain(encoded, tiles, sample)

    member.probabilities = counted
    (found,) = predictor([picture(64, 64)])
    # A single pass kept whole would be 32 KiB, its features far more; 980 were forgotten.
    assert taken[990] - taken[10] < 2**20
    assert found.passes == 1000


def test_keeping_more_passes_than_memory_holds_is_refused(network, calibration):
    predictor = make(network, "noise:9000", calibration=calibration)
    with pytest.raises(SettingsError, match="keep_samples"):
        predictor([picture(256, 256)], keep_samples=9000)


def test_noise_is_coherent_across_tiles(calibration):
    """The same field, cut differently: a per-pixel network sees one field, not one per tile."""
    net = PerPixel().eval()
    noise = {"site": NoiseSite(gate=1.0, std=(1.0,) * 4, pattern=Pattern(length=16))}
    learned = Calibration(noise=FeatureNoise(sites=noise))
    options = {"class_names": NAMES, "precision": "fp32", "calibration": learned}
    image = picture(96, 130)
    tiled = Predictor(net, preprocess=Preprocess(size=32), sampler="noise:2", **options)
    whole = Predictor(net, preprocess=Preprocess(size=256), sampler="noise:2", **options)
    (a,), (b,) = (p([image], keep_samples=2) for p in (tiled, whole))
    np.testing.assert_allclose(a.samples.planes, b.samples.planes, atol=1e-5)


class PerPixel(nn.Module):
    """A network of 1×1 convolutions with one site."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.site = nn.Conv2d(1, 4, 1)
            self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.site(x)))


@pytest.mark.parametrize("pattern", ["lattice", "perlin"])
def test_the_short_way_through_the_nodes_gives_what_the_long_way_gives(network, pattern):
    sites = {
        name: NoiseSite(gate=0.6, std=(0.7,) * channels, pattern=Pattern(name=pattern, length=16))
        for name, channels in zip(network.site_names, network.channels, strict=True)
    }
    predictor = make(network, "noise:4", calibration=Calibration(noise=FeatureNoise(sites=sites)))
    images = [picture(50, 90)]
    (short,) = predictor(images, keep_samples=4)
    assert predictor.members[0].short is not None
    predictor.members[0].short = None
    (long,) = predictor(images, keep_samples=4)
    np.testing.assert_allclose(short.samples.planes, long.samples.planes, atol=2e-5)
    assert short.uncertainty["mutual_information"].mean() > 1e-5
