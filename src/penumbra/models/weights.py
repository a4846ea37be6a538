"""Whether the weights of a network are numbers at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from penumbra.errors import RunError, expected


def digest_of(file: Path) -> str:
    """Hash a file of weights: SHA-256 as hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_weights(network: nn.Module) -> None:
    """Refuse a network with a weight that is not finite.

    Raises:
        RunError: the text names the tensor.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise RunError(
                expected(f"the weights {name}", "finite", f"{bad} of {tensor.numel()} that are not",
                         "an earlier checkpoint, or training again at a lower learning rate")
            )  # fmt: skip
