"""Filters in an experiment: read, resolved, trained with, and kept with the weights."""

import json

import numpy as np
import pytest

from penumbra.data.layouts import open_source
from penumbra.errors import SettingsError
from penumbra.imaging.filters import FilterChain
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess, to_working
from penumbra.training.batches import CropKey, CropSet, WorkingSet
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.plan import make_plan
from penumbra.training.run import Run
from penumbra.training.validation import validate

YAML = """
image:
  size: 32
  filters: [clahe, {sobel: {mode: blend, weight: 0.3}}]
"""
CHAIN = FilterChain.parse(["clahe", {"sobel": {"mode": "blend", "weight": 0.3}}])


def test_filters_are_a_line_of_the_experiment(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(YAML, encoding="utf-8")
    experiment = Experiment.read(path)
    assert experiment.image.filters == CHAIN
    path.write_text(experiment.to_yaml(), encoding="utf-8")
    assert Experiment.read(path) == experiment
    changed = Experiment().with_settings(["image.filters=[canny]", "image.size=64"])
    assert changed.image.filters == FilterChain.parse("canny")
    assert not Experiment.parse({"image": {"size": 32}}).image.filters


@pytest.mark.parametrize(
    ("filters", "said"),
    [("[sobell]", "Try 'sobel'"), ("[{clahe: {clips: 2}}]", "Try 'clip'"), ("3", "a list")],
)
def test_mistakes_in_the_line_are_named(tmp_path, filters, said):
    path = tmp_path / "experiment.yaml"
    path.write_text(f"image: {{filters: {filters}}}", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Experiment.read(path)
    assert said in str(caught.value)


def test_crops_are_windows_of_the_filtered_image(phantom):
    source = open_source(f"folder:{phantom}")
    crops = CropSet(WorkingSet(source, Preprocess(size=16, filters=CHAIN)), foreground_crops=0.0)
    whole = CHAIN.apply(source[0].image).astype(np.float64)
    cut, _ = crops[CropKey(0, 5)]
    rng = np.random.default_rng(5)
    top, left = (int(rng.integers(0, 17)) for _ in range(2))
    window = whole[top : top + 16, left : left + 16, 0]
    np.testing.assert_allclose(cut[0].numpy(), (window - whole.mean()) / whole.std(), atol=1e-4)


def test_a_stack_needs_three_channels_and_a_prompt_a_promptable_model(tiny):
    stacked = tiny.with_settings(["image.filters=[{sobel: {mode: channels}}]"])
    plan = make_plan(stacked)
    assert plan.preprocess.channels == 3
    assert plan.experiment.image.filters == stacked.image.filters
    assert any("sobel (channels)" in decision for decision in plan.decisions)
    with pytest.raises(SettingsError, match="got 1"):
        make_plan(stacked.with_settings(["image.channels=1"]))
    with pytest.raises(SettingsError, match="takes no prompts"):
        make_plan(tiny.with_settings(["image.filters=[{sobel: {mode: prompt}}]"]))


def test_a_run_keeps_its_filters_and_ends_with_the_same_weights_again(tiny, tmp_path):
    experiment = tiny.with_settings(
        ["image.filters=[clahe, {sobel: {mode: blend, weight: 0.3}}]", "training.epochs=1"]
    )
    first, again, bare = (
        train(each, tmp_path / name).run
        for each, name in (
            (experiment, "a"),
            (experiment, "b"),
            (experiment.with_settings(["image.filters=[]"]), "bare"),
        )
    )
    weights = [(run / "model.safetensors").read_bytes() for run in (first, again, bare)]
    assert weights[0] == weights[1] != weights[2]
    assert Run(first).experiment().image.filters == CHAIN
    predictor = Predictor.load(first, precision="fp32")
    assert predictor.preprocess.filters == CHAIN
    document = json.loads((again / "model.json").read_text(encoding="utf-8"))
    del document["preprocess"]["filters"]
    (again / "model.json").write_text(json.dumps(document), encoding="utf-8")
    without = Predictor.load(again, precision="fp32")
    image = open_source(experiment.source)[0].image
    np.testing.assert_array_equal(
        predictor([image])[0].probabilities, without([CHAIN.apply(image)])[0].probabilities
    )


def test_validation_filters_no_second_time(tiny, tmp_path, monkeypatch):
    seen = []

    def watched(predictor, samples, **options):
        seen.append((predictor.preprocess, samples[0].image))
        return validate(predictor, samples, **options)

    monkeypatch.setattr("penumbra.training.loop.validate", watched)
    train(tiny.with_settings(["image.filters=[{sobel: {mode: replace}}, clahe]",
                              "training.epochs=1"]), tmp_path / "run")  # fmt: skip
    preprocess, image = seen[0]
    again = to_working(image.pixels, preprocess)
    np.testing.assert_array_equal(again.normalised(), image.normalised())
