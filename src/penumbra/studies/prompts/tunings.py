"""The tuned models of a study: taken up where they are there, made where they are not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from penumbra.errors import RunError, expected
from penumbra.models.storage import MODEL_FILE
from penumbra.promptable.tuning.parts import ADAPTER_FILES, ADAPTER_FOLDER, DECODER_FILE
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.promptable.tuning.stored import WHOLE_FOLDER
from penumbra.promptable.tuning.tune import tune
from penumbra.studies.prompts.places import PromptStudy
from penumbra.training.run import EXPERIMENT, Run

_FREE = {"threads", "device", "workers", "validate_every", "deterministic"}
"""Training settings that a run may have otherwise: they change no result's meaning."""

_WEIGHTS = (
    MODEL_FILE,
    DECODER_FILE,
    f"{ADAPTER_FOLDER}/{ADAPTER_FILES[0]}",
    f"{WHOLE_FOLDER}/model.safetensors",
)


def run_files(folder: Path) -> list[Path]:
    """List the files of a run that its answers follow from."""
    return [folder / name for name in _WEIGHTS if (folder / name).is_file()]


def is_tuned(study: PromptStudy, tuning: str, filter_name: str, seed: int) -> bool:
    """Say whether a tuning is there, done to its end.

    Raises:
        RunError: it is there, of another model or with other settings than the study asks for.
    """
    run = Run(study.run(tuning, filter_name, seed))
    if not run.exists or run.info().get("status") != "finished" or not run_files(run.folder):
        return False
    _check_same(study, run, tuning, filter_name, seed)
    return True


def make_tuning(study: PromptStudy, tuning: str, filter_name: str, seed: int) -> float:
    """Tune, or go on where a tuning was cut off; give the seconds it took.

    Raises:
        PenumbraError: it cannot be carried out.
    """
    wanted = _wanted(study, tuning, filter_name, seed)
    run = Run(study.run(tuning, filter_name, seed))
    if not run.exists and run.folder.is_dir():
        # Cut off before it said what it is.
        shutil.rmtree(run.folder)
    return tune(wanted, run.folder, resume=run.exists).seconds


def _wanted(study: PromptStudy, tuning: str, filter_name: str, seed: int) -> TuningExperiment:
    found = study.experiment.experiment_of(tuning, filter_name, seed)
    if found is None:
        raise RunError(expected(f"the tuning {tuning}", "one that tunes", "mode: none", "another"))
    changes: dict[str, Any] = {"source": str(study.manifest)}
    if found.tune.mode == "decoder" and found.tune.embeddings is None:
        # One encoder for all seeds, kinds and the model as it came: each image is encoded once.
        changes["tune"] = found.tune.model_copy(update={"embeddings": str(study.embeddings)})
    return found.model_copy(update=changes)


def _check_same(study: PromptStudy, run: Run, tuning: str, filter_name: str, seed: int) -> None:
    if run.info().get("base_sha256") != study.weights:
        raise RunError(
            expected(f"the run {run.folder}", f"tuned from {study.experiment.model}",
                     "one tuned from other weights", "another --out, or removing that run")
        )  # fmt: skip
    wanted = _settings(_wanted(study, tuning, filter_name, seed))
    found = _settings(TuningExperiment.read(run.folder / EXPERIMENT))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise RunError(
                expected(f"{key} of the run {run.folder}", repr(value), repr(found.get(key)),
                         "another --out for this study, or removing that run")
            )  # fmt: skip


def _settings(experiment: TuningExperiment) -> dict[str, Any]:
    document = experiment.model_dump(mode="json")
    flat = {
        f"{section}.{key}": value
        for section in ("image", "tune", "training")
        for key, value in document[section].items()
        if key not in _FREE
    }
    # Where embeddings lie changes no answer.
    del flat["tune.embeddings"]
    return flat
