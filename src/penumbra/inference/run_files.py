"""What a run folder holds for a predictor: the network, its description, its calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.calibration import Calibration
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import WEIGHTS_FILE, load_model
from penumbra.models.weights import digest_of


def load_network(
    folder: Path, *, calibrated: bool
) -> tuple[nn.Module, dict[str, Any], Calibration | None]:
    """Load the network of a run folder, what `model.json` says of it, and its calibration.

    Raises:
        RunError: the folder is missing, incomplete, damaged, or from a newer version.
    """
    model, document = load_model(folder)
    learned = Calibration.read(folder) if calibrated else None
    if learned is not None:
        learned.check_weights(digest_of(folder / WEIGHTS_FILE))
    try:
        described = document | {
            "preprocess": Preprocess.model_validate(document["preprocess"]),
            "class_names": [str(name) for name in document["class_names"]],
        }
    except (KeyError, ValueError, SettingsError) as error:
        raise RunError(
            expected(
                f"model.json in {folder}",
                "one that `penumbra train` wrote, with preprocess and class_names",
                f"a problem with {error}",
                "the run folder itself, or Predictor(model, preprocess=…) for a bare network",
            )
        ) from error
    return model, described, learned
