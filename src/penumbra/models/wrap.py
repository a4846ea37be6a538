"""Bring any torch module into the house by its dotted path."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.storage import StoredModel
from penumbra.models.unet.blocks import pad_to_multiple

_OUTPUT_KEYS = ("logits", "out", "masks")


def import_module_class(target: str) -> type[nn.Module]:
    """Import the class behind a dotted path and check that it is a network.

    The check comes before any call, so that a model.json from elsewhere cannot name a function.

    Raises:
        ModelError: it cannot be imported, or is not a subclass of `torch.nn.Module`.

    Examples:
        >>> import_module_class("torch.nn.Conv2d").__name__
        'Conv2d'
    """
    package, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            expected(
                "`target`",
                "the dotted path of an installed torch module",
                f"{target!r} ({error})",
                "installing its package, or a path such as 'monai.networks.nets.BasicUNet'",
            )
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(
            expected(
                f"{target!r}", "a subclass of torch.nn.Module", type(found).__name__, "a class"
            )
        )
    return found


def refuse_code_in(folder: Path, target: str) -> None:
    """Refuse a dotted path whose module would be imported from inside a run folder.

    Python may look for modules in the working folder. A run that came from elsewhere could then
    bring code of its own along; installed packages and the reader's own modules are meant.

    Raises:
        ModelError: the module lies in `folder`.
    """
    spec = importlib.util.find_spec(target.partition(".")[0])
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    home = folder.resolve()
    for place in filter(None, places):
        if Path(place).resolve().is_relative_to(home):
            raise ModelError(
                expected(
                    f"the module of {target!r}",
                    "installed, or your own",
                    f"a file inside the run folder ({place})",
                    "reading that file first, and moving it out of the folder if you trust it",
                )
            )


class Wrapped(StoredModel):
    """Any torch module under the house's contract: image in, logits out at the same size.

    Sizes are padded to `multiple` and cropped back; coarser logits (SegFormer's quarter size) are
    upsampled bilinearly; outputs that are dictionaries, objects or tuples give their ``logits``,
    ``out`` or first tensor.

    Args:
        n_channels: image channels that the module takes.
        n_classes: logits K that the module gives.
        target: dotted path of the class, such as ``"monai.networks.nets.BasicUNet"``.
        keywords: its keyword arguments, plain values.
        multiple: the size must divide by this for the module; 32 suits most encoders.

    Raises:
        ModelError: the class cannot be imported or built, or its output has another shape.

    Examples:
        >>> import torch
        >>> conv = Wrapped(1, 2, target="torch.nn.Conv2d",
        ...                keywords={"in_channels": 1, "out_channels": 2, "kernel_size": 1})
        >>> conv(torch.zeros(1, 1, 20, 30)).shape
        torch.Size([1, 2, 20, 30])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        target: str,
        keywords: Mapping[str, Any] | None = None,
        multiple: int = 32,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.n_classes = n_classes
        self.multiple = multiple
        cls = import_module_class(target)
        try:
            self.module = cls(**dict(keywords or {}))
        except (TypeError, ValueError) as error:
            raise ModelError(
                expected(f"`keywords` of {target}", "those of its constructor", error, "its help")
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, K, H, W) at the size of `x` (N, C, H, W)."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        logits = _first_tensor(self.module(padded))
        if logits.ndim != 4 or logits.shape[1] != self.n_classes:
            raise ModelError(
                expected(
                    f"the output of {type(self.module).__name__}",
                    f"(N, {self.n_classes}, H, W)",
                    tuple(logits.shape),
                    f"keywords that make it give {self.n_classes} classes",
                )
            )
        if logits.shape[-2:] != padded.shape[-2:]:
            logits = F.interpolate(
                logits, size=padded.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits[..., :height, :width]


def _first_tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    for key in _OUTPUT_KEYS:
        found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ModelError(
        expected(
            "the module's output",
            f"a tensor, or a mapping, object or tuple with one of {', '.join(_OUTPUT_KEYS)}",
            type(output).__name__,
            "a small nn.Module of your own that returns the logits",
        )
    )
