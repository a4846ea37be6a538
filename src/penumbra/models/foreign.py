"""Classes of other packages: found by their dotted path, checked, built, and their output read."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from penumbra.errors import ModelError, expected

Build = Literal["keywords", "config"]

FAILS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What somebody else's network raises where keywords or an image do not suit it."""

BUILDERS = ("torchvision.models.segmentation.",)
"""Packages whose functions may be called to build a network; of others only classes are.

A function named by a run from elsewhere could do anything. Those of torchvision only build.
"""

_BACKBONE = "weights_backbone"


def _found(target: str) -> Any:
    package, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            expected(
                "`target`",
                "the dotted path of an installed torch module",
                f"{target!r} ({error})",
                "installing its package, or a path such as 'monai.networks.nets.BasicUNet'",
            )
        ) from error


def import_module_class(target: str) -> type[nn.Module]:
    """Import the class behind a dotted path and check that it is a network.

    The check comes before any call, so that a model.json from elsewhere cannot name a function.

    Raises:
        ModelError: it cannot be imported, or is not a subclass of `torch.nn.Module`.

    Examples:
        >>> import_module_class("torch.nn.Conv2d").__name__
        'Conv2d'
    """
    found = _found(target)
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


def build_module(
    target: str, keywords: Mapping[str, Any], *, build: Build = "keywords"
) -> nn.Module:
    """Build a network of another package.

    Args:
        target: dotted path of its class, or of a function of `BUILDERS`.
        keywords: keyword arguments, plain values.
        build: ``"keywords"`` calls ``Class(**keywords)``; ``"config"`` makes the configuration
            that the class names as its ``config_class``, as Hugging Face's do, and calls
            ``Class(config_class(**keywords))``.

    Raises:
        ModelError: it cannot be imported, is no network, or does not take the keywords.

    Examples:
        >>> build_module("torch.nn.Conv2d", {"in_channels": 1, "out_channels": 2, "kernel_size": 1})
        Conv2d(1, 2, kernel_size=(1, 1), stride=(1, 1))
    """
    make: Callable[..., Any] = _maker(target, build)
    try:
        made = make(**keywords)
    except FAILS as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            expected(f"`keywords` of {target}", "those of its constructor", reason[0], "its help")
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(expected(f"what {target} builds", "a network", type(made).__name__,
                                  "the path of a class"))  # fmt: skip
    return made


def _maker(target: str, build: Build) -> Callable[..., Any]:
    if build not in ("keywords", "config"):
        raise ModelError(expected("`build`", "'keywords' or 'config'", repr(build), "'keywords'"))
    if target.startswith(BUILDERS) and inspect.isfunction(found := _found(target)):
        # They fetch the backbone's weights unless they are told not to.
        fetches = _BACKBONE in inspect.signature(found).parameters
        return functools.partial(found, **{_BACKBONE: None}) if fetches else found
    cls = import_module_class(target)
    if build == "keywords":
        return cls
    config_class = getattr(cls, "config_class", None)
    if not isinstance(config_class, type):
        raise ModelError(
            expected(f"{target} with build: config", "a class that names its config_class",
                     "one without", "build: keywords")
        )  # fmt: skip

    def from_config(**keywords: Any) -> Any:
        # Such configurations take any name without a word, a mistyped one too.
        known = config_class()
        if unknown := sorted(name for name in keywords if not hasattr(known, name)):
            message = f"{config_class.__name__} has no {', '.join(unknown)}"
            raise TypeError(message)
        return cls(config_class(**keywords))

    return from_config


def read_output(output: Any, form: str, whose: str) -> Tensor:
    """Take the logits out of what a network gave.

    Args:
        output: what it gave.
        form: ``"tensor"`` where that is the logits themselves, ``"first"`` for the first of a
            tuple or list, else the name of a key or attribute such as ``"out"`` or ``"logits"``.
        whose: the network's name, for the error.

    Raises:
        ModelError: the output has another form; the text says which forms would fit.

    Examples:
        >>> import torch
        >>> read_output({"out": torch.zeros(1, 2, 4, 4)}, "out", "Net").shape
        torch.Size([1, 2, 4, 4])
    """
    found = _taken(output, form)
    if isinstance(found, Tensor):
        return found
    fitting = ", ".join(f"output: {name}" for name in _fitting(output))
    raise ModelError(
        expected(
            f"the output of {whose}",
            "a tensor" if form == "tensor" else f"one whose {form} is a tensor",
            type(output).__name__,
            fitting or "a small nn.Module of your own that returns the logits",
        )
    )


def _taken(output: Any, form: str) -> Any:
    if form == "tensor":
        return output
    if form == "first":
        return output[0] if isinstance(output, (tuple, list)) and output else None
    return output.get(form) if isinstance(output, Mapping) else getattr(output, form, None)


def _fitting(output: Any) -> list[str]:
    """List the forms under which there is a tensor in an output."""
    if isinstance(output, Tensor):
        return ["tensor"]
    if isinstance(output, (tuple, list)):
        return ["first"] if isinstance(_taken(output, "first"), Tensor) else []
    named = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
    return [str(name) for name, value in named.items() if isinstance(value, Tensor)]
