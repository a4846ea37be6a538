"""Tuning on phantoms: what learns, what stays, how often the encoder runs, how a run resumes."""

import shutil

import numpy as np
import pytest
import torch
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamPatchEmbeddings

from penumbra.errors import RunError, SettingsError
from penumbra.inference.predictor import Predictor
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.examples import Batch
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.step import Answering, TuningModule
from penumbra.promptable.tuning.tune import tune
from penumbra.training.keeper import Keeper
from penumbra.training.run import Run


@pytest.fixture
def encoded(monkeypatch):
    """Count how many images the encoder has seen, by its first layer."""
    seen = []
    original = SamPatchEmbeddings.forward

    def counting(self, pixel_values=None, **options):
        seen.append(len(pixel_values))
        return original(self, pixel_values, **options)

    monkeypatch.setattr(SamPatchEmbeddings, "forward", counting)
    return seen


def weights(folder):
    return PromptableSegmenter.from_pretrained(folder, precision="float32").model.state_dict()


def changed(folder, base):
    ours, theirs = weights(folder), weights(base)
    assert ours.keys() == theirs.keys()
    return {name for name in ours if not torch.equal(ours[name], theirs[name])}


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_loss_falls(tuning, tmp_path):
    before = torch.random.get_rng_state()
    longer = tuning.with_settings(["training.epochs=6", "training.validate_every=6"])
    trained = tune(longer, tmp_path / "run")
    history = Run(tmp_path / "run").history()
    assert trained.epochs == len(history) == 6
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["decoder", "lora", "full"])
def test_a_run_folder_holds_what_other_runs_hold(tuned_runs, mode):
    run = Run(tuned_runs / mode)
    names = {path.name for path in run.folder.iterdir()}
    wanted = {"experiment.yaml", "manifest.csv", "history.jsonl", "model.json", "run.json"}
    assert wanted | {"checkpoints", "tensorboard"} <= names
    assert not list(run.folder.rglob("*.part*"))
    assert run.info()["status"] == "finished"
    assert [row["epoch"] for row in run.history()] == [0, 1]
    assert all(0 <= row["validation_dice"] <= 1 for row in run.history())


def test_decoder_tuning_changes_the_decoder_and_nothing_else(tuned_runs, tiny_sam):
    found = changed(tuned_runs / "decoder", tiny_sam)
    assert found
    assert all(name.startswith("mask_decoder.") for name in found)
    # Neither the run's weights nor its checkpoint hold what did not change.
    assert all(".mask_decoder." in name for name in last(tuned_runs / "decoder"))


def test_lora_changes_late_attention_and_the_decoder(tuned_runs, tiny_sam):
    found = changed(tuned_runs / "lora", tiny_sam)
    encoder = {name for name in found if not name.startswith("mask_decoder.")}
    assert encoder == {"vision_encoder.layers.1.attn.qkv.weight"}
    assert len(found) > len(encoder)


def test_full_tuning_leaves_the_encoding_of_positions(tuned_runs, tiny_sam):
    found = changed(tuned_runs / "full", tiny_sam)
    assert {name.split(".")[0] for name in found} == {
        "vision_encoder", "prompt_encoder", "mask_decoder"
    }  # fmt: skip
    assert not any("positional_embedding" in name for name in found)


def test_adapters_may_go_into_the_decoder_too(tuning, tiny_sam, tmp_path):
    tune(tuning.with_settings(["tune.mode=lora", "tune.lora.decoder=lora"]), tmp_path / "run")
    assert not (tmp_path / "run" / "decoder.safetensors").exists()
    found = changed(tmp_path / "run", tiny_sam)
    assert any("mask_decoder.transformer" in name for name in found)
    assert all(name.endswith("weight") for name in found)


def test_the_encoder_sees_each_image_once_whatever_the_epochs(tuning, tmp_path, encoded):
    longer = tuning.with_settings(["training.epochs=3", "tune.memory_mb=0"])
    tune(longer, tmp_path / "run")
    rows = (tmp_path / "run" / "manifest.csv").read_text().splitlines()[1:]
    used = sum(row.split(",")[2] in ("train", "val") for row in rows)
    assert set(encoded) == {1}
    # Those without an object are not encoded at all.
    assert used / 2 < len(encoded) <= used
    assert Run(tmp_path / "run").info()["encoded"] == len(encoded)
    assert not (tmp_path / "run" / "embeddings").exists()


