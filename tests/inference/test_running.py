"""Other settings on the same networks, and the estimate while passes run."""

import gc

import numpy as np
import pytest
import torch

from penumbra.errors import SettingsError
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.inference.samplers import Sampler
from penumbra.models.unet.unet import UNet


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
            net.outc.bias.fill_(0.0)
    return net.eval()


def make(network, sampler=None, **options):
    return Predictor(
        network,
        preprocess=Preprocess(size=64, fit="crop", channels=1),
        class_names=("background", "thing"),
        sampler=sampler,
        symmetry="dihedral",
        precision="fp32",
        **options,
    )


def same(a, b):
    assert (a.mask == b.mask).all()
    assert (a.probabilities == b.probabilities).all()
    assert a.uncertainty.keys() == b.uncertainty.keys()
    assert all((a.uncertainty[name] == b.uncertainty[name]).all() for name in a.uncertainty)
    assert a.scores == b.scores
    assert (a.sampler, a.passes, a.seed) == (b.sampler, b.passes, b.seed)
    for name in ("areas", "sample_dice"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert (mine is None and theirs is None) or (mine == theirs).all()


SAMPLERS = (
    "deterministic",
    "noise:8@0.3~perlin16",
    "noise:5@0.4",
    "augmentation:4",
    "dropout:6@0.2",
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("size", [(64, 64), (70, 90)])
def test_the_last_of_a_running_estimate_is_what_a_call_gives(network, sampler, size):
    predictor, image = make(network, sampler), picture(*size)
    estimates = list(predictor.running(image, seed=3, every=2, keep_samples=2))
    whole = predictor([image], seed=3, keep_samples=2)[0]
    same(estimates[-1], whole)
    passes = [estimate.passes for estimate in estimates]
    assert passes == sorted(set(passes))
    if whole.samples is not None:
        assert (estimates[-1].samples.planes == whole.samples.planes).all()


@pytest.mark.parametrize("sampler", ["noise:8@0.3", "augmentation:8"])
def test_in_between_is_what_as_many_passes_give(network, sampler):
    image = picture(64, 80)
    halfway = next(make(network, sampler).running(image, seed=1, every=4))
    same_passes = make(network, sampler.replace(":8", ":4"))([image], seed=1)[0]
    assert (halfway.probabilities == same_passes.probabilities).all()
    assert (halfway.mask == same_passes.mask).all()
    for name, plane in same_passes.uncertainty.items():
        assert (halfway.uncertainty[name] == plane).all()


def test_other_settings_share_the_networks_and_give_what_a_predictor_of_their_own_gives(network):
    base, image = make(network), picture(70, 64)
    first = base([image])[0]
    for sampler in SAMPLERS:
        other = base.using(sampler=sampler, threshold=0.4)
        assert other.engine is base.engine
        same(other([image], seed=5)[0], make(network, sampler, threshold=0.4)([image], seed=5)[0])
    same(base([image])[0], first)


def test_settings_that_are_gone_leave_no_hooks(network):
    base = make(network)

    def hooks():
        return sum(len(m._forward_hooks) for m in base.engine.module.modules())

    before = hooks()
    for strength in (0.1, 0.2, 0.3):
        base.using(sampler=f"dropout:2@{strength}")([picture(64, 64)])
    gc.collect()
    assert hooks() == before


def test_noise_that_is_asked_for_is_relative_to_what_the_features_do(network):
    image = picture(64, 64)
    base = make(network)
    doubt = [
        base.using(sampler=f"noise:8@{strength}")([image])[0].uncertainty["variance"].mean()
        for strength in (0, 0.1, 0.4)
    ]  # fmt: skip
    assert doubt[0] == 0 < doubt[1] < doubt[2]
    with pytest.raises(SettingsError, match="calibrate"):
        base.using(sampler="noise:8")
    assert not base.has_own_noise


def test_patterns_differ_and_the_sampler_says_which(network):
    image, base = picture(64, 64), make(network)
    texts = ("noise:2@0.4~gaussian", "noise:2@0.4~perlin16")
    first, second = (base.using(sampler=text)([image])[0] for text in texts)
    assert (first.sampler, second.sampler) == texts
    assert (first.probabilities != second.probabilities).any()


@pytest.mark.parametrize("text", ["noise:3@0.25", "noise:8@0", "noise:8@0.1~lattice7.5"])
def test_texts_with_a_strength_are_read_and_written_in_one_form(text):
    assert str(Sampler.parse(text)) == text


def test_the_mask_of_the_mean_is_that_of_the_mean(network):
    image = picture(64, 64)
    base = make(network, "noise:1@0.8")
    off, mean = (base.using(mask_from=which)([image])[0] for which in ("off", "mean"))
    assert (off.probabilities == mean.probabilities).all()
    assert (mean.mask == (mean.probabilities[1] >= 0.5)).all()
    assert (off.mask == make(network)([image])[0].mask).all()
    assert (off.mask != mean.mask).any()


def test_wrong_settings_are_refused(network):
    base = make(network)
    for wrong in ({"threshold": 1.0}, {"sampler": "ensemble"}, {"sampler": "nonsense"}):
        with pytest.raises(SettingsError, match=r"Expected .* but got .*\. Try "):
            base.using(**wrong)
    with pytest.raises(SettingsError, match="every"):
        next(base.running(picture(64, 64), every=0))
    with pytest.raises(SettingsError, match="strength from 0 to 2"):
        base.using(sampler="noise:2@2.5")


def test_a_classical_method_has_one_pass_and_a_threshold():
    method, image = ClassicalPredictor("classical:otsu,foreground=bright"), picture(32, 32)
    assert [p.passes for p in method.running(image)] == [1]
    high = method.using(threshold=0.9)([image])[0]
    assert high.mask.sum() <= method([image])[0].mask.sum()
    with pytest.raises(SettingsError, match="deterministic"):
        method.using(sampler="noise:8@0.2")
