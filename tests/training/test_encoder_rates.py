"""Weights to begin with, frozen levels, levels that learn slower."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from penumbra.errors import ModelError, SettingsError
from penumbra.inference.predictor import Predictor
from penumbra.models.catalogue import build_model
from penumbra.models.vgg.layout import feature_shapes
from penumbra.training.encoder import encoder_levels, frozen_parts, slower_parts
from penumbra.training.experiment import Experiment, TrainingSettings
from penumbra.training.loop import train
from penumbra.training.module import make_optimizer
from penumbra.training.plan import make_plan

SMALL = [
    "model.name=vgg16-unet",
    "model.arguments={width: 2, decoder_width: 2, batch_norm: true}",
]


def small(name="vgg16-unet", **arguments):
    return build_model(name, n_channels=1, n_classes=1, width=2, **arguments)


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_levels_hold_all_of_the_encoder_and_nothing_else():
    for model, prefix in (
        (small(batch_norm=True), ("encoder.",)),
        (small("unet"), ("inc", "down")),
    ):
        levels = encoder_levels(model)
        held = {id(p) for level in levels for part in level for p in part.parameters()}
        wanted = {id(p) for n, p in model.named_parameters() if n.startswith(prefix)}
        assert held == wanted
        assert len(levels) == 5


@pytest.mark.parametrize(("freeze", "frozen"), [(0, 0), (1, 2), (3, 7), ("encoder", 13)])
def test_freezing_counts_from_the_image(freeze, frozen):
    model = small()
    frozen_parts(model, TrainingSettings(freeze=freeze))
    still = [name for name, p in model.named_parameters() if not p.requires_grad]
    weights = [f"encoder.features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    assert still == [f"{n}.{kind}" for n in weights[:frozen] for kind in ("weight", "bias")]


@pytest.mark.parametrize("freeze", [2, "encoder"])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(tiny, tmp_path, freeze):
    frozen = tiny.with_settings([*SMALL, f"training.freeze={freeze}"])
    before = make_plan(frozen).build_network().state_dict()
    train(frozen, tmp_path / "run")
    after = changed(before, load_file(tmp_path / "run" / "model.safetensors"))
    kept = [f"encoder.features.{n}." for n in (0, 1, 3, 4, 7, 8, 10, 11)]
    assert not [name for name in after if name.startswith(tuple(kept))]
    assert ("encoder.features.14.weight" in after) == (freeze == 2)
    assert ("encoder.features.15.running_mean" in after) == (freeze == 2)
    assert {"up.0.conv.0.weight", "up.0.conv.1.running_mean", "outc.weight"} <= after


def test_rates_fall_towards_the_image():
    model = small()
    settings = TrainingSettings(encoder_rate=0.1, rate_decay=0.5, learning_rate=1e-2)
    slower = slower_parts(model, settings)
    assert [rate for _, rate in slower] == pytest.approx([0.1 * 0.5**k for k in (4, 3, 2, 1, 0)])
    parameters = list(model.parameters())
    made = make_optimizer("adamw", parameters, settings, slower=slower)
    grouped = [id(p) for group in made.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in parameters)
    rates = {id(p): g.get("rate", 1.0) for g in made.param_groups for p in g["params"]}
    assert rates[id(model.encoder.features[0].weight)] == pytest.approx(0.1 / 16)
    assert rates[id(model.encoder.features[28].bias)] == pytest.approx(0.1)
    assert rates[id(model.outc.weight)] == 1.0
    assert all(not g["weight_decay"] for g in made.param_groups if g["params"][0].ndim < 2)


def test_frozen_levels_are_in_no_group():
    model = small()
    settings = TrainingSettings(encoder_rate=0.1, freeze=4)
    frozen_parts(model, settings)
    (weights, rate), *others = slower_parts(model, settings)
    assert others == []
    assert rate == pytest.approx(0.1)
    assert weights[0] is model.encoder.features[24].weight


def test_a_slow_encoder_moves_less(tiny, tmp_path):
    moved = {}
    for rate in (1.0, 1e-3):
        slow = tiny.with_settings(
            [*SMALL, f"training.encoder_rate={rate}", "training.optimizer=sgd",
             "training.learning_rate=0.001"]
        )  # fmt: skip
        before = make_plan(slow).build_network().state_dict()
        train(slow, tmp_path / str(rate))
        after = load_file(tmp_path / str(rate) / "model.safetensors")
        name = "encoder.features.40.weight"
        moved[rate] = float((after[name] - before[name]).norm())
    assert 0 < moved[1e-3] < 0.02 * moved[1.0]


def test_a_resumed_run_with_a_frozen_slow_encoder_ends_the_same(tiny, tmp_path):
    own = tiny.with_settings([*SMALL, "training.freeze=1", "training.rate_decay=0.5",
                              "training.schedule=constant"])  # fmt: skip
    train(own.with_settings(["training.epochs=3"]), tmp_path / "whole")
    train(own, tmp_path / "cut")
    train(Experiment.parse({"training": {"epochs": 3}}), tmp_path / "cut", resume=True)
    last = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    ]
    assert not changed(*last)


def test_what_cannot_be_frozen_is_said():
    unknown = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(SettingsError, match="at most 5"):
        frozen_parts(small(), TrainingSettings(freeze=6))
    with pytest.raises(SettingsError, match="which part is its encoder"):
        frozen_parts(unknown, TrainingSettings(freeze=1))
    with pytest.raises(SettingsError, match="which part is its encoder"):
        slower_parts(unknown, TrainingSettings(rate_decay=0.5))


@pytest.mark.parametrize(
    "change", ["freeze=-1", "freeze=decoder", "encoder_rate=0", "rate_decay=1.5"]
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(SettingsError, match="Expected training"):
        Experiment().with_settings([f"training.{change}"])


class TestWeightsToBeginWith:
    @pytest.fixture
    def file(self, tmp_path):
        generator = torch.Generator().manual_seed(3)
        tensors = {
            f"features.{name}": 0.02 * torch.randn(shape, generator=generator)
            for name, shape in feature_shapes(16).items()
        }
        save_file(tensors, tmp_path / "vgg16.safetensors")
        return tmp_path / "vgg16.safetensors"

    @pytest.fixture
    def experiment(self, tiny, file):
        return tiny.with_settings(
            ["model.name=vgg16-unet", f"model.weights={file}", "training.freeze=encoder",
             "training.epochs=1", "training.samples_per_epoch=4", "model.arguments={}"]
        )  # fmt: skip

    def test_a_run_begins_with_them_and_needs_them_no_more(self, experiment, file, tmp_path):
        train(experiment, tmp_path / "run")
        wanted = load_file(file)["features.28.weight"]
        file.unlink()
        stored = load_file(tmp_path / "run" / "model.safetensors")
        assert torch.equal(stored["encoder.features.28.weight"], wanted)
        Predictor.load(tmp_path / "run")
        more = Experiment.parse({"training": {"epochs": 2}})
        assert train(more, tmp_path / "run", resume=True).epochs == 2

    def test_a_wrong_variant_leaves_no_run_behind(self, experiment, tmp_path):
        wrong = experiment.with_settings(["model.arguments.batch_norm=true"])
        with pytest.raises(ModelError, match="vgg16_bn, but got those of vgg16"):
            train(wrong, tmp_path / "run")
        assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())

    def test_another_network_takes_none(self, experiment, tmp_path):
        with pytest.raises(ModelError, match="takes weights from elsewhere"):
            train(experiment.with_settings(["model.name=unet"]), tmp_path / "run")
