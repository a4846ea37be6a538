"""Weights and their description on disk: `model.safetensors` beside `model.json`.

Loading executes no code from the folder: the JSON names an architecture of the catalogue with
plain arguments, the weights are safetensors.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from penumbra.errors import ModelError, RunError, expected
from penumbra.models.presence import head_of, restore_presence
from penumbra.storage import write_bytes, write_json

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
MODEL_FILE = "model.json"
PROMPTABLE = "promptable"
"""What `kind` in `model.json` says of a run that answers prompts; other runs have no `kind`."""


def _remember_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Keep what a model was built with, so that it can be built again from its JSON."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: StoredModel, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = {k: v for k, v in bound.arguments.items() if k != "self"}
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        object.__setattr__(self, "_arguments", arguments)

    return wrapped


class StoredModel(
    nn.Module,
    ModelHubMixin,
    library_name="penumbra",
    tags=["image-segmentation", "uncertainty"],
):
    """A network that can be saved, loaded and shared as JSON + safetensors.

    Subclasses get `save_pretrained`, `from_pretrained` and `push_to_hub`. Their constructor
    arguments are remembered and must be plain values.
    """

    _arguments: dict[str, Any]

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init_subclass__(*args, **kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _remember_arguments(cls.__init__)  # type: ignore[method-assign]

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, defaults included, as plain values."""
        return dict(self._arguments)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(save_directory, self)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        folder = Path(model_id)
        if not folder.is_dir():
            names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            chosen = {name: options[name] for name in names if name in options}
            for file in (MODEL_FILE, WEIGHTS_FILE):
                folder = Path(hf_hub_download(repo_id=model_id, filename=file, **chosen)).parent
        model, _ = load_model(folder)
        if not isinstance(model, cls):
            raise ModelError(
                expected(
                    f"the model in {model_id}",
                    f"a {cls.__name__}",
                    type(model).__name__,
                    f"{type(model).__name__}.from_pretrained",
                )
            )
        return model


def save_model(
    folder: Path, model: StoredModel, *, details: Mapping[str, Any] | None = None
) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each atomically.

    Args:
        folder: made if absent.
        model: a network of the catalogue.
        details: what belongs to the weights besides the architecture (preprocessing, classes).
    """
    from penumbra.models.catalogue import architecture_of  # noqa: PLC0415 - the list needs us

    presence = head_of(model)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / WEIGHTS_FILE, save(tensors))
    document = {
        "format_version": FORMAT_VERSION,
        "architecture": architecture_of(model),
        "arguments": model.arguments,
        **({} if presence is None else {"presence": presence.to_json()}),
        **(details or {}),
    }
    write_json(folder / MODEL_FILE, document)


def read_model_json(folder: Path) -> dict[str, Any]:
    """Read and check `model.json`.

    Raises:
        RunError: it is missing, damaged, or of a newer format than this version reads.
    """
    path = Path(folder) / MODEL_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if Path(folder).is_file():
            got = "a file"
        else:
            got = "a folder without it" if Path(folder).is_dir() else "no such folder"
        raise RunError(
            expected(
                str(folder),
                f"a run folder with {MODEL_FILE}",
                got,
                "the folder that `penumbra train … --out` wrote",
            )
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(
            expected(str(path), "readable JSON", error, "a fresh copy of the run folder")
        ) from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or version > FORMAT_VERSION or version < 1:
        raise RunError(
            expected(
                f"the format version in {path}",
                f"1 to {FORMAT_VERSION}",
                version,
                "upgrading Penumbra, since a newer version may have written this run",
            )
        )
    return dict(document)


def load_model(folder: Path) -> tuple[StoredModel, dict[str, Any]]:
    """Build the network that `folder` describes and load its weights.

    Returns:
        The network in evaluation mode, and the whole of `model.json`.

    Raises:
        RunError: a file is missing or damaged, the weights do not fit the network, or the run is
            one of a promptable model.
        ModelError: the architecture is not in the catalogue, or names a module in the folder.
    """
    from penumbra.models.catalogue import build_model  # noqa: PLC0415 - the list needs us
    from penumbra.models.wrap import refuse_code_in  # noqa: PLC0415 - it needs us

    document = read_model_json(folder)
    if document.get("kind") == PROMPTABLE:
        raise RunError(
            expected(str(folder), "a run whose network segments without being asked",
                     "one that tuned a promptable model",
                     f"`penumbra segment IMAGE --box x0,y0,x1,y1 --model {folder}`")
        )  # fmt: skip
    architecture, arguments = document.get("architecture"), document.get("arguments")
    if not isinstance(architecture, str) or not isinstance(arguments, dict):
        raise RunError(
            expected(
                f"{Path(folder) / MODEL_FILE}",
                "one that names an architecture and its arguments",
                f"{architecture!r} with {arguments!r}",
                "a fresh copy of the run folder",
            )
        )
    if "target" in arguments:
        refuse_code_in(Path(folder), str(arguments["target"]))
    model = build_model(architecture, **arguments)
    if "presence" in document:
        restore_presence(model, document["presence"])
    path = Path(folder) / WEIGHTS_FILE
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise RunError(
            expected(
                str(path),
                "the weights of the network in model.json",
                reason,
                "`penumbra train … --resume` if training was cut off, or a fresh copy of the run",
            )
        ) from error
    model.eval()
    return model, document
