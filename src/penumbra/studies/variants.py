"""Calibrations of a study's networks, one per network and choice, kept as files."""

from __future__ import annotations

import json
import time

from penumbra.inference.calibration import Calibration
from penumbra.storage import write_json
from penumbra.studies.experiment import CalibrationChoice
from penumbra.studies.places import Network, Study, digest, fingerprint

FIT_VERSION = 1


def fit_fingerprint(study: Study, network: Network, choice: CalibrationChoice) -> str:
    """Hash everything that a calibration follows from."""
    return fingerprint(
        {
            "version": FIT_VERSION,
            "choice": choice.model_dump(mode="json"),
            "network": digest(study.run(network) / "model.safetensors"),
            "manifest": digest(study.manifest(network.set)),
        }
    )


def is_fitted(study: Study, network: Network, choice: CalibrationChoice) -> bool:
    """Say whether a calibration is there and belongs to what it would be made of now."""
    path = study.calibration(network, choice.name)
    needed = (path, study.run(network) / "model.safetensors", study.manifest(network.set))
    if not all(each.is_file() for each in needed):
        return False
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(document.get("fingerprint") == fit_fingerprint(study, network, choice))


def fit(study: Study, network: Network, choice: CalibrationChoice) -> float:
    """Calibrate a network under a choice and keep the result; give the seconds it took."""
    started = time.perf_counter()

    document = {
        "fingerprint": fit_fingerprint(study, network, choice),
        "seconds": time.perf_counter() - started,
        "calibration": Calibration().model_dump(mode="json"),
    }
    write_json(study.calibration(network, choice.name), document)
    return time.perf_counter() - started
