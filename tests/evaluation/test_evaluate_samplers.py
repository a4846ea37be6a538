"""A run evaluated by several passes: what metrics.json and per_image.csv gain."""

import csv
import json

import pytest
import torch

from penumbra.data.phantom.write import make_phantom
from penumbra.evaluation.of_run import evaluate_run
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs that were not trained, and a phantom set that they can be evaluated on."""
    folder = tmp_path_factory.mktemp("samplers")
    make_phantom(folder / "set", count=6, size=32)
    for seed in range(2):
        torch.manual_seed(seed)
        details = {
            "preprocess": Preprocess(size=32, channels=1).model_dump(mode="json"),
            "class_names": ["background", "object"],
            "symmetry": "horizontal",
        }
        save_model(folder / f"run{seed}", UNet(1, 1, width=4, depth=2), details=details)
    return folder


def _evaluate(place, name, **options):
    out = place / name
    evaluate_run(place / "run0", f"folder:{place / 'set'}", out, split="all", **options)
    with (out / "per_image.csv").open(encoding="utf-8") as handle:
        return json.loads((out / "metrics.json").read_text(encoding="utf-8")), list(
            csv.DictReader(handle)
        )


def test_one_pass_has_no_samples(place):
    document, rows = _evaluate(place, "one")
    assert (document["sampler"], document["kept_samples"]) == ("deterministic", 0)
    assert "samples" not in document
    assert document["overall"]["joint_nll"] == pytest.approx(document["overall"]["nll"])
    assert document["truth"]["least_nll"]["mean"] < document["truth"]["expected_nll"]["mean"]
    assert document["readers"]["sample_diversity"]["mean"] == 0
    assert {"score_mean_entropy", "flagged", "area_low", "joint_nll"} <= set(rows[0])


@pytest.mark.parametrize(
    ("options", "passes"),
    [({"sampler": "augmentation:2"}, 2), ({"sampler": "ensemble", "members": ("run1",)}, 2)],
)
def test_passes_are_kept_and_judged(place, options, passes):
    if "members" in options:
        options = options | {"members": [place / name for name in options["members"]]}
    document, _ = _evaluate(place, options["sampler"].split(":")[0], **options)
    assert document["kept_samples"] == document["samples"]["passes"] == passes
    assert document["samples"]["joint_nll"] == document["overall"]["joint_nll"]
    assert document["overall"]["joint_nll"]["mean"] > 0
    assert document["readers"]["sample_diversity"]["mean"] > 0
    assert {"mutual_information", "variance"} <= set(document["risk"]["pixels"])


def test_without_kept_passes_there_is_no_joint_likelihood(place):
    document, _ = _evaluate(place, "unkept", sampler="augmentation:2", keep_samples=0)
    assert document["kept_samples"] == 0
    assert "samples" not in document
    assert document["overall"]["joint_nll"]["mean"] is None
    assert document["overall"]["nll"]["mean"] > 0
