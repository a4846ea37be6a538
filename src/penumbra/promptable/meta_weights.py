"""Meta's own ``.pth`` files of SAM: their names for weights, and transformers' names, both ways.

The two hold the same tensors under other names. The mapping is a list of pairs, read from left to
right for loading and from right to left for writing.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import ModelError, expected

_SHARED = "shared_image_embedding.positional_embedding"
_PROMPT_SHARED = "prompt_encoder.shared_embedding.positional_embedding"

_BLOCK = r"(\d+)"

_PAIRS: tuple[tuple[str, str], ...] = (
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.blocks.#.norm1.", "vision_encoder.layers.#.layer_norm1."),
    ("image_encoder.blocks.#.norm2.", "vision_encoder.layers.#.layer_norm2."),
    ("image_encoder.blocks.#.", "vision_encoder.layers.#."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", _PROMPT_SHARED),
    ("prompt_encoder.point_embeddings.", "prompt_encoder.point_embed."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    (
        "mask_decoder.transformer.norm_final_attn.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
    ("mask_decoder.transformer.layers.#.norm", "mask_decoder.transformer.layers.#.layer_norm"),
)
"""Beginnings of names, ``#`` a number; the first that fits is used, others stay as they are."""

_HEADS = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.(.+?)\.(weight|bias)$"
)


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(prefix).replace(r"\#", "#").replace("#", _BLOCK))


_FROM_META = tuple((_pattern(meta), ours.replace("#", r"\1")) for meta, ours in _PAIRS)
_TO_META = tuple((_pattern(ours), meta.replace("#", r"\1")) for meta, ours in _PAIRS)


