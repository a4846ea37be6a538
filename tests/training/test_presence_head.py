"""A presence head: trained jointly, kept with the run, asked wherever the run is used."""

import json
import shutil

import numpy as np
import pytest
import torch

from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.errors import ModelError, RunError
from penumbra.inference.calibration import Calibration
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence import PRESENCE_FILE, PresenceRule
from penumbra.models.catalogue import build_model
from penumbra.models.presence import PresenceWatch, attach_presence, head_of, watched
from penumbra.models.storage import WEIGHTS_FILE, load_model, save_model
from penumbra.models.weights import digest_of
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.presence import presence_loss


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("presence") / "set", count=40, size=48, seed=3,
                        kinds=("ultrasound",))  # fmt: skip


def experiment(source, **training):
    return Experiment().with_settings(
        [
            f"source=folder:{source}", "model.presence=true", "model.arguments.width=6",
            "model.arguments.depth=3", "image.size=48", "split.fractions=[0.6,0.3,0.1]",
            *(f"training.{key}={value}" for key, value in
              ({"epochs": 3, "samples_per_epoch": 48, "threads": 1} | training).items()),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presence") / "run"
    train(experiment(phantom), folder)
    return folder


def test_the_phantom_has_frames_without_foreground(phantom):
    empty = [not sample.mask.any() for sample in open_source(f"folder:{phantom}")]
    assert 5 <= sum(empty) <= 35


def test_a_run_keeps_head_and_rule(run, phantom):
    model, document = load_model(run)
    assert document["presence"]["features"] == "down.2"
    assert head_of(model).channels == 6 * 2**3
    rule = PresenceRule.read(run)
    assert rule.score == "head"
    assert rule.record["n_empty"] > 0
    assert rule.record["dice_after"] >= rule.record["dice_before"]
    predictor = Predictor.load(run)
    for sample in list(open_source(f"folder:{phantom}"))[:6]:
        (found,) = predictor([sample.image])
        assert 0 <= found.presence <= 1
        assert found.emptied <= (found.presence < rule.threshold)
        if found.presence < rule.threshold:
            assert not found.mask.any()


def test_the_rule_is_left_aside_where_calibration_is(run, phantom):
    sample = open_source(f"folder:{phantom}")[0]
    high = PresenceRule(score="head", threshold=1.5)
    assert not Predictor.load(run, presence=high, threshold=0.01)([sample.image])[0].mask.any()
    bare = [Predictor.load(run, threshold=0.01, **{name: False})([sample.image])[0]
            for name in ("presence", "calibration")]  # fmt: skip
    assert bare[0].mask.any()
    assert (bare[0].mask == bare[1].mask).all()


def test_an_image_says_the_same_alone_in_a_batch_and_under_samplers(run, phantom):
    images = [sample.image for sample in list(open_source(f"folder:{phantom}"))[:3]]
    predictor = Predictor.load(run)
    alone = [predictor([image])[0].presence for image in images]
    assert [found.presence for found in predictor(images)] == alone
    turned = Predictor.load(run, sampler="augmentation", symmetry="horizontal")
    assert [found.presence for found in turned(images)] == alone
    both = Predictor.load(run, members=[run], sampler="ensemble")
    assert [found.presence for found in both(images)] == pytest.approx(alone)
    assert len(set(alone)) > 1


def test_of_tiles_the_surest_counts(run):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (48, 130, 1), dtype=np.uint8)
    predictor = Predictor.load(run, presence=False)
    seen = []
    watch = PresenceWatch(predictor.engine.module)
    original = predictor.take_presence

    def noted():
        found = original()
        seen.extend(found)
        return found

    predictor.take_presence = noted
    (found,) = predictor([wide])
    watch.remove()
    assert len(seen) > 1
    assert found.presence == max(seen)


def test_a_rule_of_other_weights_or_without_a_head_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="other ones"):
        PresenceRule(weights="other").check_weights("mine")
    plain = build_model("unet", n_channels=1, n_classes=1, width=4, depth=2)
    described = Predictor.load(run).preprocess
    with pytest.raises(RunError, match="presence head"):
        Predictor(plain, preprocess=described, class_names=("a", "b"),
                  presence=PresenceRule(score="head", threshold=0.5))  # fmt: skip
    (tmp_path / PRESENCE_FILE).write_text(json.dumps({"version": 99}))
    with pytest.raises(RunError, match="newer version"):
        PresenceRule.read(tmp_path)
    (tmp_path / PRESENCE_FILE).write_text('{"threshold": -1}')
    with pytest.raises(RunError, match=r"a presence rule"):
        PresenceRule.read(tmp_path)


