"""Which experiment a resumed run goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from penumbra.errors import SettingsError, expected
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


def _leaves(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to ``section.key``; what is left to us (``auto``) asks nothing."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{key}.")
        elif value != "auto":
            found[f"{prefix}{key}"] = value
    return found