def test_a_folder_of_embeddings_is_shared_and_kept(tuning, tmp_path, encoded):
    kept = tuning.with_settings([f"tune.embeddings={tmp_path / 'kept'}", "training.epochs=1"])
    tune(kept, tmp_path / "a")
    once = len(encoded)
    tune(kept, tmp_path / "b")
    assert once == len(encoded) == len(list((tmp_path / "kept").rglob("*.safetensors")))


def test_two_runs_end_with_the_same_bits(tuning, tuned_runs, tmp_path):
    tune(tuning, tmp_path / "again")
    assert same(last(tmp_path / "again"), last(tuned_runs / "decoder"))
    tune(tuning.with_settings(["training.seed=1"]), tmp_path / "other")
    assert not same(last(tmp_path / "other"), last(tuned_runs / "decoder"))


class Cut(BaseException):
    """Ends a training as a power cut would: nothing of ours runs after it."""


@pytest.mark.parametrize("mode", ["decoder", "lora"])
def test_cut_off_and_resumed_gives_the_same_bits(tuning, tmp_path, monkeypatch, mode, tuned_runs):
    settings = tuning.with_settings([f"tune.mode={mode}", "training.epochs=2"])
    original = Keeper.on_train_epoch_end

    def cut(self, trainer, module):
        original(self, trainer, module)
        raise Cut

    monkeypatch.setattr(Keeper, "on_train_epoch_end", cut)
    with pytest.raises(Cut):
        tune(settings, tmp_path / "cut")
    monkeypatch.setattr(Keeper, "on_train_epoch_end", original)
    assert len(Run(tmp_path / "cut").history()) == 1
    tune(TuningExperiment(), tmp_path / "cut", resume=True)
    assert same(last(tmp_path / "cut"), last(tuned_runs / mode))
    assert same(weights(tmp_path / "cut"), weights(tuned_runs / mode))
    assert [row["epoch"] for row in Run(tmp_path / "cut").history()] == [0, 1]


def test_what_was_encoded_before_a_cut_is_not_encoded_again(tuning, tmp_path, encoded, tuned_runs):
    def stops(items, *, total, what):
        for number, item in enumerate(items):
            if what == "encoding images" and number == 6:
                raise Cut
            yield item

    with pytest.raises(Cut):
        tune(tuning, tmp_path / "cut", progress=stops)
    before = len(encoded)
    assert 0 < before < Run(tuned_runs / "decoder").info()["encoded"]
    tune(TuningExperiment(), tmp_path / "cut", resume=True)
    assert len(encoded) == Run(tuned_runs / "decoder").info()["encoded"]
    assert same(last(tmp_path / "cut"), last(tuned_runs / "decoder"))


def test_a_finished_run_is_left_and_a_raised_bound_goes_on(tuning, tmp_path, tuned_runs):
    shutil.copytree(tuned_runs / "decoder", tmp_path / "run")
    tune(TuningExperiment(), tmp_path / "run", resume=True)
    assert same(last(tmp_path / "run"), last(tuned_runs / "decoder"))
    more = TuningExperiment.parse({"training": {"epochs": 3}})
    assert tune(more, tmp_path / "run", resume=True).epochs == 3
    wish = TuningExperiment().with_settings(["tune.loss=dice_bce"])
    with pytest.raises(SettingsError, match=r"tune\.loss of a resumed run"):
        tune(wish, tmp_path / "run", resume=True)


def test_a_base_that_changed_is_noticed(tuning, tmp_path, make_tiny_sam):
    base = make_tiny_sam(tmp_path / "base")
    tune(tuning.with_settings([f"model.name={base}"]), tmp_path / "run")
    make_tiny_sam(base, seed=5)
    with pytest.raises(RunError, match="other weights"):
        PromptableSegmenter.from_pretrained(tmp_path / "run")
    more = TuningExperiment.parse({"training": {"epochs": 3}})
    with pytest.raises(RunError, match="other weights"):
        tune(more, tmp_path / "run", resume=True)


