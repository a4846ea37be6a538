"""The networks of a study: adopted where they are there, trained where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from penumbra.errors import RunError, expected
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import load_model
from penumbra.studies.places import Network, Study
from penumbra.studies.sets import divided, fold_manifest
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

_FREE = {"threads", "device", "precision", "workers", "validate_every", "deterministic"}
"""Training settings that an adopted network may have otherwise: they change no result's meaning."""


def is_complete(study: Study, network: Network) -> bool:
    """Say whether a network is there, trained to its end."""
    run = Run(study.run(network))
    weights = run.folder / "model.safetensors"
    return run.exists and weights.is_file() and run.info().get("status") == "finished"


def wanted_experiment(study: Study, network: Network) -> Experiment:
    """Give the settings that a network of the study is trained with, without its source."""
    return study.experiment.training_of(
        study.experiment.set_named(network.set), network.kind, network.seed
    )


def check_adopted(study: Study, network: Network) -> None:
    """Check that a network that lies in the study's folder is the one it asks for.

    Raises:
        RunError: a setting that matters is another.
    """
    run = Run(study.run(network))
    wanted, found = _settings(wanted_experiment(study, network)), _settings(run.experiment())
    for key, value in wanted.items():
        if value != found.get(key) and value != "auto":
            raise RunError(
                expected(f"{key} of the run {run.folder}", repr(value), repr(found.get(key)),
                         "another --out for this study, or removing that run")
            )  # fmt: skip


def _settings(experiment: Experiment) -> dict[str, Any]:
    document = experiment.model_dump(mode="json")
    flat: dict[str, Any] = {"model.name": document["model"]["name"]}
    for section in ("image", "augmentation", "training"):
        flat |= {f"{section}.{key}": value for key, value in document[section].items()}
    flat |= {f"model.{key}": value for key, value in document["model"]["arguments"].items()}
    return {key: value for key, value in flat.items() if key.rpartition(".")[2] not in _FREE}


def manifest_of(study: Study, network: Network) -> Path:
    """Give the manifest that a network is trained and calibrated on."""
    settings = study.experiment.set_named(network.set)
    folds = study.experiment.kinds[network.kind].folds
    if folds:
        return fold_manifest(study, settings, network.seed, folds)
    return divided(study, settings)


def train_network(study: Study, network: Network) -> float:
    """Train a network, or go on where its training was cut off; give the seconds it took.

    Raises:
        RunError, SettingsError, SourceError, ModelError: it cannot be trained.
    """
    source = str(manifest_of(study, network))
    experiment = wanted_experiment(study, network).model_copy(update={"source": source})
    run = Run(study.run(network))
    trained = train(experiment, run.folder, resume=run.exists)
    return trained.seconds


def load_network(study: Study, network: Network) -> tuple[nn.Module, Preprocess, tuple[str, ...]]:
    """Load a network with its preprocessing and the names of its classes.

    Raises:
        RunError: it is not there.
    """
    model, document = load_model(study.run(network))
    names = tuple(str(name) for name in document["class_names"])
    return model, Preprocess.model_validate(document["preprocess"]), names
