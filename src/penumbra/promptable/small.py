"""The small promptable model: Segment Anything's parts at 256² with 2 million weights."""

from __future__ import annotations

import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from penumbra.errors import MissingExtraError, ModelError, expected
from penumbra.promptable.families import FAMILY_KEY
from penumbra.promptable.pixels import IMAGENET_MEAN, IMAGENET_STD
from penumbra.promptable.small_network import STRIDE, small_class
from penumbra.storage import write_bytes, write_json

SIDE = 256
"""Side of the square input in pixels."""

FOLDER_VARIABLE = "PENUMBRA_MODELS"
"""Names the folder that models are looked for in, instead of the user's cache folder."""

COMMAND = "python benchmarks/promptable_small.py --out FOLDER/small"
"""What makes the model again."""

_WITH_WEIGHTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding, nn.GroupNorm)
_FREQUENCIES = (0.1, 3.0)
_NEARNESS = 3.0
_EMBEDDING_SCALE = 0.3


def small_config(
    *,
    widths: tuple[int, ...] = (24, 48, 96),
    deepest: int = 160,
    layers: int = 2,
    heads: int = 5,
    decoder_width: int = 64,
    decoder_mlp: int = 256,
) -> Any:
    """Describe the architecture as transformers' `SamConfig`, with the encoder's own widths.

    Args:
        widths: channels of the encoder at a half, a quarter and an eighth of the resolution;
            multiples of 8.
        deepest: channels at a sixteenth, where attention reaches over the whole image.
        layers: of attention.
        heads: of each.
        decoder_width: channels of embedding, prompts and decoder.
        decoder_mlp: hidden width of the decoder's MLPs.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = _transformers()
    vision = {
        "hidden_size": deepest, "output_channels": decoder_width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "image_size": SIDE, "patch_size": 2 * STRIDE,
        "mlp_ratio": 3.0, "window_size": 0, "global_attn_indexes": list(range(layers)),
        "use_rel_pos": False, "num_pos_feats": decoder_width // 2, "initializer_range": 0.02,
    }  # fmt: skip
    return transformers.SamConfig(
        vision_config=vision,
        prompt_encoder_config={
            "hidden_size": decoder_width, "image_size": SIDE, "patch_size": STRIDE,
            "mask_input_channels": 32,
        },
        mask_decoder_config={
            "hidden_size": decoder_width, "mlp_dim": decoder_mlp, "num_attention_heads": 4,
            "iou_head_hidden_dim": decoder_width,
        },
        conv_widths=list(widths),
        **{FAMILY_KEY: "small"},
    )  # fmt: skip


def new_small_model(config: Any = None, *, seed: int = 0) -> nn.Module:
    """Build the model with random weights that `seed` decides; torch's own state is left alone.

    The library's own random weights are made to be overwritten by a checkpoint: nothing is learned
    from them in the time that there is. These begin where a prompt already has a place: positions
    are sines of x and of y alone, with wavelengths from five images to a sixth of one, and the
    decoder's queries and keys start out equal, so that tokens attend to what lies near them.

    Args:
        config: from `small_config`.
        seed: decides the weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    _transformers()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model: Any = small_class()(small_config() if config is None else config)
        for module in model.modules():
            if isinstance(module, _WITH_WEIGHTS):
                module.reset_parameters()
        _place_positions(model)
        _let_tokens_see_near(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("shared" not in name)
    built: nn.Module = model
    return built


def _place_positions(model: Any) -> None:
    features = model.shared_image_embedding.positional_embedding
    half = features.shape[1] // 2
    low, high = (math.log10(frequency) for frequency in _FREQUENCIES)
    frequencies = torch.logspace(low, high, half)
    features.zero_()
    features[0, :half], features[1, half : 2 * half] = frequencies, frequencies
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(features)
    # The encoder's positions are learned, from sines of one period to as many as fit.
    table = model.vision_encoder.pos_embed
    side, channels = table.shape[1], table.shape[3]
    octaves = math.log2(max(2, side)) - 1
    angles = (
        math.pi
        * torch.arange(side)[:, None]
        / side
        * 2 ** torch.linspace(0, octaves, channels // 4)
    )
    waves = 0.5 * torch.cat([angles.sin(), angles.cos()], dim=1)
    down, across = waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)
    table[0, :, :, : 2 * waves.shape[1]] = torch.cat([down, across], dim=2)


def _let_tokens_see_near(model: Any) -> None:
    for module in model.mask_decoder.modules():
        if hasattr(module, "q_proj"):
            module.q_proj.weight.mul_(_NEARNESS)
            module.k_proj.weight.copy_(module.q_proj.weight)
    encoder, decoder = model.prompt_encoder, model.mask_decoder
    # What a token is must not drown where it is.
    for embedding in (*encoder.point_embed, encoder.not_a_point_embed, encoder.no_mask_embed,
                      decoder.iou_token, decoder.mask_tokens):  # fmt: skip
        embedding.weight.mul_(_EMBEDDING_SCALE)


def save_model(model: nn.Module, folder: Path, *, weights: dict[str, Any] | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``, atomically.

    Args:
        model: of transformers.
        folder: is made.
        weights: instead of the model's own, such as their moving average.

    Raises:
        StorageError: the folder cannot be written.
    """
    state = model.state_dict() if weights is None else weights
    # Weights that share memory are written twice, since the format knows no sharing.
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    described: Any = model.config
    write_bytes(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_json(
        folder / "preprocessor_config.json",
        {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD,
         "image_processor_type": "SamImageProcessor", "size": {"longest_edge": SIDE},
         "pad_size": {"height": SIDE, "width": SIDE}},
    )  # fmt: skip
    write_json(folder / "config.json", {**described.to_dict(), "architectures": ["SmallSamModel"]})


def models_folder() -> Path:
    """Give the folder that models are looked for in; it need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "penumbra" / "models"


def find_small() -> Path:
    """Give the folder of the small model that was trained on this machine.

    Raises:
        ModelError: it was not; the text says how to train it.
    """
    folder = models_folder() / "small"
    if (folder / "config.json").is_file():
        return folder
    raise ModelError(
        expected(
            "the model 'small'",
            f"in {folder}",
            "no such folder (it is trained on sets that may not be passed on, and so not shipped)",
            f"training it, an hour on two cores: {COMMAND.replace('FOLDER', str(folder.parent))}, "
            f"or {FOLDER_VARIABLE} for the folder that holds it",
        )
    )


def _transformers() -> Any:
    if find_spec("transformers") is None:
        raise MissingExtraError(
            expected("transformers", "installed", "no such package",
                     "pip install 'penumbra-segmentation[sam]'")
        )  # fmt: skip
    import transformers  # noqa: PLC0415 - takes seconds, and is an extra

    return transformers
