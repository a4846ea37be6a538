"""The one visible list of architectures."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from penumbra.errors import ModelError, expected
from penumbra.models.storage import StoredModel


@dataclass(frozen=True)
class Architecture:
    """One row of the catalogue.

    Attributes:
        name: what `--model` takes.
        path: dotted path of the class; imported when it is built.
        describe: one sentence for `penumbra models`.
        defaults: arguments that training gives where the experiment does not.
    """

    name: str
    path: str
    describe: str
    defaults: tuple[tuple[str, Any], ...] = ()


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "unet",
        "penumbra.models.unet.unet.UNet",
        "The classic U-Net; width, depth and normalisation are arguments.",
        (("width", 32),),
    ),
    Architecture(
        "noise-unet",
        "penumbra.models.noise_unet.NoiseAwareUNet",
        "The U-Net with gated feature noise at its skips and bottleneck (experimental).",
        (("width", 32),),
    ),
    Architecture(
        "ssn-unet",
        "penumbra.models.ssn_unet.SSNUNet",
        "The U-Net with a low-rank normal distribution of logits; train it with the loss ssn.",
        (("width", 32),),
    ),
    Architecture(
        "vgg16-unet",
        "penumbra.models.vgg.unet.VGG16UNet",
        "VGG-16 (or its batch_norm variant) with skips to a light decoder; takes ImageNet weights.",
    ),
    Architecture(
        "vgg16-fcn8s",
        "penumbra.models.vgg.fcn.VGG16FCN8s",
        "The plain FCN-8s on VGG-16; takes ImageNet weights.",
    ),
    Architecture(
        "wrap",
        "penumbra.models.wrap.Wrapped",
        "Any installed torch module by dotted path (SMP, MONAI, Hugging Face, your own).",
    ),
)


def _class_of(architecture: Architecture) -> type[StoredModel]:
    module, _, name = architecture.path.rpartition(".")
    cls: type[StoredModel] = getattr(importlib.import_module(module), name)
    return cls


def find_architecture(name: str) -> Architecture:
    """Find a row by its name.

    Raises:
        ModelError: no architecture has that name; the text lists those that exist.
    """
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    known = ", ".join(row.name for row in ARCHITECTURES)
    raise ModelError(expected("the model", f"one of {known}", repr(name), "`penumbra models`"))


def build_model(name: str, **arguments: Any) -> StoredModel:
    """Build a network by its name in the catalogue.

    Raises:
        ModelError: the name is unknown, or the arguments do not fit the architecture.

    Examples:
        >>> build_model("unet", n_channels=1, n_classes=1, width=8).n_classes
        1
    """
    architecture = find_architecture(name)
    try:
        return _class_of(architecture)(**arguments)
    except TypeError as error:
        raise ModelError(
            expected(
                f"the arguments of model {name!r}",
                "those of its constructor",
                error,
                f"`python -c \"help('{architecture.path}')\"`",
            )
        ) from error


def architecture_of(model: StoredModel) -> str:
    """Give the catalogue's name of a network.

    Raises:
        ModelError: its class is not in the catalogue.
    """
    path = f"{type(model).__module__}.{type(model).__qualname__}"
    for architecture in ARCHITECTURES:
        if architecture.path == path:
            return architecture.name
    raise ModelError(
        expected(
            "the network", "of the catalogue", path, "`penumbra.models.wrap.Wrapped` around it"
        )
    )
