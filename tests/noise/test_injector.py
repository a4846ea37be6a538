import pytest
import torch

from penumbra.errors import ModelError, SettingsError
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.unet.unet import UNet
from penumbra.noise.injector import NeuralNoiseInjector

KEYS = torch.tensor([11, 12])


@pytest.fixture
def injector():
    made = NeuralNoiseInjector(noise_scale=0.5)
    made.add_site("skip1", channels=3)
    made.add_site("bottleneck", channels=3)
    return made


@pytest.fixture
def model():
    torch.manual_seed(0)
    return NoiseAwareUNet(1, 1, width=4, depth=2).eval()


def test_the_sketchs_call_runs_as_written():
    injector = NeuralNoiseInjector(
        noise_scale=0.1, noise_decay=0.95, noise_patterns=["gaussian", "perlin", "simplex"]
    )
    model = NoiseAwareUNet(n_channels=3, n_classes=1, noise_injector=injector)
    assert model.noise_injector is injector
    assert model.channels[-1] == 1024


def test_noise_has_the_stated_size(injector):
    injector.get_buffer("std_skip1").copy_(torch.tensor([1.0, 2.0, 4.0]))
    h = torch.zeros(2, 3, 128, 128)
    added = injector(h, "skip1", keys=KEYS)
    # gate ½ × scale ½ × the channel's deviation, applied once
    expected = 0.25 * torch.tensor([1.0, 2.0, 4.0])
    assert torch.allclose(added.std(dim=(0, 2, 3)), expected, rtol=0.03)


def test_disabled_is_disabled_everywhere(model):
    plain = UNet(1, 1, width=4, depth=2).eval()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("noise_injector")}
    plain.load_state_dict(weights)
    x = torch.rand(2, 1, 20, 20)
    assert torch.equal(model(x, "disabled"), plain(x))
    assert torch.equal(model(x), plain(x))


def test_draws_are_a_function_of_seed_image_and_pass(model):
    x = torch.rand(3, 1, 16, 16)
    first = model(x, "monte_carlo", seed=1, sample=0)
    assert torch.equal(first, model(x, "monte_carlo", seed=1, sample=0))
    alone = model(x[1:2], "monte_carlo", seed=1, sample=0)
    assert torch.allclose(first[1:2], alone, atol=1e-5)
    assert not torch.equal(first, model(x, "monte_carlo", seed=1, sample=1))
    assert not torch.equal(first, model(x, "monte_carlo", seed=2, sample=0))
    assert torch.equal(first, model(x, "inference_ensemble", seed=1, sample=0))


def test_sites_draw_apart(injector):
    h = torch.zeros(2, 3, 8, 8)
    assert not torch.equal(injector(h, "skip1", keys=KEYS), injector(h, "bottleneck", keys=KEYS))


def test_gates_are_named_gate_and_receive_gradients(model):
    model.train()
    model(torch.rand(2, 1, 16, 16)).square().mean().backward()
    gates = {name: p for name, p in model.named_parameters() if "gate" in name}
    assert len(gates) == 3
    assert all(p.grad is not None and p.grad != 0 for p in gates.values())


def test_training_measures_the_channels_once(injector):
    h = torch.randn(2, 3, 64, 64) * torch.tensor([1.0, 3.0, 5.0]).view(1, 3, 1, 1)
    injector(h, "skip1", keys=KEYS, mode="training")
    measured = injector.get_buffer("std_skip1")
    assert torch.allclose(measured, torch.tensor([1.0, 3.0, 5.0]), rtol=0.05)
    assert torch.equal(injector.get_buffer("std_bottleneck"), torch.ones(3))


def test_decay_counts_epochs_not_calls(injector):
    h = torch.zeros(2, 3, 32, 32)
    first = injector(h, "skip1", keys=KEYS)
    for _ in range(50):
        injector(h, "skip1", keys=KEYS)
    assert torch.equal(injector(h, "skip1", keys=KEYS), first)
    injector.set_epoch(2)
    assert torch.allclose(injector(h, "skip1", keys=KEYS), first * 0.95**2, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"noise_scale": -1},
        {"noise_decay": 0},
        {"noise_decay": 1.1},
        {"noise_patterns": ["brown"]},
        {"noise_patterns": []},
    ],
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        NeuralNoiseInjector(**arguments)


def test_unknown_site_mode_and_pattern(injector):
    h = torch.zeros(2, 3, 4, 4)
    with pytest.raises(SettingsError, match="skip1, bottleneck"):
        injector(h, "skip9", keys=KEYS)
    with pytest.raises(SettingsError, match="monte_carlo"):
        injector(h, "skip1", keys=KEYS, mode="loud")
    injector.pattern = "perlin"
    with pytest.raises(SettingsError, match="gaussian"):
        injector(h, "skip1", keys=KEYS)


def test_one_injector_per_network(injector):
    with pytest.raises(ModelError, match="one injector per network"):
        NoiseAwareUNet(1, 1, injector, width=2)