def _renamed(name: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        found, count = pattern.subn(replacement, name)
        if count:
            return found
    return name


def _depths(names: Iterable[str]) -> dict[str, int]:
    """Count the linear layers of each of the decoder's heads."""
    depths: dict[str, int] = {}
    for name in names:
        found = _HEADS.match(name)
        if found and found[3] == "weight":
            depths[found[1]] = depths.get(found[1], 0) + 1
    return depths


def _head_name(name: str, depths: Mapping[str, int], *, meta: bool) -> str | None:
    """Rename a layer of a head: Meta counts all, transformers names the first and the last."""
    found = _HEADS.match(name)
    if not found:
        return None
    head, layer, kind = found.groups()
    last = depths[head] - 1
    if meta:
        number = int(layer.removeprefix("layers."))
        between = f"layers.{number - 1}"
        new = "proj_in" if number == 0 else "proj_out" if number == last else between
    elif layer in ("proj_in", "proj_out"):
        new = f"layers.{0 if layer == 'proj_in' else last}"
    else:
        new = f"layers.{int(layer.removeprefix('layers.')) + 1}"
    return f"{head}.{new}.{kind}"


def from_meta_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Meta's weights as transformers' `SamModel` calls them.

    Examples:
        >>> names = from_meta_names({"image_encoder.blocks.3.norm1.bias": torch.zeros(2)})
        >>> list(names)
        ['vision_encoder.layers.3.layer_norm1.bias']
    """
    depths = _depths(weights)
    found = {}
    for name, tensor in weights.items():
        if name in ("pixel_mean", "pixel_std"):
            continue
        found[_head_name(name, depths, meta=True) or _renamed(name, _FROM_META)] = tensor
    if _PROMPT_SHARED in found:
        found[_SHARED] = found[_PROMPT_SHARED]
    return found


def to_meta_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of transformers' `SamModel` as Meta calls them.

    Examples:
        >>> list(to_meta_names({"vision_encoder.layers.3.layer_norm1.bias": torch.zeros(2)}))
        ['image_encoder.blocks.3.norm1.bias']
    """
    depths = _depths(weights)
    return {
        _head_name(name, depths, meta=False) or _renamed(name, _TO_META): tensor
        for name, tensor in weights.items()
        if name != _SHARED
    }


def read_meta_file(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth`` file of weights, under Meta's names, without running anything in it.

    Raises:
        ModelError: it is missing, damaged, no file of weights, or a pickle that asks for code to be
            run, which is refused.
    """
    try:
        with warnings.catch_warnings():
            # A pickle that was not written by torch is warned of, and then refused below.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
            document = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            expected(str(path), "a file of weights alone",
                     "a pickle that is damaged or asks for code to be run, which was refused",
                     "the file from its official place, or a safetensors file")
        ) from error  # fmt: skip
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AssertionError, TypeError,
            AttributeError) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ModelError(
            expected(str(path), "a whole .pth file of weights", reason, "a fresh copy of it")
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            document = document[key]
    if not isinstance(document, dict) or not document:
        raise ModelError(
            expected(str(path), "a table of weights by name", type(document).__name__,
                     "sam_vit_b, sam_vit_l or sam_vit_h as Meta published it")
        )  # fmt: skip
    tensors = {name.removeprefix("module."): value for name, value in document.items()
               if isinstance(name, str) and isinstance(value, Tensor)}  # fmt: skip
    if "image_encoder.patch_embed.proj.weight" not in tensors:
        raise ModelError(
            expected(str(path), "a SAM under Meta's names", ", ".join(sorted(tensors)[:3]) or
                     "no tensors", "sam_vit_b, sam_vit_l or sam_vit_h as Meta published it")
        )  # fmt: skip
    return tensors


def config_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the size of a SAM off the shapes of its weights, under Meta's names.

    Heads of the mask decoder leave no trace in shapes; Meta's models all have eight, and
    `save_meta_file` writes no others.

    Raises:
        KeyError: a weight is missing.
        ValueError: the shapes fit no SAM.
    """
    patch = weights["image_encoder.patch_embed.proj.weight"]
    hidden, channels, patch_size, _ = patch.shape
    grid = weights["image_encoder.pos_embed"].shape[1]
    blocks = {
        int(m[1]) for name in weights if (m := re.match(r"image_encoder\.blocks\.(\d+)\.", name))
    }
    spans = [
        (weights[f"image_encoder.blocks.{n}.attn.rel_pos_h"].shape[0] + 1) // 2
        for n in sorted(blocks)
    ]
    head = weights["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    windows = [span for span in spans if span != grid]
    matrix = weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    layers = "mask_decoder.transformer.layers"
    width = weights["mask_decoder.iou_token.weight"].shape[1]
    inner = weights[f"{layers}.0.cross_attn_token_to_image.q_proj.weight"].shape[0]
    iou = "mask_decoder.iou_prediction_head"
    return {
        "vision_config": {
            "hidden_size": hidden,
            "num_channels": channels,
            "patch_size": patch_size,
            "image_size": grid * patch_size,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": hidden // head,
            "window_size": windows[0] if windows else 0,
            "global_attn_indexes": [n for n, span in enumerate(spans) if span == grid],
            "mlp_dim": weights["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            "output_channels": weights["image_encoder.neck.0.weight"].shape[0],
            "num_pos_feats": matrix.shape[1],
        },
        "prompt_encoder_config": {
            "hidden_size": width,
            "patch_size": patch_size,
            "image_size": grid * patch_size,
            "mask_input_channels": weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        },
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": weights[f"{layers}.0.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": len({n.split(".")[3] for n in weights if n.startswith(layers)}),
            "attention_downsample_rate": width // inner,
            "num_multimask_outputs": weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_head_hidden_dim": weights[f"{iou}.layers.0.weight"].shape[0],
            "iou_head_depth": len([n for n in weights if n.startswith(iou)]) // 2,
        },
    }  # fmt: skip


def load_meta_model(path: Path) -> nn.Module:
    """Build a `SamModel` of the size that a ``.pth`` file holds, and give it those weights.

    Raises:
        ModelError: as `read_meta_file`; or the weights make no SAM of any size.
    """
    from transformers import SamConfig, SamModel  # noqa: PLC0415 - takes seconds, and is an extra

    weights = read_meta_file(path)
    try:
        model: nn.Module = SamModel(SamConfig(**config_of(weights)))
        model.load_state_dict(from_meta_names(weights))
    except (KeyError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ModelError(
            expected(str(path), "a SAM whose weights fit together", reason,
                     "sam_vit_b, sam_vit_l or sam_vit_h as Meta published it")
        ) from error  # fmt: skip
    return model.eval()


_META_HEADS = 8
"""Of the mask decoder's attention, in every model that Meta published."""

_UNSEEN: dict[str, tuple[str, ...]] = {
    "vision_config": ("hidden_act", "layer_norm_eps", "use_abs_pos"),
    "prompt_encoder_config": ("hidden_act", "layer_norm_eps", "num_point_embeddings"),
    "mask_decoder_config": ("hidden_act", "layer_norm_eps"),
}
"""Settings that leave no trace in shapes, and are in Meta's programs as they are by default."""


def save_meta_file(path: Path, model: nn.Module) -> None:
    """Write a `SamModel` as a ``.pth`` file under Meta's names, atomically.

    Such a file holds no settings: whoever loads it takes them from the shapes of the weights, and
    takes the rest to be as in Meta's models. A model of which that is not true is refused.

    Raises:
        ModelError: it has no relative positions, a number of heads other than 8 in its mask
            decoder, or another setting that the file could not say; nothing is written.
        StorageError: it cannot be written.
    """
    from penumbra.storage import atomic_path  # noqa: PLC0415 - for writing alone

    weights = to_meta_names(model.state_dict())
    _check_sayable(model, weights)
    with atomic_path(path) as temporary:
        torch.save(weights, temporary)


def _check_sayable(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that a file of these weights alone would be read as the model that they are of."""
    own: Any = model.config
    if type(model).__name__ != "SamModel":
        raise _unsayable("a SamModel", type(model).__name__)
    if not (own.vision_config.use_rel_pos and own.vision_config.use_abs_pos):
        raise _unsayable("relative and absolute positions in the encoder's attention",
                         "a model without one of them")  # fmt: skip
    heads = own.mask_decoder_config.num_attention_heads
    if heads != _META_HEADS:
        raise _unsayable(f"{_META_HEADS} heads in the mask decoder's attention", heads)
    from transformers import SamConfig  # noqa: PLC0415 - takes seconds, and is an extra

    try:
        seen = config_of(weights)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise _unsayable("shapes that say its size", error) from error
    usual = SamConfig()
    for part, settings in seen.items():
        mine = getattr(own, part)
        unseen = {name: getattr(getattr(usual, part), name) for name in _UNSEEN[part]}
        for name, value in (settings | unseen).items():
            if getattr(mine, name) != value:
                raise _unsayable(f"{name} = {value} in its {part}", getattr(mine, name))


def _unsayable(to_be: str, got: object) -> ModelError:
    return ModelError(
        expected("a model that is to be written under Meta's names", f"one with {to_be}"
                 if "SamModel" not in to_be else to_be, got,
                 "a folder in the form of Hugging Face, whose config.json says what it has")
    )  # fmt: skip
