import math

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from penumbra.errors import SettingsError
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.ssn_unet import SSNUNet
from penumbra.models.storage import load_model
from penumbra.models.unet.unet import UNet
from penumbra.noise.perturbations import Dropout, RelativeNoise
from penumbra.training.augmentation import Augmentation
from penumbra.training.experiment import (
    AugmentationSettings,
    Experiment,
    PerturbationSettings,
    TrainingSettings,
)
from penumbra.training.loop import train
from penumbra.training.losses import make_loss, sampled_likelihood
from penumbra.training.module import SegmentationModule
from penumbra.training.perturb import batch_keys, make_forward, perturbation_from, sites_from
from penumbra.training.run import Run

KINDS = ["dropout", "dropblock", "multiplicative", "masksembles", "noise"]


def unet():
    torch.manual_seed(0)
    return UNet(1, 1, width=4, depth=2)


def forward(network, *, step=3, **perturbation):
    settings = TrainingSettings(perturbation=PerturbationSettings(**perturbation))
    return make_forward(network, settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sites", ["skips", "encoder", ["down.1"]])
def test_features_are_disturbed_in_training_and_nowhere_else(kind, sites):
    network, x = unet().eval(), torch.rand(3, 1, 24, 24)
    plain = network(x)
    disturbed = forward(network, kind=kind, sites=sites)
    first = disturbed(x, step=3)
    assert not torch.equal(first, plain)
    assert torch.equal(disturbed(x, step=3), first)
    assert not torch.equal(disturbed(x, step=4), first)
    assert torch.equal(network(x), plain)
    assert not any(module._forward_hooks for module in network.modules())
    first.sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_an_image_of_a_batch_has_its_own_draws():
    network, x = unet().eval(), torch.rand(1, 1, 24, 24)
    twice = forward(network, kind="dropout")(x.repeat(2, 1, 1, 1), step=0)
    assert not torch.equal(twice[0], twice[1])
    assert len(set(batch_keys(4, 0, 0).tolist()) | set(batch_keys(4, 0, 1).tolist())) == 8


def test_the_experiment_says_what_inference_needs():
    experiment = Experiment().with_settings(
        ["training.perturbation.kind=dropout", "training.perturbation.rate=0.35"]
    )
    again = Experiment.parse(yaml.safe_load(experiment.to_yaml()))
    assert again == experiment
    assert perturbation_from(again.training.perturbation) == Dropout(0.35)
    noise = PerturbationSettings(kind="noise", pattern={"length": 16.0})
    assert perturbation_from(noise) == RelativeNoise(pattern=noise.pattern)
    assert sites_from(noise, unet()) == ("skip1", "skip2", "bottleneck")


@pytest.mark.parametrize(
    "wrong", [{"kind": "drop"}, {"kind": "dropout", "strength": -1}, {"kind": "noise", "sight": 1}]
)
def test_wrong_settings_are_refused_when_read(wrong):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        Experiment.parse({"training": {"perturbation": wrong}})


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SettingsError, match="brings its own noise"):
        forward(NoiseAwareUNet(1, 1, width=2, depth=1), kind="dropout")
    with pytest.raises(SettingsError, match="skip9"):
        forward(unet(), kind="dropout", sites=["skip9"])
    with pytest.raises(SettingsError, match="rate"):
        forward(unet(), kind="dropout", strength=1.0)
    with pytest.raises(SettingsError, match="ssn-unet"):
        make_forward(unet(), TrainingSettings(loss="ssn"))
    both = TrainingSettings(loss="ssn", perturbation=PerturbationSettings(kind="noise"))
    with pytest.raises(SettingsError, match="one or the other"):
        make_forward(SSNUNet(1, 1, width=2, depth=1), both)


def trained(tiny, folder, **training):
    settings = tiny.training.model_validate(tiny.training.model_dump() | training)
    train(tiny.model_copy(update={"training": settings}), folder)
    return load_model(folder)[0]


