"""The small model tuned as SAM is, its encoder of convolutions and its drawn prompts included."""

import shutil

import numpy as np
import pytest
import torch

from penumbra.errors import ModelError
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.small import new_small_model, save_model, small_config
from penumbra.promptable.tuning.merge import merge
from penumbra.promptable.tuning.tune import tune
from penumbra.training.run import Run

MODES = ("decoder", "lora", "full")
WHERE = {
    "decoder": {"mask_decoder"},
    "lora": {"mask_decoder", "vision_encoder"},
    "full": {"mask_decoder", "vision_encoder", "prompt_encoder"},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_small")
    config = small_config(widths=(8, 8, 16), deepest=16, layers=2, heads=2, decoder_width=16,
                          decoder_mlp=32)  # fmt: skip
    save_model(new_small_model(config, seed=1), folder)
    return folder


@pytest.fixture(scope="module")
def runs(tuning, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small_runs")
    own = tuning.with_settings([f"model.name={tiny}"])
    for mode in MODES:
        tune(own.with_settings([f"tune.mode={mode}"]), folder / mode)
    return folder


def answers(folder):
    """What it says about a fixed image: by a box, by a point, and by both after an answer."""
    segmenter = PromptableSegmenter.from_pretrained(folder)
    image = np.random.default_rng(0).integers(0, 255, (48, 80, 1), np.uint8)
    embedding = segmenter.embed(image)
    box, point = [[10, 8, 60, 40]], {"points": [[30, 20]], "labels": [1]}
    first = segmenter.predict(embedding, boxes=box)
    found = [*first, *segmenter.predict(embedding, **point)]
    found += segmenter.predict(embedding, boxes=box, mask=first[0].logits, **point)
    return np.concatenate([one.probabilities[1].ravel() for one in found])


@pytest.mark.parametrize("mode", MODES)
def test_what_is_tuned_changes_and_nothing_else(runs, tiny, mode):
    ours, theirs = (
        PromptableSegmenter.from_pretrained(folder).model.state_dict()
        for folder in (runs / mode, tiny)
    )
    assert ours.keys() == theirs.keys()
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert {name.split(".")[0] for name in changed} == WHERE[mode]
    assert "mask_decoder.detail.fine.weight" in changed
    assert not any("positional_embedding" in name for name in changed)


@pytest.mark.parametrize("mode", MODES)
def test_the_merged_model_answers_as_the_tuned_one(runs, tiny, tmp_path, mode):
    out = merge(runs / mode, tmp_path / "merged")
    assert PromptableSegmenter.from_pretrained(out).family.name == "small"
    assert np.array_equal(answers(out), answers(runs / mode))
    assert not np.array_equal(answers(out), answers(tiny))


def test_meta_has_no_names_for_it(runs, tmp_path):
    with pytest.raises(ModelError, match="small"):
        merge(runs / "decoder", tmp_path / "whole.pth")
    assert not (tmp_path / "whole.pth").exists()


def test_embeddings_are_kept_with_their_finer_features(tuning, tiny, tmp_path, runs):
    kept = tuning.with_settings([f"model.name={tiny}", f"tune.embeddings={tmp_path / 'kept'}"])
    tune(kept, tmp_path / "a")
    tune(kept, tmp_path / "b")
    assert Run(tmp_path / "a").info()["encoded"] > 0
    assert Run(tmp_path / "b").info()["encoded"] == 0
    assert np.array_equal(answers(tmp_path / "a"), answers(tmp_path / "b"))
    assert np.array_equal(answers(tmp_path / "a"), answers(runs / "decoder"))


def test_a_folder_called_small_is_not_taken_for_the_installed_model(
    tuning, tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("PENUMBRA_MODELS", str(tmp_path / "models"))
    shutil.copytree(tiny, tmp_path / "models" / "small")
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    tune(tuning.with_settings(["model.name=small", "training.epochs=1"]), tmp_path / "run")
    assert answers(tmp_path / "run").size
