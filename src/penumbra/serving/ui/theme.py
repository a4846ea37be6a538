"""How the Streamlit app looks and behaves: one file of settings, for both ways to start it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamlit import config

CONFIG = Path(__file__).resolve().parents[1] / ".streamlit" / "config.toml"
"""What `streamlit run` reads by itself, as it lies beside the script."""


def options() -> dict[str, Any]:
    """Read the settings as Streamlit names them.

    Returns:
        Dotted name → value.

    Examples:
        >>> options()["browser.gatherUsageStats"], options()["theme.light.backgroundColor"]
        (False, '#FAFAF7')
    """
    return dict(_flat(tomllib.loads(CONFIG.read_text(encoding="utf-8"))))


def apply(changes: Mapping[str, Any]) -> None:
    """Set every setting in this process, over whatever a user's own files say.

    Args:
        changes: further settings, such as ``{"server.maxUploadSize": 8}``.
    """
    for name, value in (options() | dict(changes)).items():
        config.set_option(name, value, "penumbra")


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
