"""Where promptable models come from, and what is said of those that cannot be loaded."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from penumbra.errors import MissingExtraError, ModelError, SettingsError
from penumbra.promptable import PromptableSegmenter, hub
from penumbra.promptable import families as families_module

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
BOX = [[4, 4, 30, 30]]


def _load(where, **options):
    return PromptableSegmenter.from_pretrained(where, precision="float32", **options)


def test_a_truncated_file_of_weights(make_tiny_sam, tmp_path):
    folder = make_tiny_sam(tmp_path / "sam")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"fresh copy of model\.safetensors"):
        _load(folder)


def test_a_checkpoint_of_another_size(make_tiny_sam, tmp_path):
    folder = make_tiny_sam(tmp_path / "sam")
    other = make_tiny_sam(tmp_path / "other", mlp_dim=96)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ModelError) as met:
        _load(folder)
    text = str(met.value)
    for said in ("mlp.lin1.bias of 64, but got 96", "and 5 more", "config.json"):
        assert said in text
    assert "ignore_mismatched_sizes" not in text


_LOAD_EACH = """
import sys
from penumbra.errors import ModelError
from penumbra.promptable import PromptableSegmenter
for name in sys.argv[1:]:
    try:
        PromptableSegmenter.from_pretrained(name, precision="float32")
    except ModelError as error:
        print(error)
    else:
        print("loaded")
"""


def test_nothing_but_our_sentence_is_said(make_tiny_sam, tmp_path):
    from safetensors.torch import load_file, save_file

    good, large = make_tiny_sam(tmp_path / "sam"), make_tiny_sam(tmp_path / "large", mlp_dim=96)
    weights = load_file(good / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, large / "model.safetensors", metadata={"format": "pt"})
    short = make_tiny_sam(tmp_path / "short")
    save_file(weights, short / "model.safetensors", metadata={"format": "pt"})
    video = make_tiny_sam(tmp_path / "more")
    save_file(load_file(video / "model.safetensors") | {"memory": torch.zeros(2)},
              video / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps({"weights": _Code(tmp_path / "was run")}))
    names = [str(path) for path in (good, large, short, video, evil)]
    # A process of its own: warnings and the library's log go past what tests can capture here.
    done = subprocess.run([sys.executable, "-c", _LOAD_EACH, *names], capture_output=True,
                          text=True, check=True, timeout=120)  # fmt: skip
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert [said[0], said[3]] == ["loaded", "loaded"]
    assert "96" in said[1]
    assert "no weights for mask_decoder.iou_token" in said[2]
    assert "refused" in said[4]
    assert len(said) == 5


def test_missing_weights(make_tiny_sam, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_tiny_sam(tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no weights for mask_decoder\.iou_token"):
        _load(folder)


def test_weights_that_are_not_finite(make_tiny_sam, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_tiny_sam(tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    weights["mask_decoder.iou_token.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="finite"):
        _load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "bert"}'])
def test_a_config_that_is_none(make_tiny_sam, tmp_path, text):
    folder = make_tiny_sam(tmp_path / "sam")
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match="Expected"):
        _load(folder)


def test_a_folder_without_weights_and_no_folder_at_all(make_tiny_sam, tmp_path):
    folder = make_tiny_sam(tmp_path / "sam")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        _load(folder)
    with pytest.raises(ModelError, match=r"config\.json"):
        _load(tmp_path)
    with pytest.raises(ModelError, match="no such path"):
        _load(tmp_path / "nothing here")


class _Code:
    """Unpickled without care, it would leave a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("protocol", ["torch", "plain"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, protocol):
    proof, path = tmp_path / "was run", tmp_path / "sam_vit_b.pth"
    weights = {"image_encoder.patch_embed.proj.weight": _Code(proof)}
    if protocol == "torch":
        torch.save(weights, path)
    else:
        path.write_bytes(pickle.dumps(weights))
    with pytest.raises(ModelError, match="refused"):
        _load(path)
    assert not proof.exists()


def test_a_folder_with_a_pickle_of_code_is_refused_and_not_run(make_tiny_sam, tmp_path):
    folder = make_tiny_sam(tmp_path / "sam")
    (folder / "model.safetensors").unlink()
    torch.save({"mask_decoder.iou_token.weight": _Code(tmp_path / "was run")},
               folder / "pytorch_model.bin")  # fmt: skip
    with pytest.raises(ModelError, match="Try"):
        _load(folder)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_a_pth_file_that_is_none(tmp_path, content):
    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="Expected"):
        _load(path)