def test_a_run_with_perturbation_leaves_a_plain_network(tiny, tmp_path):
    perturbation = {"kind": "dropout", "strength": 0.3}
    first = trained(tiny, tmp_path / "a", perturbation=perturbation)
    again = trained(tiny, tmp_path / "b", perturbation=perturbation)
    plain = trained(tiny, tmp_path / "c")
    assert type(first) is UNet
    weights = [list(n.state_dict().values()) for n in (first, again, plain)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    kept = Run(tmp_path / "a").experiment().training.perturbation
    assert perturbation_from(kept) == Dropout(0.3)


def test_a_perturbation_that_cannot_be_leaves_no_run(tiny, tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        trained(tiny, tmp_path / "a", perturbation={"kind": "dropout", "sites": ["nowhere"]})
    assert not (tmp_path / "a" / "experiment.yaml").exists()


def test_an_ssn_trains_its_whole_distribution(tiny, tmp_path):
    model = {"name": "ssn-unet", "arguments": {"width": 4, "depth": 2, "rank": 2}}
    experiment = Experiment.parse(tiny.model_dump() | {"model": model})
    network = trained(experiment, tmp_path / "a", loss="ssn")
    assert isinstance(network, SSNUNet)
    fresh = SSNUNet(1, 1, width=4, depth=2, rank=2)
    assert not torch.allclose(network.spread.bias[-1], fresh.spread.bias[-1], atol=1e-4)
    losses = [row["loss"] for row in Run(tmp_path / "a").history()]
    assert all(math.isfinite(loss) for loss in losses)


def test_the_likelihood_of_whole_masks_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, 4, 6, generator=generator)
    mask = torch.randint(0, 3, (2, 4, 6), generator=generator)
    mask[1, :2] = 255
    total = 0.0
    for n in range(2):
        valid = mask[n] != 255
        likelihoods = []
        for m in range(5):
            p = torch.softmax(logits[n, m].double(), dim=0)
            chosen = p.gather(0, mask[n].where(valid, 0)[None])[0][valid]
            likelihoods.append(float(chosen.log().sum()))
        joint = np.logaddexp.reduce(likelihoods) - math.log(5)
        total -= joint / int(valid.sum()) / 2
    assert float(sampled_likelihood(logits, mask)) == pytest.approx(total, rel=1e-5)
    one = logits[:, 0]
    reference = functional.cross_entropy(one[:1], mask[:1])
    assert float(sampled_likelihood(one[:1], mask[:1])) == pytest.approx(float(reference), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_weight_decay_does_not_touch_gates(optimizer):
    network = NoiseAwareUNet(1, 1, width=2, depth=1)
    settings = TrainingSettings(
        optimizer=optimizer, weight_decay=0.5, learning_rate=0.1, gate_rate=3.0
    )
    module = SegmentationModule(
        network,
        loss=make_loss("ce"),
        augmentation=Augmentation(AugmentationSettings(), "none"),
        settings=settings,
    )
    built = module.configure_optimizers()
    gates = {name: p for name, p in network.named_parameters() if "gate" in name}
    with torch.no_grad():
        for gate in gates.values():
            gate.fill_(1.5)
    kernel = network.outc.weight.detach().clone()
    own = next(
        g for g in built.param_groups if any(p is q for p in g["params"] for q in gates.values())
    )
    assert {id(p) for p in own["params"]} == {id(p) for p in gates.values()}
    assert (own["weight_decay"], own["rate"]) == (0.0, 3.0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    assert all(bool((gate == 1.5).all()) for gate in gates.values())
    assert not torch.equal(network.outc.weight, kernel)
    everything = [id(p) for group in built.param_groups for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in network.parameters())


def test_gates_learn_at_their_own_rate(tiny, tmp_path):
    def gates(name, rate):
        model = {"name": "noise-unet", "arguments": {"width": 4, "depth": 2}}
        experiment = Experiment.parse(tiny.model_dump() | {"model": model})
        network = trained(experiment, tmp_path / name, gate_rate=rate)
        return torch.stack([p for n, p in network.named_parameters() if "gate" in n])

    assert torch.equal(gates("still", 0.0), torch.zeros(3))
    assert bool((gates("moving", 5.0) != 0).all())
