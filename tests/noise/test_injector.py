from types import SimpleNamespace

import pytest
import torch

from penumbra.errors import ModelError, SettingsError
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.storage import load_model, save_model
from penumbra.models.unet.unet import UNet
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.noise.patterns import Pattern

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
    # Passes of a trained network have the whole scale; what decays is the training's.
    assert torch.equal(injector(h, "skip1", keys=KEYS), first)


def test_decay_is_a_schedule_of_the_training():
    h = torch.linspace(-1, 1, 2 * 3 * 256).view(2, 3, 16, 16)
    added = []
    for epoch in (0, 2):
        fresh = NeuralNoiseInjector(noise_scale=0.5, noise_decay=0.5)
        fresh.add_site("skip1", channels=3)
        fresh.set_epoch(epoch)
        added.append((fresh(h, "skip1", keys=KEYS, mode="training") - h).detach())
    assert torch.allclose(added[1], added[0] / 4, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"noise_scale": -1},
        {"noise_decay": 0},
        {"noise_decay": 1.1},
        {"noise_patterns": ["brown"]},
        {"noise_patterns": []},
        {"edge_weight": 1.5},
        {"gates": "loud"},
        {"patterns": {"skip1": {"name": "lattice", "length": -1}}},
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
    with pytest.raises(SettingsError, match="gaussian"):
        injector.pattern = "brown"


@pytest.mark.parametrize("pattern", ["gaussian", "lattice", "perlin", "simplex"])
def test_every_pattern_has_the_stated_size(pattern):
    injector = NeuralNoiseInjector(noise_scale=0.5, noise_patterns=[pattern, "gaussian"])
    injector.add_site("skip1", channels=8)
    injector.pattern = Pattern(name=pattern, length=4)
    added = injector(torch.zeros(64, 8, 32, 32), "skip1", keys=torch.arange(64))
    assert added.std().item() == pytest.approx(0.25, rel=0.03)


def test_the_sketchs_modes_and_a_training_step():
    injector = NeuralNoiseInjector(
        noise_scale=0.1, noise_decay=0.95, noise_patterns=["gaussian", "perlin", "simplex"]
    )
    model = NoiseAwareUNet(n_channels=3, n_classes=1, noise_injector=injector, width=4)
    x, mask = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    logits = model(x, noise_mode="training")
    torch.nn.functional.binary_cross_entropy_with_logits(logits, mask).backward()
    gates = [p for name, p in model.named_parameters() if "gate" in name]
    assert len(gates) == 5
    assert all(p.grad is not None and p.grad != 0 for p in gates)
    model.eval()
    plain = model(x, noise_mode="disabled")
    for mode in ("inference_ensemble", "monte_carlo", "single"):
        assert not torch.equal(model(x, noise_mode=mode), plain)


def test_sites_have_their_own_patterns(injector):
    injector.set_pattern("skip1", Pattern(name="lattice", length=64))
    assert injector.pattern_of("skip1").length == 64
    assert injector.pattern_of("bottleneck").name == "gaussian"
    added = injector(torch.zeros(1, 3, 32, 32), "skip1", keys=KEYS[:1])
    # cells are longer than the window, so neighbours hardly differ
    assert (added[..., 1:, :] - added[..., :-1, :]).std() < 0.1 * added.std()
    with pytest.raises(SettingsError, match="skip1, bottleneck"):
        injector.set_pattern("skip9", "lattice")


def test_the_menu_is_kept():
    injector = NeuralNoiseInjector(noise_patterns=["gaussian"])
    with pytest.raises(SettingsError, match="noise_patterns"):
        injector.pattern = "perlin"


def test_antithetic_pairs_cancel():
    injector = NeuralNoiseInjector(antithetic=True)
    injector.add_site("skip1", channels=3)
    h = torch.zeros(2, 3, 8, 8)
    passes = [
        injector(h, "skip1", keys=KEYS, mode="monte_carlo", sample=sample) for sample in range(4)
    ]
    assert torch.equal(passes[0], -passes[1])
    assert torch.equal(passes[2], -passes[3])
    assert not torch.equal(passes[0].abs(), passes[2].abs())


def test_noise_at_a_site_does_not_depend_on_the_others():
    alone = NeuralNoiseInjector()
    alone.add_site("bottleneck", channels=3)
    both = NeuralNoiseInjector()
    both.add_site("skip1", channels=3)
    both.add_site("bottleneck", channels=3)
    h = torch.zeros(2, 3, 8, 8)
    assert torch.equal(alone(h, "bottleneck", keys=KEYS), both(h, "bottleneck", keys=KEYS))


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_edges_draw_the_noise_and_keep_its_size(weight):
    injector = NeuralNoiseInjector(noise_scale=2.0, edge_weight=weight)
    injector.add_site("skip1", channels=64)
    h = torch.zeros(1, 64, 32, 32)
    h[..., 16:] = 1
    added = injector(h, "skip1", keys=KEYS[:1]) - h
    by_column = added.square().mean(dim=(0, 1, 2))
    assert by_column.mean().item() == pytest.approx(1.0, rel=0.1)
    assert by_column[15:17].min() > 4 * by_column[:8].max()
    constant = injector(torch.ones_like(h), "skip1", keys=KEYS[:1]) - 1
    assert constant.std().item() == pytest.approx(1.0, rel=0.05)


