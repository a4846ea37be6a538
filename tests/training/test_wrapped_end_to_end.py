"""A network of another package through everything: train, tiles, noise, evaluation."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.errors import ModelError, NotFiniteError, PenumbraError
from penumbra.evaluation.cases import predicted_cases
from penumbra.evaluation.of_run import evaluate_run
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.wrap import Wrapped
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.plan import make_plan

SEGFORMER = {
    "target": "transformers.SegformerForSemanticSegmentation",
    "build": "config", "output": "logits", "stride": 4,
    "keywords": {
        "num_channels": 1, "num_labels": 1, "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2], "decoder_hidden_size": 16,
    },
}  # fmt: skip


class Sour(nn.Module):
    """Finite on anything but an image with very bright pixels."""

    def __init__(self, limit=4.0):
        super().__init__()
        self.conv, self.limit = nn.Conv2d(1, 1, 3, padding=1), limit

    def forward(self, x):
        return self.conv(x) + torch.where(x.amax() > self.limit, torch.nan, 0.0)


@pytest.fixture
def sour(monkeypatch):
    monkeypatch.setattr(torch.nn, "Sour", Sour, raising=False)
    return "torch.nn.Sour"


def experiment(tiny, arguments):
    document = tiny.model_dump(mode="json")
    document["model"] = {"name": "wrap", "arguments": arguments}
    return Experiment.parse(document)


@pytest.fixture(scope="module")
def spike():
    image = np.full((24, 30, 1), 10, dtype=np.uint8)
    image[3, 4] = 255
    return image


def test_a_segformer_goes_all_the_way(tiny, tmp_path):
    pytest.importorskip("transformers")
    trained = train(experiment(tiny, SEGFORMER), tmp_path / "run")
    assert trained.epochs == 2
    # Noise proper needs a calibration; that it goes in and out is in tests/models.
    noisy = Predictor.load(tmp_path / "run", sampler="multiplicative:2")
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 1), dtype=np.uint8)
    (found,) = noisy([image])
    assert found.probabilities.shape == (2, 50, 70)
    assert found.uncertainty["mutual_information"].max() > 0
    scored = evaluate_run(tmp_path / "run", str(tiny.source), tmp_path / "out")
    assert scored.evaluation.n_images > 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "SegformerForSemanticSegmentation" in report


def test_an_image_that_gives_nan_is_named_and_refused(sour, spike):
    network = Wrapped(1, 1, target=sour)
    predictor = Predictor(
        network, preprocess=Preprocess(size=32), class_names=("background", "cell")
    )
    with pytest.raises(NotFiniteError, match="NaN or infinity for this image"):
        predictor([spike])
    flat = np.zeros_like(spike)
    assert predictor([flat])[0].mask.shape == (24, 30)


def test_predict_names_the_file_that_gives_nan(sour, spike, tmp_path):
    details = {"preprocess": {"size": 32, "channels": 1}, "class_names": ["background", "cell"]}
    save_model(tmp_path / "run", Wrapped(1, 1, target=sour), details=details)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(spike[..., 0]).save(folder / "spike.png")
    Image.fromarray(np.zeros_like(spike[..., 0])).save(folder / "flat.png")
    words = ["predict", str(tmp_path / "run"), str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1, done.output
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["kind"] == "not-finite"
    assert finding["message"].startswith(f"{folder / 'spike.png'}: Expected")
    assert (tmp_path / "out" / "flat_mask.png").is_file()


def test_an_evaluation_goes_on_after_it(sour, phantom):
    source = open_source(f"folder:{phantom}")
    network = Wrapped(1, 1, target=sour, keywords={"limit": 3.0})
    predictor = Predictor(network, preprocess=Preprocess(size=32), class_names=source.class_names)
    cases = list(predicted_cases(source, predictor))
    assert len(cases) == len(source)
    kinds = {getattr(case, "kind", "scored") for case in cases}
    assert kinds == {"scored", "not-finite"}


def test_a_network_that_learns_nan_ends_in_one_sentence(sour, tiny, tmp_path):
    bad = experiment(tiny, {"target": sour, "keywords": {"limit": 1.5}})
    with pytest.raises(PenumbraError, match=r"finite.* Try "):
        train(bad, tmp_path / "run")


def test_a_wrong_declaration_is_known_before_training(tiny, tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(PenumbraError, match="output: logits"):
        train(experiment(tiny, SEGFORMER | {"output": "tensor"}), tmp_path / "run")
    assert not (tmp_path / "run" / "model.json").exists()


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own_network.md"


@pytest.mark.parametrize("number", [0, 1])
def test_the_pages_examples_fit_a_set_in_colour(number, tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r'```(?:yaml|python) title="(\S+)"\n(.*?)```', text, re.DOTALL)
    (module,) = (body for name, body in blocks if name == "my_nets.py")
    (tmp_path / "my_nets.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    example = [body for name, body in blocks if name == "experiment.yaml"][number]
    if "monai" in example:
        pytest.importorskip("monai")
    file = tmp_path / "experiment.yaml"
    file.write_text(example)
    colour = make_phantom(tmp_path / "set", count=14, size=32, kinds=("card",))
    experiment = Experiment.read(file).with_settings([f"source=folder:{colour}", "image.size=32"])
    network = make_plan(experiment).build_network()
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)
    # Without the page's image.channels the error says it.
    bare = experiment.with_settings(["image.channels=auto"])
    with pytest.raises(ModelError, match=r"Try image\.channels: 1"):
        make_plan(bare).build_network()
