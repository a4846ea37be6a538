"""Which weights a tuning changes, and how they are kept alone."""

from __future__ import annotations

import re
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from penumbra.errors import MissingExtraError, RunError, SettingsError, expected
from penumbra.promptable.tuning.settings import LoraSettings, TuneSettings
from penumbra.storage import write_bytes

DECODER_FILE = "decoder.safetensors"
"""The mask decoder's weights, with the names that they have in transformers."""

ADAPTER_FOLDER = "adapter"
"""An adapter in the form of peft."""

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
DECODER = "mask_decoder"
_POSITIONS = "positional_embedding"
_IN_DECODER = r"mask_decoder\..*\.(q_proj|k_proj|v_proj|out_proj|lin1|lin2)"


def select_parts(model: nn.Module, settings: TuneSettings) -> nn.Module:
    """Free the weights that are to be tuned, and freeze all others.

    Args:
        model: of transformers; adapters are put into it.
        settings: what is to be tuned.

    Returns:
        What saves the adapters for ``lora`` (peft's model around `model`), else `model` itself.

    Raises:
        SettingsError: the encoder has no attention that adapters could go into.
        MissingExtraError: peft is not installed.
    """
    full = settings.mode == "full"
    for name, parameter in model.named_parameters():
        # Positions are drawn once and never learned: every embedding and prompt relies on them.
        parameter.requires_grad_(full and _POSITIONS not in name)
    around = with_adapters(model, settings.lora) if settings.mode == "lora" else model
    if settings.mode == "decoder" or (settings.mode == "lora" and settings.lora.decoder == "full"):
        decoder = model.get_submodule(DECODER)
        decoder.requires_grad_(requires_grad=True)
    return around


def with_adapters(model: nn.Module, settings: LoraSettings) -> nn.Module:
    """Put low-rank adapters into a model, in place, and give peft's model around it.

    Raises:
        SettingsError: the encoder has no `layers.N.attn.qkv`.
        MissingExtraError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise MissingExtraError(
            expected("peft", "installed, since adapters are to be trained or read", "nothing",
                     'pip install "penumbra-segmentation[sam]"')
        )  # fmt: skip
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - takes seconds, and is an extra

    options: dict[str, Any] = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": adapted_modules(model, settings),
    }
    # Adapters start from torch's global draws; their seed is set by whoever forked it.
    with warnings.catch_warnings():
        # The two libraries' own affair.
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        wrapped: nn.Module = get_peft_model(model, LoraConfig(**options))
    return wrapped


def adapted_modules(model: nn.Module, settings: LoraSettings) -> list[str]:
    """Name the layers that get adapters: query, key and value of the encoder's last blocks.

    Raises:
        SettingsError: the encoder has no such layers.
    """
    names = [name for name, _ in model.named_modules()]
    pattern = re.compile(r"vision_encoder\.layers\.(\d+)\.attn\.qkv")
    found = {int(match[1]): name for name in names if (match := pattern.fullmatch(name))}
    if not found:
        raise SettingsError(
            expected("the encoder", "a ViT with attention in its layers, for adapters", "another "
                     "kind of network", "--tune decoder or --tune full")
        )  # fmt: skip
    count = settings.blocks or max(1, round(len(found) / 3))
    chosen = [found[number] for number in sorted(found)[-count:]]
    if settings.decoder == "lora":
        chosen += [name for name in names if re.fullmatch(_IN_DECODER, name)]
    return chosen


def save_parts(folder: Path, around: nn.Module, settings: TuneSettings) -> None:
    """Write what was tuned, alone: the adapter and the decoder, or the decoder.

    Args:
        folder: the run.
        around: what `select_parts` gave.
        settings: what was tuned; ``full`` is not for here.

    Raises:
        StorageError: a file cannot be written.
    """
    if settings.mode == "lora":
        with tempfile.TemporaryDirectory() as temporary:
            around.save_pretrained(temporary)  # type: ignore[operator]
            for name in ADAPTER_FILES:
                write_bytes(folder / ADAPTER_FOLDER / name, (Path(temporary) / name).read_bytes())
    if settings.mode == "decoder" or settings.lora.decoder == "full":
        found = _inner(around).get_submodule(DECODER).state_dict()
        tensors = {f"{DECODER}.{name}": value.contiguous() for name, value in found.items()}
        write_bytes(folder / DECODER_FILE, save(tensors))


def load_parts(folder: Path, model: nn.Module, settings: TuneSettings) -> nn.Module:
    """Put the tuned parts of a run into its base model, adapters merged into the weights.

    Raises:
        RunError: a file is missing, damaged, or does not fit the model.
        MissingExtraError: peft is needed and not installed.
    """
    if settings.mode == "decoder" or settings.lora.decoder == "full":
        tensors = _read(folder / DECODER_FILE)
        _fitted(folder / DECODER_FILE, model, tensors, whole=f"{DECODER}.")
    if settings.mode != "lora":
        return model
    path = folder / ADAPTER_FOLDER / ADAPTER_FILES[0]
    tensors = _read(path)
    with torch.random.fork_rng(devices=[]):
        around: Any = with_adapters(model, settings.lora)
    renamed = {
        re.sub(r"(lora_[AB])\.weight$", r"\1.default.weight", k): v for k, v in tensors.items()
    }
    _fitted(path, around, renamed, whole="base_model.model.", only="lora_")
    merged: nn.Module = around.merge_and_unload()
    return merged


def _inner(around: Any) -> nn.Module:
    inner: nn.Module = around.get_base_model() if hasattr(around, "get_base_model") else around
    return inner


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            expected(str(path), "the tuned weights of the run", error,
                     "`penumbra train … --resume` if training was cut off, or a fresh copy")
        ) from error  # fmt: skip


def _fitted(
    path: Path, model: nn.Module, tensors: dict[str, Tensor], *, whole: str, only: str = ""
) -> None:
    """Load tensors that must be all of the model's with that prefix, each of its shape."""
    wanted = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if name.startswith(whole) and only in name
    }
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != got:
        differ = sorted(name for name in wanted | got if wanted.get(name) != got.get(name))
        raise RunError(
            expected(str(path), "weights of the base model's shapes",
                     f"others for {', '.join(differ[:2])}", "the base that the run was tuned from")
        )  # fmt: skip
    bad = sorted(name for name, value in tensors.items() if not bool(value.isfinite().all()))
    if bad:
        raise RunError(
            expected(str(path), "finite", f"NaN or infinity in {bad[0]}",
                     "tuning again at a lower learning rate")
        )  # fmt: skip
    model.load_state_dict(tensors, strict=False)