def test_a_gate_that_is_a_map_follows_its_formula():
    settings = {
        "std": (1.0, 2.0), "mean": (0.5, -1.0), "gate_weight": (0.3, -0.7), "gate_bias": 0.2
    }  # fmt: skip
    injector = NeuralNoiseInjector.from_sites({"down.1": settings})
    h = torch.randn(2, 2, 5, 4)
    standard = (h - torch.tensor([0.5, -1.0]).view(2, 1, 1)) / torch.tensor([1.0, 2.0]).view(
        2, 1, 1
    )
    weighed = 0.3 * standard[:, :1] - 0.7 * standard[:, 1:]
    wanted = torch.log(1 + torch.exp(weighed + 0.2))
    assert torch.allclose(injector.gate("down.1", h), wanted, atol=1e-5)
    flat = NeuralNoiseInjector.from_sites({"down.1": {"std": (1.0, 2.0), "gate": 1.0}})
    noise = flat(torch.zeros_like(h), "down.1", keys=KEYS)
    assert torch.allclose(injector(h, "down.1", keys=KEYS), h + wanted * noise, atol=1e-5)
    with pytest.raises(SettingsError, match="gate"):
        injector.gate("down.1")


def test_maps_learn():
    model = NoiseAwareUNet(1, 1, {"gates": "map"}, width=4, depth=1)
    model(torch.rand(2, 1, 16, 16), "training").square().mean().backward()
    gates = {name: p for name, p in model.named_parameters() if "gate" in name}
    assert len(gates) == 4
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in gates.values())


def test_given_sites_are_as_given():
    site = SimpleNamespace(
        gate=1.5, std=(2.0, 0.0), pattern=Pattern(length=4), gate_weight=(), gate_bias=0.0, mean=()
    )
    injector = NeuralNoiseInjector.from_sites({"skip1": site})
    assert injector.antithetic
    assert not any(p.requires_grad for p in injector.parameters())
    injector.require_measured()
    keys = torch.arange(200)
    added = injector(torch.zeros(200, 2, 16, 16), "skip1", keys=keys, mode="monte_carlo")
    assert added[:, 0].std().item() == pytest.approx(3.0, rel=0.03)
    assert bool((added[:, 1] == 0).all())
    with pytest.raises(SettingsError, match="at least 0"):
        NeuralNoiseInjector.from_sites({"skip1": {"gate": -1, "std": (1.0,)}})
    with pytest.raises(SettingsError, match="finite"):
        NeuralNoiseInjector.from_sites({"skip1": {"gate": 1, "std": (float("nan"),)}})


def test_without_statistics_noise_has_no_measure(injector):
    injector.measure("skip1", torch.randn(1, 3, 4, 4))
    with pytest.raises(SettingsError, match="bottleneck"):
        injector.require_measured()
    injector.store("bottleneck", std=torch.ones(3))
    injector.require_measured()


def test_settings_rebuild_the_injector(tmp_path):
    model = NoiseAwareUNet(1, 1, {"antithetic": True, "edge_weight": 0.5}, width=2, depth=1)
    model.noise_injector.set_pattern("skip1", Pattern(name="perlin", length=8, octaves=2))
    model(torch.rand(1, 1, 8, 8), "training")
    save_model(tmp_path, model)
    again, _ = load_model(tmp_path)
    assert again.noise_injector.settings == model.noise_injector.settings
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(again(x, "single"), model.eval()(x, "single"))


def test_weights_from_before_means_were_stored_load(tmp_path):
    model = NoiseAwareUNet(1, 1, width=2, depth=1)
    old = {name: v for name, v in model.state_dict().items() if ".mean_" not in name}
    assert len(old) == len(model.state_dict()) - 2
    fresh = NoiseAwareUNet(1, 1, {"noise_patterns": ["gaussian", "perlin"]}, width=2, depth=1)
    fresh.load_state_dict(old)
    assert torch.equal(fresh.noise_injector.mean("skip1"), torch.zeros(2))


def test_windows_of_an_image_see_the_same_noise():
    injector = NeuralNoiseInjector(noise_patterns=["lattice"])
    injector.add_site("skip2", channels=3)
    h, settings = torch.zeros(1, 3, 16, 16), {"keys": KEYS[:1], "stride": 2.0}
    whole = injector(h, "skip2", **settings)
    part = injector(h[..., :8, :8], "skip2", origins=torch.tensor([[8.0, 4.0]]), **settings)
    assert torch.allclose(whole[..., 4:12, 2:10], part, atol=1e-6)


def test_half_precision_keeps_its_type():
    injector = NeuralNoiseInjector(edge_weight=0.5)
    injector.add_site("skip1", channels=2)
    h = torch.randn(1, 2, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert injector(h, "skip1", keys=KEYS[:1]).dtype == torch.bfloat16
        assert injector(h.float(), "skip1", keys=KEYS[:1]).dtype == torch.float32


def test_one_injector_per_network(injector):
    with pytest.raises(ModelError, match="one injector per network"):
        NoiseAwareUNet(1, 1, injector, width=2)
