import re
from pathlib import Path

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

import penumbra
from penumbra.errors import SettingsError
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.unet.unet import UNet
from penumbra.models.wrap import Wrapped
from penumbra.noise.attach import noise_aware
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.noise.patterns import Pattern

BASIC = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": (4, 4, 8, 8, 8, 4)}


def vgg():
    def block(channels, out):
        return [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]

    layers = [*block(1, 4), nn.MaxPool2d(2), *block(4, 8), nn.MaxPool2d(2), *block(8, 8)]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=4), nn.Conv2d(8, 2, 1))


NETWORKS = {
    "unet": lambda: UNet(1, 2, width=4, depth=2),
    "vgg": vgg,
    "basic": lambda: BasicUNet(**BASIC),
    "wrapped": lambda: Wrapped(1, 2, target="monai.networks.nets.BasicUNet", keywords=BASIC),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


@pytest.mark.parametrize("sites", ["skips", "encoder"])
@torch.inference_mode()
def test_noise_comes_and_goes_without_a_trace(network, sites):
    x = torch.rand(2, 1, 64, 64)
    plain, keys = network(x), list(network.state_dict())
    code = type(network).forward
    with noise_aware(network, sites) as noisy:
        noisy.measure([x])
        assert torch.equal(noisy(x), plain)
        assert torch.equal(noisy(x, "disabled"), plain)
        assert torch.equal(network(x), plain)
        first, second = (noisy(x, "monte_carlo", seed=1, sample=k) for k in (0, 1))
        assert first.shape == plain.shape
        assert not torch.allclose(first, plain, atol=1e-5)
        assert not torch.allclose(first, second, atol=1e-5)
        assert torch.equal(first, noisy(x, "monte_carlo", seed=1, sample=0))
        assert not torch.equal(first, noisy(x, "monte_carlo", seed=2, sample=0))
        assert list(network.state_dict()) == keys
    assert torch.equal(network(x), plain)
    assert type(network).forward is code
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@torch.inference_mode()
def test_an_image_gets_the_same_noise_alone_and_in_a_batch(network):
    x = torch.rand(3, 1, 64, 64)
    with noise_aware(network) as noisy:
        noisy.measure([x])
        together = noisy(x, "monte_carlo", sample=2)
        assert torch.allclose(noisy(x[1:2], "monte_carlo", sample=2), together[1:2], atol=1e-4)


def test_it_is_the_noise_of_the_noise_aware_unet():
    torch.manual_seed(0)
    own = NoiseAwareUNet(
        1, 1, {"noise_scale": 0.3, "noise_patterns": ["lattice"]}, width=4, depth=2
    )
    own.eval()
    plain = UNet(1, 1, width=4, depth=2).eval()
    weights = own.state_dict()
    plain.load_state_dict({k: v for k, v in weights.items() if "injector" not in k})
    injector = NeuralNoiseInjector(noise_scale=0.3, noise_patterns=["lattice"])
    noisy, x = noise_aware(plain, injector=injector), torch.rand(2, 1, 32, 32)
    ours = noisy(x, "monte_carlo", seed=3, sample=5)
    assert torch.equal(ours, own(x, "monte_carlo", seed=3, sample=5))
    assert not torch.equal(ours, plain(x))


def test_measuring_is_exact_and_does_not_depend_on_batches():
    network, x = vgg().eval(), torch.rand(6, 1, 32, 32)
    whole = noise_aware(network, ["2", "6"]).measure([x])
    parts = noise_aware(network, ["2", "6"]).measure(x.split(1))
    with torch.no_grad():
        h = network[:3](x)
    expected = h.double().std(dim=(0, 2, 3), correction=0)
    assert torch.allclose(whole.injector.std("2").double(), expected, rtol=1e-5)
    assert torch.allclose(whole.injector.mean("2").double(), h.double().mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(whole.injector.std("6"), parts.injector.std("6"), rtol=1e-5)


def test_gates_learn_through_any_network(network):
    frozen = {name: weight.clone() for name, weight in network.state_dict().items()}
    noisy = noise_aware(network, pattern=Pattern(length=16))
    assert noisy.injector.pattern == Pattern(length=16)
    loss = noisy(torch.rand(2, 1, 64, 64), "single").square().mean()
    loss.backward()
    gates = dict(noisy.injector.named_parameters())
    assert len(gates) == len(noisy.sites)
    assert all("gate" in name and gate.grad is not None for name, gate in gates.items())
    assert all(torch.equal(frozen[name], w) for name, w in network.state_dict().items())


def test_training_and_evaluation_choose_the_mode():
    network = UNet(1, 1, width=4, depth=2)
    noisy, x = noise_aware(network), torch.rand(2, 1, 32, 32)
    assert network.training
    noisy(x)
    assert noisy.injector.is_measured("skip1")
    network.eval()
    assert torch.equal(noisy(x), network(x))


def test_calibrated_noise_is_taken_as_it_is():
    network = UNet(1, 1, width=4, depth=1).eval()
    sites = {
        "skip1": {"gate": 0.3, "std": (1.0,) * 4},
        "bottleneck": {"gate": 0, "std": (1.0,) * 8},
    }
    injector = NeuralNoiseInjector.from_sites(sites)
    noisy, x = noise_aware(network, injector=injector), torch.rand(1, 1, 16, 16)
    assert not torch.equal(noisy(x, "monte_carlo"), network(x))
    with pytest.raises(SettingsError, match="channels at skip1"):
        noise_aware(UNet(1, 1, width=6, depth=1), injector=injector)
    with pytest.raises(SettingsError, match="one per network"):
        noise_aware(UNet(1, 1, width=4, depth=2), injector=injector)


def test_windows_of_one_image_see_one_field():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 1, 1)).eval()
    noisy = noise_aware(network, ["0"], pattern=Pattern(length=8))
    x, keys = torch.rand(1, 1, 24, 24), torch.tensor([5])
    whole = noisy(x, "single", keys=keys)
    origins = torch.tensor([[4.0, 12.0]])
    window = noisy(x[..., 4:12, 12:20], "single", keys=keys, origins=origins)
    assert torch.allclose(window, whole[..., 4:12, 12:20], atol=1e-5)
    assert not torch.allclose(window, network(x[..., 4:12, 12:20]), atol=1e-3)


