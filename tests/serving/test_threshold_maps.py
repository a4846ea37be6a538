"""The map that an answer names is the one that its mask is cut from, whatever the passes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from penumbra.imaging.rle import decode_coco
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence import PresenceRule
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.serving.engine import load_engine
from penumbra.serving.messages import Job
from penumbra.serving.specs import ModelSpec, WorkerSettings

OTSU = "classical:otsu,foreground=bright"
MODES = {
    "own": {},
    "disabled": {"noise_mode": "disabled"},
    "single": {"noise_mode": "single", "noise_strength": 1.0},
    "ensemble": {"noise_mode": "ensemble", "noise_strength": 1.0, "samples": 3},
    "monte_carlo": {"noise_mode": "monte_carlo", "noise_strength": 1.0, "samples": 3},
    "sampler": {"sampler": "noise:2@1"},
}


def saved(folder, n_classes, names):
    torch.manual_seed(0)
    network = UNet(1, n_classes, width=8, depth=3).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, 32, 32))
    details = {"preprocess": {"size": 32}, "class_names": names}
    save_model(folder, network.eval(), details=details)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Untrained networks: of two classes, of three, and with a rule that takes islands off."""
    folder = tmp_path_factory.mktemp("cut")
    two = ["background", "nerve"]
    made = {
        "two": saved(folder / "two", 1, two),
        "three": saved(folder / "three", 3, [*two, "vessel"]),
        "ruled": saved(folder / "ruled", 1, two),
        "idle": saved(folder / "idle", 1, two),
    }
    PresenceRule(smallest=0.05).write(made["ruled"])
    PresenceRule().write(made["idle"])
    return made


@pytest.fixture(scope="module")
def engine(runs):
    specs = [ModelSpec(name=name, source=str(folder)) for name, folder in runs.items()]
    specs.append(ModelSpec(name="otsu", source=OTSU))
    return load_engine(specs, WorkerSettings(precision="fp32"))


@pytest.fixture(scope="module")
def upload():
    coarse = np.random.default_rng(1).integers(0, 255, (6, 8)).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(np.kron(coarse, np.ones((8, 8), np.uint8))).save(target, format="PNG")
    return target.getvalue()


@pytest.fixture
def ask(engine, upload):
    def asked(model="two", **options):
        given = {"outputs": ["mask", "probability", "mask_probability"], "bits": 16} | options
        job = Job(id="a", kind="segment", model=model, upload=upload, options=given)
        (answer,) = engine.handle([job])
        return answer

    return asked


def levels(answer, name="mask_probability"):
    return np.asarray(Image.open(io.BytesIO(answer.files[f"{name}.png"]))).astype(np.int64)


def mask_of(answer):
    return decode_coco(answer.document["masks"][0]["rle"]).astype(bool)


def holds(mask, found, threshold, top=65535):
    """Whether a mask is a map cut at a threshold, but for pixels within half a level of it."""
    exact = threshold * top
    near = np.abs(found - exact) <= 0.5 + 1e-3
    return np.array_equal(mask[~near], (found >= exact)[~near])


@pytest.mark.parametrize("mode", MODES)
def test_the_mask_is_the_cut_of_the_map_at_any_threshold(ask, mode):
    first = ask(**MODES[mode])
    found = levels(first)
    assert first.document["threshold_map"] == "mask_probability"
    assert first.document["maps"]["mask_probability"]["scale"] == [0.0, 1.0]
    assert holds(mask_of(first), found, first.document["threshold"])
    for threshold in np.quantile(found, [0.2, 0.6, 0.9]) / 65535:
        other = ask(threshold=float(threshold), **MODES[mode])
        assert 0 < mask_of(other).mean() < 1
        assert holds(mask_of(other), found, threshold)
        assert np.array_equal(levels(other), found)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_probability_unless_the_mask_is_of_the_undisturbed_pass(ask, mode, bits):
    answer = ask(bits=bits, **MODES[mode])
    of_another_pass = mode in ("monte_carlo", "sampler")
    same = np.array_equal(levels(answer), levels(answer, "probability"))
    assert same != of_another_pass
    packed = ask(accept="npz", outputs=["mask"], **MODES[mode])
    arrays = np.load(io.BytesIO(packed.files["arrays.npz"]), allow_pickle=False)
    assert ("mask_probability" in arrays) == of_another_pass
    packed = ask(accept="npz", **MODES[mode])
    arrays = np.load(io.BytesIO(packed.files["arrays.npz"]), allow_pickle=False)
    assert arrays["mask_probability"].dtype == np.float32
    cut = arrays["mask_probability"] >= np.float32(packed.document["threshold"])
    assert np.array_equal(arrays["mask"], cut)


@pytest.mark.parametrize("model", ["three", "ruled"])
@pytest.mark.parametrize("mode", ["disabled", "monte_carlo"])
def test_no_map_is_named_where_none_alone_gives_the_mask(ask, model, mode):
    answer = ask(model, **MODES[mode])
    assert answer.document["threshold_map"] is None
    assert levels(answer).shape == (48, 64)


@pytest.mark.parametrize("model", ["idle", "otsu"])
def test_it_is_named_with_a_rule_that_does_nothing_and_for_a_classical_method(ask, model):
    answer = ask(model)
    assert answer.document["threshold_map"] == "mask_probability"
    assert holds(mask_of(answer), levels(answer), answer.document["threshold"])


def test_a_streams_last_estimate_says_what_the_whole_says(ask, engine, upload):
    options = {"outputs": ["mask", "mask_probability"], "bits": 16, "stream": True,
               "tolerance": 0.0, **MODES["monte_carlo"]}  # fmt: skip
    job = Job(id="s", kind="uncertainty", model="two", upload=upload, options=options)
    *_, last = engine.handle([job])
    assert np.array_equal(levels(last), levels(ask(**MODES["monte_carlo"])))
    assert holds(mask_of(last), levels(last), last.document["threshold"])


def test_nothing_is_held_twice_where_the_mask_is_of_the_probabilities(runs):
    predictor = Predictor.load(runs["two"], precision="fp32")
    image = np.zeros((32, 32, 1), np.uint8)
    plain = predictor([image])[0]
    assert plain.mask_probabilities is None
    assert np.shares_memory(plain.mask_probability, plain.probabilities)
    assert plain.cut_at == predictor.threshold
    mean = predictor.using(sampler="noise:2@1", mask_from="mean")([image])[0]
    assert mean.mask_probabilities is None
