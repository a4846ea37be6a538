"""SAM-HQ tuned as SAM is: its decoder takes intermediate features of the encoder too."""

import numpy as np
import pytest
import torch
from transformers import SamHQModel

from penumbra.errors import ModelError
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.merge import merge
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.tune import tune
from penumbra.training.keeper import Keeper
from penumbra.training.run import Run

MODES = ("decoder", "lora", "full")
WHERE = {
    "decoder": {"mask_decoder"},
    "lora": {"mask_decoder", "vision_encoder"},
    "full": {"mask_decoder", "vision_encoder", "prompt_encoder"},
}


class CutError(Exception):
    """The process ended here."""


@pytest.fixture(scope="module")
def tiny_hq(make_tiny_sam, tmp_path_factory):
    return make_tiny_sam(tmp_path_factory.mktemp("tiny_hq"), kind="sam-hq")


@pytest.fixture(scope="module")
def tuning_hq(tuning, tiny_hq):
    return tuning.with_settings([f"model.name={tiny_hq}"])


@pytest.fixture(scope="module")
def hq_runs(tuning_hq, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hq_runs")
    for mode in MODES:
        tune(tuning_hq.with_settings([f"tune.mode={mode}"]), folder / mode)
    return folder


def model(folder):
    return PromptableSegmenter.from_pretrained(folder, precision="float32").model


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def answers(network):
    """What a `SamHQModel` says about a fixed image and box."""
    # The library leaves weights where they lie in their file, and sums round by that: the same
    # weights give the same bits once they begin at the same places.
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64).sin()
    with torch.no_grad():
        found = network(pixel_values=pixels, input_boxes=torch.tensor([[[8.0, 8.0, 50.0, 40.0]]]))
    return torch.cat([found.pred_masks.flatten(), found.iou_scores.flatten()])


@pytest.mark.parametrize("mode", MODES)
def test_what_is_tuned_changes_and_nothing_else(hq_runs, tiny_hq, mode):
    ours, theirs = model(hq_runs / mode).state_dict(), model(tiny_hq).state_dict()
    assert ours.keys() == theirs.keys()
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert {name.split(".")[0] for name in changed} == WHERE[mode]
    assert not any("positional_embedding" in name for name in changed)


@pytest.mark.parametrize("mode", MODES)
def test_what_it_has_more_than_sam_is_tuned_too(hq_runs, tiny_hq, mode):
    ours, theirs = model(hq_runs / mode).state_dict(), model(tiny_hq).state_dict()
    own = {name for name in ours if ".hq_" in name or "compress_vit" in name}
    assert own
    assert any(not torch.equal(ours[name], theirs[name]) for name in own)


@pytest.mark.parametrize("mode", MODES)
def test_the_merged_model_loads_in_transformers_and_equals_the_tuned_one(hq_runs, tmp_path, mode):
    out = merge(hq_runs / mode, tmp_path / "merged")
    whole, notes = SamHQModel.from_pretrained(out, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(answers(whole.eval()), answers(model(hq_runs / mode)))


def test_meta_has_no_names_for_it(hq_runs, tmp_path):
    with pytest.raises(ModelError, match="sam-hq"):
        merge(hq_runs / "decoder", tmp_path / "whole.pth")
    assert not (tmp_path / "whole.pth").exists()


@pytest.mark.parametrize("mode", ["decoder", "lora"])
def test_cut_off_and_resumed_gives_the_same_bits(tuning_hq, tmp_path, monkeypatch, mode, hq_runs):
    original = Keeper.on_train_epoch_end

    def cut(self, trainer, module):
        original(self, trainer, module)
        raise CutError

    monkeypatch.setattr(Keeper, "on_train_epoch_end", cut)
    with pytest.raises(CutError):
        tune(tuning_hq.with_settings([f"tune.mode={mode}"]), tmp_path / "cut")
    monkeypatch.setattr(Keeper, "on_train_epoch_end", original)
    tune(TuningExperiment(), tmp_path / "cut", resume=True)
    found, wanted = model(tmp_path / "cut").state_dict(), model(hq_runs / mode).state_dict()
    assert same(found, wanted)


def test_embeddings_are_kept_with_their_intermediate_features(tuning_hq, tmp_path, hq_runs):
    kept = tuning_hq.with_settings([f"tune.embeddings={tmp_path / 'kept'}"])
    tune(kept, tmp_path / "a")
    tune(kept, tmp_path / "b")
    assert Run(tmp_path / "a").info()["encoded"] > 0
    assert Run(tmp_path / "b").info()["encoded"] == 0
    assert same(model(tmp_path / "a").state_dict(), model(tmp_path / "b").state_dict())
    assert same(model(tmp_path / "a").state_dict(), model(hq_runs / "decoder").state_dict())


def test_the_tuned_model_answers(hq_runs):
    segmenter = PromptableSegmenter.from_pretrained(hq_runs / "lora")
    image = np.full((40, 40, 1), 90, np.uint8)
    found = segmenter.predict(segmenter.embed(image), boxes=[[5, 5, 30, 30]])
    assert found[0].mask.shape == (40, 40)
    assert isinstance(segmenter.model, SamHQModel)