@pytest.mark.parametrize(
    ("sites", "match"),
    [
        (["nowhere"], "nowhere"),
        ([], "at least one"),
        (["0", "0"], "each name once"),
        (["7[1]"], "one value"),
    ],
)
def test_wrong_sites_are_refused_and_leave_no_hooks(sites, match):
    network = vgg()
    with pytest.raises(SettingsError, match=match):
        noise_aware(network, sites)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(module.training for module in network.modules())


def test_a_site_that_a_pass_does_not_reach_is_refused():
    class Sidetrack(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(1, 1, 1))
            self.side = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self[0](x)

    with pytest.raises(SettingsError, match="not reached"):
        noise_aware(Sidetrack(), ["side"])


def test_no_images_and_weights_that_are_not_numbers():
    network = vgg().eval()
    noisy = noise_aware(network)
    with pytest.raises(SettingsError, match="at least one"):
        noisy.measure([])
    with torch.no_grad():
        network[0].weight.fill_(float("nan"))
    with pytest.raises(SettingsError, match="finite"):
        noisy.measure([torch.rand(1, 1, 32, 32)])


def test_it_is_a_public_name():
    assert penumbra.noise_aware is noise_aware


def test_the_guides_code_runs():
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "noise-any-network.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["probabilities"].shape == (4, 1, 64, 64)
    assert len({tuple(logits.flatten()[:3].tolist()) for logits in names["passes"]}) == 8
