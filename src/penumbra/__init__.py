"""Penumbra segments images and says where the mask is in doubt.

The names below are imported when they are first used, so that `import penumbra` is quick.

Examples:
    >>> import penumbra
    >>> penumbra.Experiment(source="folder:photos").training.loss
    'dice_ce'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from penumbra.version import __version__

if TYPE_CHECKING:
    from penumbra.audit.audit import audit as audit_source
    from penumbra.data.layouts import open_source
    from penumbra.data.phantom import make_phantom
    from penumbra.data.sample import Sample
    from penumbra.data.source import Source
    from penumbra.data.split import split_source
    from penumbra.evaluation.of_run import evaluate_run
    from penumbra.imaging.files import read_image
    from penumbra.inference.outputs import write_prediction
    from penumbra.inference.prediction import Prediction
    from penumbra.inference.predictor import Predictor
    from penumbra.models.noise_unet import NoiseAwareUNet
    from penumbra.models.unet.unet import UNet
    from penumbra.noise.attach import noise_aware
    from penumbra.noise.injector import NeuralNoiseInjector
    from penumbra.training.experiment import Experiment
    from penumbra.training.loop import train

__all__ = [
    "Experiment",
    "NeuralNoiseInjector",
    "NoiseAwareUNet",
    "Prediction",
    "Predictor",
    "Sample",
    "Source",
    "UNet",
    "__version__",
    "audit_source",
    "evaluate_run",
    "make_phantom",
    "noise_aware",
    "open_source",
    "read_image",
    "split_source",
    "train",
    "write_prediction",
]

_HOMES = {
    "Experiment": "training.experiment",
    "NeuralNoiseInjector": "noise.injector",
    "NoiseAwareUNet": "models.noise_unet",
    "Prediction": "inference.prediction",
    "Predictor": "inference.predictor",
    "Sample": "data.sample",
    "Source": "data.source",
    "UNet": "models.unet.unet",
    "audit_source": "audit.audit",
    "evaluate_run": "evaluation.of_run",
    "make_phantom": "data.phantom",
    "noise_aware": "noise.attach",
    "open_source": "data.layouts",
    "read_image": "imaging.files",
    "split_source": "data.split",
    "train": "training.loop",
    "write_prediction": "inference.outputs",
}

# `penumbra.audit` is the room, so the function in it goes by another name here.
_RENAMED = {"audit_source": "audit"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        message = f"module 'penumbra' has no attribute {name!r}"
        raise AttributeError(message)
    inner = _RENAMED.get(name, name)
    return getattr(importlib.import_module(f"penumbra.{_HOMES[name]}"), inner)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
