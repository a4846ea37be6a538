"""What a tuned run keeps and exports: adapters alone, whole models, Meta's names."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from transformers import SamModel

from penumbra.errors import ModelError, RunError, SettingsError, StorageError
from penumbra.promptable.meta_weights import from_meta_names, read_meta_file
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.merge import merge
from penumbra.promptable.tuning.objects import objects_on_grid
from penumbra.promptable.tuning.settings import TuningExperiment, holds_tuning

MODES = ("decoder", "lora", "full")


def answers(model):
    """What a `SamModel` says about a fixed image and box."""
    # The library leaves weights where they lie in their file, and sums round by that: the same
    # weights give the same bits once they begin at the same places.
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64).sin()
    with torch.no_grad():
        found = model(pixel_values=pixels, input_boxes=torch.tensor([[[8.0, 8.0, 50.0, 40.0]]]))
    return torch.cat([found.pred_masks.flatten(), found.iou_scores.flatten()])


def tuned(run):
    return PromptableSegmenter.from_pretrained(run, precision="float32").model


@pytest.mark.parametrize("mode", MODES)
def test_the_merged_model_loads_in_transformers_and_equals_the_tuned_one(
    tuned_runs, tmp_path, mode
):
    out = merge(tuned_runs / mode, tmp_path / "merged")
    model, notes = SamModel.from_pretrained(out, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(answers(model.eval()), answers(tuned(tuned_runs / mode)))
    assert tuned(out).state_dict().keys() == tuned(tuned_runs / mode).state_dict().keys()


def test_it_is_another_model_than_the_base(tuned_runs, tiny_sam):
    base = answers(tuned(tiny_sam))
    assert not any(torch.equal(answers(tuned(tuned_runs / mode)), base) for mode in MODES)


def test_the_processor_prepares_images_as_we_do(tuned_runs, tmp_path):
    out = merge(tuned_runs / "decoder", tmp_path / "merged")
    from transformers import SamImageProcessorPil

    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    theirs = SamImageProcessorPil.from_pretrained(out)(images=image, return_tensors="pt")
    ours, resized = PromptableSegmenter.from_pretrained(out).scaling.pixels(image)
    assert theirs["reshaped_input_sizes"].tolist() == [list(resized)]
    assert torch.allclose(theirs["pixel_values"], ours, atol=1e-4)


def test_metas_names_hold_the_same_weights(tuned_runs, tmp_path):
    out = merge(tuned_runs / "lora", tmp_path / "tuned.pth")
    found = from_meta_names(read_meta_file(out))
    ours = tuned(tuned_runs / "lora").state_dict()
    assert found
    assert all(torch.equal(value, ours[name]) for name, value in found.items())


def test_what_was_tuned_as_medsam_stays_medsam(tuning, tmp_path):
    from penumbra.promptable.tuning.tune import tune

    run = tmp_path / "run"
    tune(tuning.with_settings(["model.family=medsam", "training.epochs=1"]), run)
    out = merge(run, tmp_path / "merged")
    _, notes = SamModel.from_pretrained(out, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with pytest.raises(StorageError, match=r"Try medsam_tuned\.pth"):
        merge(run, tmp_path / "tuned.pth")
    assert not (tmp_path / "tuned.pth").exists()
    file = merge(run, tmp_path / "medsam_tuned.pth")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    found = []
    for where in (run, out, file):
        segmenter = PromptableSegmenter.from_pretrained(where, precision="float32")
        assert segmenter.family.name == "medsam"
        found.append(segmenter.predict(segmenter.embed(image), boxes=[4, 4, 30, 30])[0].logits)
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)


def test_a_family_of_another_type_is_refused(tuned_runs, tmp_path):
    out = merge(tuned_runs / "full", tmp_path / "merged")
    document = json.loads((out / "config.json").read_text())
    assert document["penumbra_family"] == "sam"
    (out / "config.json").write_text(json.dumps(document | {"penumbra_family": "sam2"}))
    with pytest.raises(ModelError, match="a family of the type sam"):
        PromptableSegmenter.from_pretrained(out)


def test_the_adapter_alone_is_small_and_loads_by_peft(tuned_runs, tiny_sam):
    from peft import PeftModel
    from safetensors.torch import load_file

    adapter = tuned_runs / "lora" / "adapter"
    assert {path.name for path in adapter.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    whole = (tiny_sam / "model.safetensors").stat().st_size
    assert (adapter / "adapter_model.safetensors").stat().st_size < 0.05 * whole
    model = SamModel.from_pretrained(tiny_sam)
    model.load_state_dict(load_file(tuned_runs / "lora" / "decoder.safetensors"), strict=False)
    around = PeftModel.from_pretrained(model, adapter).eval()
    assert torch.allclose(answers(around), answers(tuned(tuned_runs / "lora")), atol=1e-4)


def test_the_decoder_alone_fits_the_base_by_its_names(tuned_runs, tiny_sam):
    from safetensors.torch import load_file

    tensors = load_file(tuned_runs / "decoder" / "decoder.safetensors")
    model = SamModel.from_pretrained(tiny_sam)
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    assert torch.equal(answers(model.eval()), answers(tuned(tuned_runs / "decoder")))


def test_merging_overwrites_nothing_and_wants_a_tuned_run(tuned_runs, tiny_sam, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").write_text("mine")
    with pytest.raises(StorageError, match="new or empty"):
        merge(tuned_runs / "decoder", tmp_path / "there")
    with pytest.raises(RunError, match="tuned a promptable model"):
        merge(tiny_sam, tmp_path / "other")


@pytest.mark.parametrize("name", ["decoder.safetensors", "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "another shape"])
def test_damaged_parts_are_errors_that_name_the_file(tuned_runs, tmp_path, name, damage):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tuned_runs / "lora", tmp_path / "run")
    document = json.loads((tmp_path / "run" / "model.json").read_text())
    base = (tuned_runs / "lora" / document["base"]["name"]).resolve()
    document["base"]["name"] = str(base)
    (tmp_path / "run" / "model.json").write_text(json.dumps(document))
    file = tmp_path / "run" / name
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "missing":
        file.unlink()
    else:
        tensors = load_file(file)
        first = min(tensors)
        save_file(tensors | {first: torch.zeros(1, 1)}, file)
    with pytest.raises(RunError, match=file.name):
        PromptableSegmenter.from_pretrained(tmp_path / "run")


def test_a_run_whose_model_json_lies_is_refused(tuned_runs, tmp_path):
    (tmp_path / "run").mkdir()
    document = json.loads((tuned_runs / "decoder" / "model.json").read_text())
    document["tune"] = {"mode": "everything"}
    (tmp_path / "run" / "model.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match="fresh copy"):
        PromptableSegmenter.from_pretrained(tmp_path / "run")


@given(st.integers(0, 2**32), st.booleans())
def test_objects_are_those_of_scipy(seed, components):
    rng = np.random.default_rng(seed)
    mask = (rng.random((16, 16)) < 0.4).astype(np.uint8) * rng.integers(1, 3, (16, 16), np.uint8)
    mask[rng.random((16, 16)) < 0.05] = 255
    # At four times the size each object keeps its pixels, sixteen for one.
    found = objects_on_grid(mask, resized=(64, 64), side=64, components=components)
    wanted = set()
    for index in (1, 2):
        parts, count = ndimage.label(mask == index, structure=np.ones((3, 3)))
        if not components:
            parts, count = (mask == index).astype(int), int((mask == index).any())
        wanted |= {(parts == n + 1).tobytes() for n in range(count)}
    numbers = np.arange(1, found.count + 1)
    assert {m[::4, ::4].tobytes() for m in found.masks(numbers)} == wanted
    assert np.array_equal(found.valid[::4, ::4], mask != 255)


def test_small_objects_and_padding_do_not_count():
    mask = np.zeros((20, 40), np.uint8)
    mask[2:12, 2:12], mask[15:17, 30:32] = 1, 1
    found = objects_on_grid(mask, resized=(32, 64), side=64, least_area=5)
    assert found.count == 1
    assert not found.valid[40:].any()
    assert not found.valid[25, 50]
    assert found.valid[10, 50]


def test_settings_say_what_is_wrong(tmp_path):
    with pytest.raises(SettingsError, match="clicks"):
        TuningExperiment.parse({"tune": {"klicks": 3}})
    assert TuningExperiment.parse({"model": {"name": "sam:a/b"}}).model.name == "a/b"
    file = tmp_path / "e.yaml"
    file.write_text(TuningExperiment().to_yaml())
    assert holds_tuning(file)
    assert TuningExperiment.read(file) == TuningExperiment()
    file.write_text("model: {name: unet}")
    assert not holds_tuning(file)
