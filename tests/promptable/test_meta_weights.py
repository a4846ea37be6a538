"""Meta's names for weights and transformers', both ways."""

import numpy as np
import pytest
import torch

from penumbra.errors import ModelError
from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.meta_weights import (
    from_meta_names,
    read_meta_file,
    save_meta_file,
    to_meta_names,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


def meta_names(blocks: int, layers: int, masks: int) -> set[str]:
    """Every name in Meta's published files, written down from their modules, by module."""

    def both(*modules: str) -> set[str]:
        return {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}

    names = {"image_encoder.pos_embed", *both("image_encoder.patch_embed.proj")}
    for n in range(blocks):
        block = f"image_encoder.blocks.{n}"
        parts = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")
        names |= both(*(f"{block}.{part}" for part in parts))
        names |= {f"{block}.attn.rel_pos_h", f"{block}.attn.rel_pos_w"}
    names |= {"image_encoder.neck.0.weight", "image_encoder.neck.2.weight"}
    names |= both("image_encoder.neck.1", "image_encoder.neck.3")
    names |= {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"}
    names |= {f"prompt_encoder.point_embeddings.{n}.weight" for n in range(4)}
    names |= {"prompt_encoder.not_a_point_embed.weight", "prompt_encoder.no_mask_embed.weight"}
    names |= both(*(f"prompt_encoder.mask_downscaling.{n}" for n in (0, 1, 3, 4, 6)))
    attentions = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    transformer = "mask_decoder.transformer"
    for n in range(layers):
        layer = f"{transformer}.layers.{n}"
        names |= both(*(f"{layer}.{a}.{p}" for a in attentions for p in projections))
        names |= both(*(f"{layer}.norm{k}" for k in (1, 2, 3, 4)))
        names |= both(f"{layer}.mlp.lin1", f"{layer}.mlp.lin2")
    names |= both(*(f"{transformer}.final_attn_token_to_image.{p}" for p in projections))
    names |= both(f"{transformer}.norm_final_attn")
    names |= {"mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight"}
    names |= both(*(f"mask_decoder.output_upscaling.{n}" for n in (0, 1, 3)))
    heads = [f"mask_decoder.output_hypernetworks_mlps.{n}" for n in range(masks)]
    for head in (*heads, "mask_decoder.iou_prediction_head"):
        names |= both(*(f"{head}.layers.{n}" for n in range(3)))
    return names


@pytest.fixture(scope="module")
def weights(tiny_sam):
    from transformers import SamModel

    return SamModel.from_pretrained(tiny_sam).state_dict()


def test_every_name_of_metas_files_is_given_and_no_other(weights):
    assert set(to_meta_names(weights)) == meta_names(blocks=2, layers=2, masks=4)


def test_there_and_back_is_the_same(weights):
    back = from_meta_names(to_meta_names(weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_order_within_a_module_is_kept(weights):
    """Names that hold tensors of one shape could be swapped unseen: look at the tensors."""
    meta = to_meta_names(weights)
    pairs = {
        "image_encoder.blocks.1.norm2.weight": "vision_encoder.layers.1.layer_norm2.weight",
        "image_encoder.neck.3.bias": "vision_encoder.neck.layer_norm2.bias",
        "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight":
            "mask_decoder.output_hypernetworks_mlps.2.proj_in.weight",
        "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight":
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight",
        "mask_decoder.iou_prediction_head.layers.2.bias":
            "mask_decoder.iou_prediction_head.proj_out.bias",
        "mask_decoder.transformer.layers.1.norm4.weight":
            "mask_decoder.transformer.layers.1.layer_norm4.weight",
        "prompt_encoder.mask_downscaling.4.weight":
            "prompt_encoder.mask_embed.layer_norm2.weight",
        "prompt_encoder.point_embeddings.3.weight": "prompt_encoder.point_embed.3.weight",
    }  # fmt: skip
    for theirs, ours in pairs.items():
        assert meta[theirs] is weights[ours]


@pytest.mark.parametrize("wrapped", [False, True])
def test_both_forms_on_disk_answer_alike(tiny_sam, tmp_path, wrapped):
    folder = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")
    path = tmp_path / "sam_vit_b_01ec64.pth"
    save_meta_file(path, folder.model)
    if wrapped:
        torch.save({"model": {f"module.{k}": v for k, v in torch.load(path).items()}}, path)
    file = PromptableSegmenter.from_pretrained(path, precision="float32")
    assert file.weights_digest == folder.weights_digest
    assert file.size == folder.size
    for asked in ({"boxes": [[4, 4, 30, 30]]}, {"points": [[9, 9]]}, {"mask": np.eye(50, 80)}):
        (a,) = folder.predict(folder.embed(IMAGE), **asked)
        (b,) = file.predict(file.embed(IMAGE), **asked)
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)


def test_pixel_statistics_in_the_file_are_passed_over(weights):
    meta = to_meta_names(weights) | {"pixel_mean": torch.zeros(3), "pixel_std": torch.ones(3)}
    assert from_meta_names(meta).keys() == weights.keys()


def test_weights_that_do_not_fit_together(weights, tmp_path):
    meta = to_meta_names(weights)
    path = tmp_path / "sam.pth"
    torch.save({k: v for k, v in meta.items() if "neck.2" not in k}, path)
    with pytest.raises(ModelError, match="fit together"):
        PromptableSegmenter.from_pretrained(path)
    torch.save(meta | {"image_encoder.neck.2.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="fit together"):
        PromptableSegmenter.from_pretrained(path)
    torch.save({k: v for k, v in meta.items() if "mlp.lin1" not in k}, path)
    with pytest.raises(ModelError, match="fit together"):
        PromptableSegmenter.from_pretrained(path)


@pytest.mark.parametrize("content", [b"\x80", b"\x80\x02.", b"\x80\x02]q\x01a.", b""])
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "sam.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"Expected .* Try "):
        read_meta_file(path)


def test_a_medsam_file_is_known_by_its_name(tiny_sam, tmp_path):
    from transformers import SamModel

    path = tmp_path / "medsam_vit_b.pth"
    save_meta_file(path, SamModel.from_pretrained(tiny_sam))
    assert PromptableSegmenter.from_pretrained(path).accepts == {"box"}


@pytest.mark.parametrize(
    ("part", "setting", "says"),
    [
        ("vision_config", {"use_rel_pos": False}, "relative and absolute positions"),
        ("vision_config", {"use_abs_pos": False}, "relative and absolute positions"),
        ("vision_config", {"hidden_act": "relu"}, "hidden_act = gelu in its vision_config"),
        ("vision_config", {"layer_norm_eps": 1e-3}, "layer_norm_eps"),
        ("vision_config", {"window_size": 0}, "global_attn_indexes"),
        ("mask_decoder_config", {"num_attention_heads": 4}, "8 heads .*, but got 4"),
    ],
)
def test_what_the_file_could_not_say_is_refused_and_nothing_written(
    tiny_sam, tmp_path, part, setting, says
):
    from transformers import SamConfig, SamModel

    document = SamConfig.from_pretrained(tiny_sam).to_dict()
    document[part] |= setting
    with pytest.raises(ModelError, match=says) as met:
        save_meta_file(tmp_path / "sam.pth", SamModel(SamConfig(**document)))
    assert "Try a folder" in str(met.value)
    assert not list(tmp_path.iterdir())


def test_the_small_model_has_no_names_by_meta(tmp_path):
    from penumbra.promptable.small import new_small_model

    with pytest.raises(ModelError, match="be a SamModel, but got SmallSamModel"):
        save_meta_file(tmp_path / "small.pth", new_small_model())
    assert not list(tmp_path.iterdir())
