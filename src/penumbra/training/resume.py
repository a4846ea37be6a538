"""What a resumed run goes on with: its experiment, and what its last checkpoint kept."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch

from penumbra.errors import RunError, SettingsError, expected
from penumbra.training.experiment import Experiment
from penumbra.training.run import Run
from penumbra.training.settings_file import SettingsFile

File = TypeVar("File", bound=SettingsFile)
_BOUNDS = ("training.epochs", "training.max_minutes")


def resumed(run: Run, wish: Experiment) -> Experiment:
    """Give the run's own experiment with its bounds raised; other wishes must agree with it.

    Args:
        run: what is to go on.
        wish: see `raised`.

    Raises:
        RunError: the folder is no run.
        SettingsError: the wish differs from the run.
    """
    return raised(run.experiment(), wish)


def raised(kept: File, wish: File) -> File:
    """Give a run's own settings with the bounds of a wish.

    Args:
        kept: the run's own; its section `training` holds the bounds.
        wish: `epochs` and `max_minutes` are taken over; anything else that it says must be what
            the run has.

    Raises:
        SettingsError: the wish differs from the run.
    """
    asked = _leaves(wish.model_dump(mode="json", exclude_defaults=True))
    own = _leaves(kept.model_dump(mode="json"))
    bounds = {key: asked[key] for key in _BOUNDS if key in asked}
    differ = {
        key: value for key, value in asked.items() if value != own.get(key) and key not in bounds
    }
    if differ:
        key, value = next(iter(differ.items()))
        raise SettingsError(
            expected(f"{key} of a resumed run", f"the run's own, {own.get(key)!r}", repr(value),
                     "--resume with --epochs or --max-minutes alone, or a new --out")
        )  # fmt: skip
    changes = [f"{key}={value}" for key, value in bounds.items()]
    return kept.with_settings(changes)


def take_up(run: Run, callbacks: Sequence[pl.Callback]) -> int:
    """Give callbacks the state that a run's last checkpoint kept for them, and say its epochs.

    Raises:
        RunError: there is no checkpoint, or it is damaged or of another version.
    """
    if not run.checkpoint.is_file():
        raise RunError(
            expected(f"a checkpoint in {run.folder}", "there to resume from", "none",
                     "training again into a new folder; the first epoch had not ended")
        )  # fmt: skip
    try:
        state = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
        for callback in callbacks:
            callback.load_state_dict(state["callbacks"][callback.state_key])
        return int(state["epoch"]) + 1
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError,
            pickle.UnpicklingError, struct.error) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise RunError(
            expected(str(run.checkpoint), "a checkpoint of this version", reason,
                     "a fresh copy of the run folder, or training again into a new one")
        ) from error  # fmt: skip


def _leaves(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to ``section.key``; what is left to us (``auto``) asks nothing."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{key}.")
        elif value != "auto":
            found[f"{prefix}{key}"] = value
    return found
