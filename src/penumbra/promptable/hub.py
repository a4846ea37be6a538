"""Models by their name on the hub: the one place where this room may reach for the network."""

from __future__ import annotations

import re
from pathlib import Path

from penumbra.errors import ModelError, expected

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PROCESSOR_FILE = "preprocessor_config.json"

_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_WANTED = [CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE, "model-*.safetensors",
           "model.safetensors.index.json"]  # fmt: skip


def is_hub_name(name: str) -> bool:
    """Tell whether a name could be that of a repository on the hub.

    Examples:
        >>> is_hub_name("facebook/sam-vit-base"), is_hub_name("./models/sam")
        (True, False)
    """
    return bool(_NAME.match(name))


def fetch(name: str, *, offline: bool = False) -> Path:
    """Give the folder of a model of the hub, downloading it where it is not there yet.

    What was fetched before is used as it is, without asking for news, so that a name means the
    same weights every day. Only settings and safetensors are fetched, never code or pickles.

    Args:
        name: ``owner/model``.
        offline: use only what was fetched before.

    Raises:
        ModelError: it is not there and cannot be fetched; the text says which files to put where.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only by name
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    reason = "no copy of it here"
    for local in (True,) if offline else (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=_WANTED, local_files_only=local))
        except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
            reason = reason if local else str(error).splitlines()[0]
            continue
        if (folder / CONFIG_FILE).is_file() and any(folder.glob("*.safetensors")):
            return folder
        reason = f"no {CONFIG_FILE} with safetensors in it"
    raise ModelError(
        expected(f"the model {name}", "at hand" if offline else "on the hub, or at hand", reason,
                 f"downloading {CONFIG_FILE}, {WEIGHTS_FILE} and {PROCESSOR_FILE} of {name} on a "
                 "machine with a network, putting them into one folder here, and naming that "
                 "folder as the model")
    )  # fmt: skip
