"""The run folder: what training writes and everything else reads."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from penumbra.errors import RunError, expected
from penumbra.models.storage import MODEL_FILE, read_model_json
from penumbra.storage import write_json
from penumbra.training.experiment import Experiment
from penumbra.training.keeper import HISTORY, LAST_CHECKPOINT
from penumbra.version import __version__

EXPERIMENT = "experiment.yaml"
MANIFEST = "manifest.csv"
RUN_FILE = "run.json"
_REPORTED = ("torch", "lightning", "monai", "kornia", "numpy", "opencv-python-headless")


def versions() -> dict[str, str]:
    """Give the versions that a repetition needs."""
    found = {"penumbra": __version__, "python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where it lies.
    """

    folder: Path

    @property
    def model_file(self) -> Path:
        """What describes the network and its preprocessing."""
        return self.folder / MODEL_FILE

    @property
    def manifest(self) -> Path:
        """Which sample was in which split."""
        return self.folder / MANIFEST

    @property
    def checkpoint(self) -> Path:
        """What `--resume` goes on from."""
        return self.folder / LAST_CHECKPOINT

    @property
    def exists(self) -> bool:
        """Whether training has begun here."""
        return (self.folder / EXPERIMENT).is_file()

    @property
    def cut_off_early(self) -> bool:
        """Whether training began here and ended before there was anything to go on from."""
        return not self.checkpoint.is_file() and self.info().get("status") == "training"

    def experiment(self) -> Experiment:
        """Read the experiment.

        Raises:
            RunError: the folder is no run.
            SettingsError: the experiment is damaged or of a newer version.
        """
        if not self.exists:
            raise RunError(
                expected(str(self.folder), f"a run folder with {EXPERIMENT}", "one without it",
                         "the folder that `penumbra train … --out` wrote")
            )  # fmt: skip
        return Experiment.read(self.folder / EXPERIMENT)

    def info(self) -> dict[str, Any]:
        """Read `run.json` (status, versions, seconds); empty where it is missing."""
        try:
            document = json.loads((self.folder / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(document) if isinstance(document, dict) else {}

    def write_info(self, changes: Mapping[str, Any]) -> None:
        """Write `run.json` with these values changed."""
        write_json(self.folder / RUN_FILE, self.info() | dict(changes))

    def model_json(self) -> dict[str, Any]:
        """Read `model.json`; see `read_model_json` for what is raised."""
        return read_model_json(self.folder)

    def history(self) -> list[dict[str, Any]]:
        """Read the history, one row per epoch; empty where there is none.

        Raises:
            RunError: the file is damaged.
        """
        try:
            text = (self.folder / HISTORY).read_text(encoding="utf-8")
        except OSError:
            return []
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise RunError(
                expected(str(self.folder / HISTORY), "one JSON object a line", error,
                         "a fresh copy of the run folder, or removing that file")
            ) from error  # fmt: skip
