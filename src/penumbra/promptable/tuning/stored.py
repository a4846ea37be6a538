"""A tuned model on disk: what was tuned, alone, and the name of what it was tuned from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from penumbra.errors import RunError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.models.storage import FORMAT_VERSION, MODEL_FILE, PROMPTABLE, read_model_json
from penumbra.promptable.families import FAMILY_KEY
from penumbra.promptable.loading import Loaded, digest_of_weights
from penumbra.promptable.tuning.parts import load_parts, save_parts
from penumbra.promptable.tuning.settings import TuneSettings
from penumbra.storage import write_bytes, write_json

WHOLE_FOLDER = "whole"
"""All weights after ``full``, in the form of Hugging Face."""


@dataclass(frozen=True)
class Base:
    """What a run was tuned from.

    Attributes:
        name: as `PromptableSegmenter.from_pretrained` takes it.
        family: which family it is of.
        digest: SHA-256 of its weights.
    """

    name: str
    family: str
    digest: str


@dataclass(frozen=True)
class TunedModel:
    """A tuned model, ready to be prompted.

    Attributes:
        loaded: the network with what was tuned merged into it, and the filters of its images.
        base: what it was tuned from.
        settings: what was tuned.
    """

    loaded: Loaded
    base: Base
    settings: TuneSettings


LoadBase = Callable[..., Loaded]
"""Loads a model by its name: ``load(name, family=…)``."""


def is_tuned_run(folder: Path) -> bool:
    """Tell whether a folder is a run that tuned a promptable model."""
    try:
        document = json.loads((Path(folder) / MODEL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("kind") == PROMPTABLE


def save_tuned(
    folder: Path,
    around: nn.Module,
    *,
    base: Base,
    settings: TuneSettings,
    filters: FilterChain,
    scaling: Any,
    details: dict[str, Any],
) -> None:
    """Write the tuned parts and, last, the `model.json` that says what they are.

    Args:
        folder: the run.
        around: what `select_parts` gave.
        base: what is tuned.
        settings: what of it.
        filters: what images go through.
        scaling: how images are scaled, for a whole model.
        details: what else `model.json` should say.

    Raises:
        StorageError: a file cannot be written.
    """
    if settings.mode == "full":
        write_whole(folder / WHOLE_FOLDER, around, scaling, family=base.family)
    else:
        save_parts(folder, around, settings)
    document = {
        "format_version": FORMAT_VERSION,
        "kind": PROMPTABLE,
        "base": {
            "name": _portable(base.name, folder),
            "family": base.family,
            "weights_sha256": base.digest,
        },
        "tune": settings.model_dump(mode="json"),
        "filters": filters.model_dump(mode="json"),
        "class_names": ["background", "object"],
        **details,
    }
    write_json(folder / MODEL_FILE, document)


def load_tuned(folder: Path, load_base: LoadBase) -> TunedModel:
    """Load the model of a tuned run.

    Args:
        folder: the run.
        load_base: how the base is loaded.

    Raises:
        RunError: a file is missing or damaged, or the base has other weights than it had.
        ModelError: the base is not there.
        MissingExtraError: what is needed to load it is not installed.
    """
    document = read_model_json(folder)
    base, settings, filters = _described(folder, document)
    if settings.mode == "full":
        whole = load_base(str(folder / WHOLE_FOLDER), family=base.family)
        return TunedModel(replace(whole, filters=filters), base, settings)
    loaded = load_base(base.name, family=base.family)
    if digest_of_weights(loaded.model) != base.digest:
        raise RunError(
            expected(f"{base.name}, which {folder} was tuned from,", "the same as then",
                     "a model with other weights", "the weights of that time, or tuning again")
        )  # fmt: skip
    model = load_parts(folder, loaded.model, settings).eval()
    tuned = Loaded(model, loaded.family, loaded.scaling, filters)
    return TunedModel(tuned, base, settings)


def write_whole(folder: Path, model: Any, scaling: Any, *, family: str) -> None:
    """Write a whole model in the form of Hugging Face: weights, config, image processor.

    Args:
        folder: made if need be; weights first, so that a config says that they are whole.
        model: of transformers.
        scaling: how it wants its images.
        family: which family it is of, which `model_type` alone does not always say.

    Raises:
        StorageError: a file cannot be written.
    """
    from safetensors.torch import save  # noqa: PLC0415 - beside the weights only

    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    tensors = {
        name: value.detach().float().cpu().contiguous()
        for name, value in model.state_dict().items()
        if name not in tied
    }
    write_bytes(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_json(folder / "preprocessor_config.json", processor_config(scaling))
    config = model.config.to_dict() | {
        "architectures": [type(model).__name__], "dtype": "float32", FAMILY_KEY: family,
    }  # fmt: skip
    write_bytes(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def processor_config(scaling: Any) -> dict[str, Any]:
    """Describe the scaling of images as transformers' `SamImageProcessor` reads it."""
    low = scaling.side // 4
    return {
        "image_processor_type": "SamImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": True,
        "image_mean": list(scaling.mean),
        "image_std": list(scaling.std),
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": {"longest_edge": scaling.side},
        "pad_size": {"height": scaling.side, "width": scaling.side},
        "mask_size": {"longest_edge": low},
        "mask_pad_size": {"height": low, "width": low},
    }


def _described(folder: Path, document: dict[str, Any]) -> tuple[Base, TuneSettings, FilterChain]:
    try:
        base = document["base"]
        found = Base(
            _found(str(base["name"]), folder), str(base["family"]), str(base["weights_sha256"])
        )
        settings = TuneSettings.model_validate(document["tune"])
        return found, settings, FilterChain.model_validate(document.get("filters", []))
    except (KeyError, TypeError, ValidationError) as error:
        raise RunError(
            expected(str(folder / MODEL_FILE), "that of a tuned promptable model",
                     f"{type(error).__name__} at {str(error).splitlines()[0]}",
                     "a fresh copy of the run folder")
        ) from error  # fmt: skip


def _portable(name: str, folder: Path) -> str:
    """Write a path relative to the run where it can be, so that both can be moved together."""
    path = Path(name)
    # `small` is the installed model, whatever folder of that name lies here.
    if name == "small" or not path.exists():
        return name
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        # Another drive of Windows.
        return path.resolve().as_posix()


def _found(name: str, folder: Path) -> str:
    """Give the path that a name stands for, seen from the run, or the name itself."""
    if name == "small":
        return name
    near = folder / name
    return str(near) if name.startswith(".") or near.exists() else name
