"""From a name or a path to a network in memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from penumbra.errors import MissingExtraError, ModelError, RunError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.models.weights import check_weights
from penumbra.promptable.families import Family, family_named, family_of, require
from penumbra.promptable.hub import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE, fetch, is_hub_name
from penumbra.promptable.meta_weights import load_meta_model
from penumbra.promptable.pixels import Scaling

_PICKLES = (".pth", ".pt")


@dataclass(frozen=True)
class Loaded:
    """A network as it lay on disk, in float32 and evaluation mode.

    Attributes:
        model: the module of transformers.
        family: which family it is of.
        scaling: how it wants its images.
        filters: what its images go through first, where a run was tuned so.
    """

    model: nn.Module
    family: Family
    scaling: Scaling
    filters: FilterChain = field(default_factory=FilterChain)


def load(name: str | Path, *, offline: bool = False, family: str | None = None) -> Loaded:
    """Load what a name or a path means.

    Args:
        name: ``"small"``; a folder in the form of Hugging Face; a run that tuned a promptable
            model; a ``.pth`` file as Meta publishes them; ``owner/model`` on the hub.
        offline: never reach for the network.
        family: instead of the one that is recognised.

    Raises:
        ModelError: nothing is there, or it is damaged or of another kind.
        RunError: a tuned run is damaged, or what it was tuned from has other weights now.
        MissingExtraError: the family needs what is not installed.
    """
    from penumbra.promptable.tuning import stored  # noqa: PLC0415 - it needs us, for its base

    path = _find_small() if name == "small" else Path(name)
    if stored.is_tuned_run(path):
        return stored.load_tuned(path, functools.partial(load, offline=offline)).loaded
    if path.is_dir():
        return load_folder(path, called=str(name), family=family)
    if path.is_file():
        return load_file(path, family=family)
    if isinstance(name, str) and is_hub_name(name):
        return load_folder(fetch(name, offline=offline), called=name, family=family)
    raise ModelError(
        expected(f"the model {name}", "a folder, a .pth file, or a name on the hub",
                 "no such path", "small, facebook/sam-vit-base, or the path of a folder or a run")
    )  # fmt: skip


def _find_small() -> Path:
    from penumbra.promptable.small import find_small  # noqa: PLC0415 - one name's business

    return find_small()


def load_file(path: Path, *, family: str | None = None) -> Loaded:
    """Load a ``.pth`` file as Meta publishes them.

    Raises:
        ModelError: it is none, or damaged, or a pickle that asks for code to be run.
        MissingExtraError: transformers is not installed.
    """
    found = family_named(family or ("medsam" if "medsam" in path.name.lower() else "sam"))
    require(found)
    if path.suffix.lower() not in _PICKLES:
        raise ModelError(
            expected(str(path), f"a {' or '.join(_PICKLES)} file as Meta publishes them",
                     f"a {path.suffix or 'file without suffix'}",
                     f"the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}")
        )  # fmt: skip
    model = load_meta_model(path)
    _check_finite(model)
    return Loaded(model, found, Scaling(_side_of(model), fit=found.fit, values=found.values))


def load_folder(folder: Path, *, called: str, family: str | None = None) -> Loaded:
    """Load a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        ModelError: a file is missing, damaged or of another size than ``config.json`` says.
        MissingExtraError: the family needs what is not installed.
    """
    config = _read_json(folder / CONFIG_FILE)
    found = family_of(config, called=called) if family is None else family_named(family)
    require(found)
    architecture = _class_of(found)
    try:
        with _quietly():
            # The library's own refusal of other sizes is a table on standard error.
            model, notes = architecture.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True,
            )  # fmt: skip
    except ImportError as error:
        # The library asks for packages where it first uses them; its text begins with blank lines.
        reason = " ".join(str(error).split())
        raise MissingExtraError(
            expected(f"what a model of the family {found.name} needs", "installed", reason,
                     "installing what is named there, or a model of the families sam or sam-hq")
        ) from error  # fmt: skip
    except pickle.UnpicklingError as error:
        raise ModelError(
            expected(str(folder), f"a folder with {WEIGHTS_FILE}",
                     "a pickle that is damaged or asks for code to be run, which was refused",
                     "a copy of the model in the form of safetensors")
        ) from error  # fmt: skip
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(
            expected(str(folder), f"a whole {found.architecture}",
                     str(error).splitlines()[0] if str(error) else repr(error),
                     f"a fresh copy of {WEIGHTS_FILE}")
        ) from error  # fmt: skip
    _check_sizes(folder, notes["mismatched_keys"])
    if notes["missing_keys"]:
        some = ", ".join(sorted(notes["missing_keys"])[:3])
        raise ModelError(
            expected(str(folder / WEIGHTS_FILE), "complete", f"no weights for {some}",
                     "a fresh copy")
        )  # fmt: skip
    _check_finite(model)
    _settle(model)
    return Loaded(model.eval(), found, scaling_of(folder, _side_of(model), found))


def _class_of(family: Family) -> Any:
    if family.decoder == "small":
        from penumbra.promptable.small_network import small_class  # noqa: PLC0415 - an extra

        return small_class()
    import transformers  # noqa: PLC0415 - takes seconds, and is an extra

    return getattr(transformers, family.architecture)


def _settle(model: nn.Module) -> None:
    """Bring weights that lie in a mapped file to memory of their own.

    In the file they begin wherever its header ends, and products of matrices round by where their
    factors lie: the same weights in two files would answer with other last bits.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _check_finite(model: nn.Module) -> None:
    try:
        check_weights(model)
    except RunError as error:
        raise ModelError(str(error)) from error


def _check_sizes(folder: Path, others: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Refuse weights of other shapes than the config says: (name, in the file, by the config)."""
    found = sorted((name, tuple(held), tuple(wanted)) for name, held, wanted in others)
    if not found:
        return
    name, held, wanted = found[0]
    more = f", and {len(found) - 1} more of other sizes" if len(found) > 1 else ""
    raise ModelError(
        expected(str(folder / WEIGHTS_FILE), f"of the size that {CONFIG_FILE} says, with {name} "
                 f"of {_by(wanted)}", f"{_by(held)}{more}",
                 f"{CONFIG_FILE} and {WEIGHTS_FILE} of one and the same model")
    )  # fmt: skip


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the library's progress bars and reports off standard error.

    Loading takes a moment and may happen often, and what is wrong with a checkpoint we say.
    """
    from transformers.utils import logging as theirs  # noqa: PLC0415 - as above

    logging: Any = theirs

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _side_of(model: Any) -> int:
    return int(model.config.prompt_encoder_config.image_size)


def scaling_of(folder: Path, side: int, family: Family) -> Scaling:
    """Read how images are scaled from ``preprocessor_config.json``, where there is one."""
    scaling = Scaling(side, fit=family.fit, values=family.values)
    path = folder / PROCESSOR_FILE
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
