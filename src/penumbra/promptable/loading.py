"""From a name or a path to a network in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from penumbra.errors import ModelError, expected
from penumbra.promptable.families import Family, family_named, family_of, require
from penumbra.promptable.pixels import Scaling

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A network as it lay on disk, in float32 and evaluation mode.

    Attributes:
        model: the module of transformers.
        family: which family it is of.
        scaling: how it wants its images.
    """

    model: nn.Module
    family: Family
    scaling: Scaling


def load(name: str | Path, *, offline: bool = False, family: str | None = None) -> Loaded:
    """Load what a name or a path means.

    Args:
        name: a folder in the form of Hugging Face.
        offline: never reach for the network.
        family: instead of the one that is recognised.

    Raises:
        ModelError: nothing is there, or it is damaged or of another kind.
        MissingExtraError: the family needs what is not installed.
    """
    path = Path(name)
    if path.is_dir():
        return load_folder(path, called=str(name), family=family)
    where = "offline" if offline else "here"
    raise ModelError(expected(f"the model {name} {where}", "a folder", "no such path", "a folder"))


def load_folder(folder: Path, *, called: str, family: str | None = None) -> Loaded:
    """Load a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        ModelError: a file is missing, damaged or of another size than ``config.json`` says.
        MissingExtraError: the family needs what is not installed.
    """
    config = _read_json(folder / CONFIG_FILE)
    found = family_of(config, called=called) if family is None else family_named(family)
    require(found)
    import transformers  # noqa: PLC0415 - takes seconds, and is an extra

    architecture: Any = getattr(transformers, found.architecture)
    try:
        model, notes = architecture.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(
            expected(str(folder), f"a whole {found.architecture}",
                     str(error).splitlines()[0] if str(error) else repr(error),
                     f"a fresh copy of {WEIGHTS_FILE}")
        ) from error  # fmt: skip
    if notes["missing_keys"]:
        some = ", ".join(sorted(notes["missing_keys"])[:3])
        raise ModelError(
            expected(str(folder / WEIGHTS_FILE), "complete", f"no weights for {some}",
                     "a fresh copy")
        )  # fmt: skip
    return Loaded(model.eval(), found, scaling_of(folder, config, found))


def scaling_of(folder: Path, config: dict[str, Any], family: Family) -> Scaling:
    """Read how images are scaled from ``preprocessor_config.json``, where there is one."""
    side = int(config.get("vision_config", {}).get("image_size", 1024))
    scaling = Scaling(side, fit=family.fit, values=family.values)
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return scaling
    own = _read_json(path)
    return replace(
        scaling,
        mean=tuple(own.get("image_mean") or scaling.mean),
        std=tuple(own.get("image_std") or scaling.std),
    )


def digest_of_weights(module: nn.Module) -> str:
    """Hash names, shapes and values of all weights: SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            expected(str(path), "readable JSON", error, "a fresh copy of the folder")
        ) from error
    if not isinstance(document, dict):
        raise ModelError(expected(str(path), "an object", type(document).__name__, "a fresh copy"))
    return document
