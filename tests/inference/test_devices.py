"""Everything a pass needs follows the network to its device.

The device is `meta`, which refuses to compute with tensors of the CPU, just as a GPU does.
"""

import contextlib
import copy

import pytest
import torch

from penumbra.calibration.logit_noise import LogitNoiseOptions, fit_logit_noise
from penumbra.calibration.observed import Observed
from penumbra.errors import SettingsError
from penumbra.inference.backend import Engine
from penumbra.inference.calibration import (
    Calibration,
    FeatureNoise,
    LinearMap,
    LogitNoise,
    NoiseSite,
)
from penumbra.inference.heads import Head
from penumbra.inference.logit_noise import point_rule
from penumbra.inference.members import Member, Tiles
from penumbra.inference.samplers import Sampler
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.ssn_unet import SSNUNet
from penumbra.noise.draws import join_keys
from penumbra.noise.patterns import Pattern

META = torch.device("meta")


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    # Autocast knows no such device; it is switched off wherever it is named.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def elsewhere(network):
    return Engine(copy.deepcopy(network).to(META), META, "fp32", 2)


def tiles():
    return Tiles(
        torch.rand(2, 1, 16, 16), torch.tensor([3, 4]), torch.tensor([[0.0, 0.0], [8.0, 4.0]])
    )


def noise(pattern="lattice", **settings):
    site = NoiseSite(gate=0.2, std=(1.0,) * 4, pattern=Pattern(name=pattern), **settings)
    return Calibration(noise=FeatureNoise(sites={"skip1": site}))


def passed(network, text, calibration=None):
    member = Member(
        elsewhere(network), calibration=calibration, sampler=Sampler.parse(text), network=network
    )
    logits, _ = member.logits(member.encode(tiles()), tiles(), 1)
    assert logits.device == META
    assert logits.shape == (2, 1, 16, 16)


def test_keys_stay_on_the_device_of_the_first_tensor():
    keys = torch.zeros(2, dtype=torch.int64, device=META)
    assert join_keys(keys, 3).device == META
    assert join_keys(3, keys, torch.tensor(5)).device == META
    assert join_keys(3, 4).device.type == "cpu"


@pytest.mark.parametrize(
    "text", ["dropout:2", "dropblock:2", "multiplicative:2", "masksembles:2", "deterministic"]
)
def test_disturbances_follow_the_network(text):
    passed(SSNUNet(1, 1, width=4, depth=2), text)


@pytest.mark.parametrize("pattern", ["lattice", "perlin", "gaussian"])
def test_noise_follows_the_network(pattern):
    network = SSNUNet(1, 1, width=4, depth=2)
    passed(network, "noise:2", noise(pattern))
    passed(network, "noise:2", noise(pattern, mean=(0.0,) * 4, gate_weight=(1.0,) * 4))


def test_noise_of_the_training_follows_the_network_and_must_be_measured():
    network = NoiseAwareUNet(1, 1, width=4, depth=2)
    with pytest.raises(SettingsError, match="measured"):
        passed(network, "noise:2")
    for site in network.noise_injector.sites:
        std = network.noise_injector.std(site)
        network.noise_injector.store(site, std=torch.ones_like(std))
    passed(network, "noise:2")
    assert network.noise_injector.std("skip1").device.type == "cpu"


def test_samples_of_a_stochastic_head_follow_the_network():
    engine = elsewhere(SSNUNet(1, 1, width=4, depth=2))
    some = tiles()
    drawn = engine.module.sample_logits(engine.place(some.x), some.keys, 0, 3, origins=some.origins)
    assert drawn.device == META


def one_map(rows):
    return LinearMap(
        taps=("up.0",),
        mean=((0.0,),),
        std=((1.0,),),
        weight=(((0.1,),) * rows,),
        bias=(0.1,) * rows,
    )


def test_noise_in_logit_space_follows_the_logits():
    made = LogitNoise(map=one_map(6), log_scale=0.0, lengths=(0.0, 8.0))
    head = Head.of(Calibration(logit_noise=made), 3)
    logits = torch.zeros(2, 3, 16, 16, device=META)
    taps = (torch.zeros(2, 1, 8, 8, device=META),)
    some = tiles()
    drawn = head.samples(logits, taps, keys=some.keys, first=0, count=4, origins=some.origins)
    assert drawn.device == META
    assert head.marginal(logits, taps).device == META


def test_a_fit_may_follow_a_prediction_in_one_process():
    point_rule.cache_clear()
    made = LogitNoise(map=one_map(6), log_scale=0.0, lengths=(0.0, 8.0))
    with torch.inference_mode():
        Head.of(Calibration(logit_noise=made), 3).marginal(
            torch.zeros(1, 3, 16, 16), (torch.zeros(1, 1, 8, 8),)
        )
    data = [
        Observed(torch.randn(1, 3, 32, 32), (), torch.randint(0, 3, (1, 32, 32)), group)
        for group in "ab"
    ]
    options = LogitNoiseOptions(lengths=(0.0, 8.0), steps=2, batch=2, passes=2)
    assert len(fit_logit_noise(data, options=options).map.bias) == 6