def test_run_and_base_may_be_moved_together(tuning, tmp_path, make_tiny_sam):
    make_tiny_sam(tmp_path / "here" / "base")
    settings = tuning.with_settings([f"model.name={tmp_path / 'here' / 'base'}"])
    tune(settings, tmp_path / "here" / "run")
    before = weights(tmp_path / "here" / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    assert same(weights(tmp_path / "there" / "run"), before)


def test_networks_that_need_no_prompts_are_told_apart(tuned_runs):
    with pytest.raises(RunError, match="penumbra segment IMAGE --box"):
        Predictor.load(tuned_runs / "decoder")


def test_a_model_that_takes_boxes_alone_is_tuned_by_boxes(tuning, tmp_path):
    boxes = tuning.with_settings(["model.family=medsam", "training.epochs=1"])
    tune(boxes, tmp_path / "run")
    assert PromptableSegmenter.from_pretrained(tmp_path / "run").accepts == {"box"}


def test_filters_go_with_the_run(tuning, tmp_path):
    filtered = tuning.with_settings(["image.filters=[clahe]", "training.epochs=1"])
    tune(filtered, tmp_path / "run")
    segmenter = PromptableSegmenter.from_pretrained(tmp_path / "run")
    assert segmenter.filters.names == ("clahe",)
    # And stay where the run is tuned further.
    further = filtered.with_settings(["image.filters=[]", f"model.name={tmp_path / 'run'}"])
    tune(further, tmp_path / "further")
    again = PromptableSegmenter.from_pretrained(tmp_path / "further")
    assert again.filters == segmenter.filters


def test_bad_samples_are_findings_and_the_rest_goes_on(tuning, tuned_runs, tmp_path):
    shutil.copytree(tuning.source.removeprefix("folder:"), tmp_path / "set")
    manifest = (tuned_runs / "decoder" / "manifest.csv").read_text()
    root = manifest.splitlines()[1].split(",")[5]
    (tmp_path / "manifest.csv").write_text(manifest.replace(root, "set"))
    broken = next(row.split(",") for row in manifest.splitlines() if ",train," in row)
    file = tmp_path / "set" / broken[7]
    file.write_bytes(file.read_bytes()[:40])
    wish = [f"source={tmp_path / 'manifest.csv'}", "training.epochs=1"]
    trained = tune(tuning.with_settings(wish), tmp_path / "run")
    assert [(f.kind, f.samples) for f in trained.findings] == [("unusable", (broken[0],))]


def test_the_tuned_model_answers(tuned_runs):
    segmenter = PromptableSegmenter.from_pretrained(tuned_runs / "lora")
    image = np.full((40, 40, 1), 90, np.uint8)
    found = segmenter.predict(segmenter.embed(image), boxes=[[5, 5, 30, 30]])
    assert found[0].mask.shape == (40, 40)
    assert isinstance(segmenter.model, SamModel)


def test_corrective_clicks_land_where_pixels_count(tiny_sam, tuning, monkeypatch):
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")
    settings = tuning.tune.model_copy(update={"clicks": 3})
    masks = np.zeros((1, 2, segmenter.size, segmenter.size), bool)
    masks[0, 0, 8:24, 8:24], masks[0, 1, 4:12, 20:30] = True, True
    valid = np.zeros((1, segmenter.size, segmenter.size), bool)
    valid[0, 2:26, 6:32] = True
    pixels = torch.randn(
        1, 3, segmenter.size, segmenter.size, generator=torch.Generator().manual_seed(0)
    )
    clicked = []
    original = Answering.answer

    def watched(self, features, extra, asked, *, grid):
        if asked.points is not None:
            # The first point is the object's own where there is no box.
            clicked.append(asked.points[:, int(asked.boxes is None) :].reshape(-1, 2))
        return original(self, features, extra, asked, grid=grid)

    monkeypatch.setattr(Answering, "answer", watched)
    for seed in range(12):
        training = tuning.training.model_copy(update={"seed": seed})
        module = TuningModule(segmenter, settings=settings, training=training)
        module.training_step(Batch(None, (), pixels, masks, valid), 0)
    columns, rows = np.concatenate(clicked).astype(int).T
    assert len(rows) > 10
    assert valid[0, rows, columns].all()