def test_a_pth_file_of_something_else(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="Meta's names"):
        _load(path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="table of weights"):
        _load(path)
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"\.pth or \.pt"):
        _load(tmp_path / "model.ckpt")


def test_offline_the_error_says_which_file_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as met:
        _load("facebook/sam-vit-base-not-here", offline=True)
    text = str(met.value)
    for said in ("config.json", "model.safetensors", "folder", "facebook/sam-vit-base-not-here"):
        assert said in text


def test_a_name_is_looked_for_here_before_the_network_is_asked(monkeypatch, tiny_sam):
    asked = []

    def snapshot(name, *, local_files_only, allow_patterns):
        asked.append(local_files_only)
        assert not any("bin" in pattern or "py" in pattern for pattern in allow_patterns)
        if local_files_only:
            raise FileNotFoundError(name)
        return str(tiny_sam)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert _load("somebody/tiny").accepts == {"box", "point", "mask"}
    assert asked == [True, False]
    asked.clear()
    with pytest.raises(ModelError, match="somebody/tiny"):
        hub.fetch("somebody/tiny", offline=True)
    assert asked == [True]


def test_medsam_takes_boxes_alone_and_says_so(make_tiny_sam, tmp_path):
    segmenter = _load(make_tiny_sam(tmp_path / "medsam-vit-base"))
    assert segmenter.accepts == {"box"}
    assert segmenter.family.name == "medsam"
    embedding = segmenter.embed(IMAGE)
    assert embedding.resized == (64, 64)
    assert len(segmenter.predict(embedding, boxes=BOX)) == 1
    with pytest.raises(SettingsError, match="to be box, but got point"):
        segmenter.predict(embedding, points=[[4, 4]])
    with pytest.raises(SettingsError, match="but got mask"):
        segmenter.predict(embedding, boxes=BOX, mask=np.zeros((50, 80)))


@pytest.mark.parametrize(
    ("where", "family"),
    [
        ("medsam-comparison/sam-vit-base", "sam"),
        ("comparison/MedSAM", "medsam"),
        ("models--medsam-lab--sam-vit-base/snapshots/0a1b", "sam"),
        ("models--wanglab--medsam-vit-base/snapshots/0a1b", "medsam"),
    ],
)
def test_medsam_is_known_by_its_own_name_and_not_by_the_folders_above(
    make_tiny_sam, tmp_path, monkeypatch, where, family
):
    folder = make_tiny_sam(tmp_path / where)
    assert _load(folder).family.name == family
    monkeypatch.chdir(folder)
    assert _load(".").family.name == family


def test_medsam_sees_each_image_from_nought_to_one(make_tiny_sam, tmp_path):
    segmenter = _load(make_tiny_sam(tmp_path / "sam"), family="medsam")
    pixels, _ = segmenter.scaling.pixels(IMAGE // 2 + 20)
    assert pixels.min() == 0
    assert pixels.max() == 1
    with pytest.raises(ModelError, match="one of sam, sam-hq"):
        _load(tmp_path / "sam", family="dinosaur")


def test_the_folders_own_normalisation_is_used(make_tiny_sam, tmp_path):
    folder = make_tiny_sam(tmp_path / "sam")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]})
    )
    pixels, _ = _load(folder).scaling.pixels(np.full((9, 9, 3), 255, np.uint8))
    assert pixels.max() == pytest.approx(1)