def test_a_resumed_run_chooses_anew_whatever_calibration_lies_there(run, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    Calibration(weights="those before").write(again)
    train(Experiment.parse({"training": {"epochs": 4}}), again, resume=True)
    rule = PresenceRule.read(again)
    assert rule.weights == digest_of(again / WEIGHTS_FILE)
    assert rule.weights != PresenceRule.read(run).weights


CATALOGUE = [
    ("unet", {"width": 4, "depth": 2}, None),
    ("noise-unet", {"width": 4, "depth": 2}, None),
    ("ssn-unet", {"width": 4, "depth": 2, "rank": 2}, None),
    ("vgg16-unet", {"width": 2, "decoder_width": 2}, None),
    (
        "wrap",
        {
            "target": "monai.networks.nets.BasicUNet",
            "keywords": {"spatial_dims": 2, "in_channels": 1, "out_channels": 1,
                         "features": [4, 4, 8, 8, 8, 4]},
        },
        "module.down_4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "features"), CATALOGUE)
def test_any_network_takes_a_head_and_answers_as_before(name, arguments, features, tmp_path):
    model = build_model(name, n_channels=1, n_classes=1, **arguments).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        before = model.eval()(x)
    model.train()
    attach_presence(model, features=features)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    save_model(tmp_path, model)
    again, document = load_model(tmp_path)
    assert document["architecture"] == name
    with torch.no_grad(), watched(again) as watch, watched(model.eval()) as other:
        assert torch.equal(again(x), before)
        model(x)
        found, same = watch.take(), other.take()
    assert found.shape == (2,)
    assert torch.equal(found, same)
    assert watch.take() is None


@pytest.mark.parametrize(
    ("arguments", "features", "said"),
    [
        ({"target": "torch.nn.Conv2d", "keywords": {"in_channels": 1, "out_channels": 1,
                                                     "kernel_size": 1}}, None, "names its encoder"),
        ({"target": "torch.nn.Conv2d", "keywords": {"in_channels": 1, "out_channels": 1,
                                                     "kernel_size": 1}}, "nowhere", "submodule"),
    ],
)  # fmt: skip
def test_features_out_of_reach_are_said(arguments, features, said):
    with pytest.raises(ModelError, match=said):
        attach_presence(build_model("wrap", n_channels=1, n_classes=1, **arguments),
                        features=features)  # fmt: skip


def test_a_foreign_description_is_refused(tmp_path):
    model = build_model("unet", n_channels=1, n_classes=1, width=4, depth=2)
    attach_presence(model)
    save_model(tmp_path, model)
    path = tmp_path / "model.json"
    document = json.loads(path.read_text())
    for bad in ([1], {"features": "nowhere", "channels": 16, "hidden": 64},
                {"features": "down.1", "channels": -1, "hidden": 64}):  # fmt: skip
        path.write_text(json.dumps(document | {"presence": bad}))
        with pytest.raises(ModelError, match=r"presence|at least 1"):
            load_model(tmp_path)


def test_the_loss_is_binary_cross_entropy_over_images_that_count():
    rng = np.random.default_rng(1)
    mask = torch.from_numpy(rng.choice([0, 0, 0, 255], (6, 4, 4)))
    mask[0, 1, 1], mask[3, 0, 0], mask[5] = 1, 2, 255
    logits = torch.from_numpy(rng.normal(size=6))
    p = 1 / (1 + np.exp(-logits.numpy()))
    present = [True, False, False, True, False]
    terms = [-np.log(q if there else 1 - q) for q, there in zip(p, present, strict=False)]
    assert float(presence_loss(logits, mask)) == pytest.approx(np.mean(terms))
    assert float(presence_loss(logits, torch.full_like(mask, 255))) == 0.0