def test_pixels_are_the_librarys_own(tiny_sam):
    from transformers import SamImageProcessorPil

    theirs = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})(
        IMAGE, return_tensors="pt"
    )
    pixels, resized = _load(tiny_sam).scaling.pixels(IMAGE)
    np.testing.assert_allclose(pixels, theirs["pixel_values"], atol=1e-6)
    assert list(resized) == theirs["reshaped_input_sizes"][0].tolist()


@pytest.mark.parametrize(
    "kind", ["sam2", "sam2_video", "edgetam", "edgetam_video", "sam3_tracker", "sam3_video"]
)
def test_later_families_ask_for_torchvision_where_it_is_absent(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(families_module, "find_spec",
                        lambda name: None if name == "torchvision" else name)  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(MissingExtraError, match="torchvision"):
        _load(tmp_path)


def test_edgetam_asks_for_timm_too(monkeypatch, tmp_path):
    monkeypatch.setattr(families_module, "find_spec", lambda name: None if name == "timm" else name)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "edgetam_video"}))
    with pytest.raises(MissingExtraError, match="Expected timm for a model of the family edgetam"):
        _load(tmp_path)


def test_families_are_the_classes_that_the_library_makes_masks_with():
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING_NAMES

    for family in families_module.FAMILIES:
        if family.name == "small":
            # Our own.
            continue
        for kind in family.model_types:
            assert MODEL_FOR_MASK_GENERATION_MAPPING_NAMES[kind] == family.architecture


def test_what_the_library_misses_while_it_loads_is_named(monkeypatch, tiny_sam):
    from transformers import SamModel

    def wants(*args, **options):
        raise ImportError("\n\nSamModel requires the abacus library\nbut it was not found")

    monkeypatch.setattr(SamModel, "from_pretrained", wants)
    with pytest.raises(MissingExtraError, match="requires the abacus library but it was not found"):
        _load(tiny_sam)


def test_without_transformers_the_extra_is_named(monkeypatch, tiny_sam):
    monkeypatch.setattr(families_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"penumbra-segmentation\[sam\]"):
        _load(tiny_sam)


def test_precision_and_device_are_checked(tiny_sam):
    with pytest.raises(SettingsError, match="auto, float32 or bfloat16"):
        PromptableSegmenter.from_pretrained(tiny_sam, precision="int4")
    with pytest.raises(SettingsError, match="on this machine"):
        PromptableSegmenter.from_pretrained(tiny_sam, device="abacus")


def test_sam2_answers_as_the_library(monkeypatch, tmp_path):
    from transformers import Sam2Config, Sam2Model

    monkeypatch.setattr(families_module, "find_spec", lambda name: name)
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    config = Sam2Config(
        vision_config={
            "model_type": "sam2_vision_model", "backbone_config": backbone,
            "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 8,
                             "iou_head_hidden_dim": 32},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Sam2Model(config).eval()
    model.save_pretrained(tmp_path)
    # Published configurations are those of the model of videos, which holds this one.
    document = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "sam2_video"}
    (tmp_path / "config.json").write_text(json.dumps(document))
    segmenter = PromptableSegmenter.from_pretrained(tmp_path)
    embedding = segmenter.embed(IMAGE)
    found = segmenter.predict(embedding, points=[[[20, 10]], [[40, 30]]])
    pixels, _ = segmenter.scaling.pixels(IMAGE)
    points = torch.tensor([[[[16.0, 12.8]], [[32.0, 38.4]]]])
    with torch.no_grad():
        theirs = model(pixels, input_points=points, input_labels=torch.ones(1, 2, 1).long())
    assert embedding.resized == (64, 64)
    for number, one in enumerate(found):
        best = int(theirs.iou_scores[0, number].argmax())
        assert one.candidate == best + 1
        np.testing.assert_allclose(one.logits, theirs.pred_masks[0, number, best], atol=1e-4)
