"""What is said about an exported file, in a JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from penumbra.inference.calibration import Temperature
from penumbra.inference.exported.forms import INPUT, OUTPUT
from penumbra.inference.exported.parity import LIMIT, Compared
from penumbra.inference.exported.tracing import Sizes
from penumbra.inference.preprocess import Preprocess
from penumbra.version import __version__

RECORD_VERSION = 1


@dataclass(frozen=True)
class ExportRecord:
    """An exported network, as `FILE.json` describes it.

    Attributes:
        file: the file.
        sha256: of the file.
        weights: SHA-256 of the run's weights.
        architecture: the network's name in the catalogue.
        class_names: by index, background first.
        preprocess: how images are prepared.
        sizes: which images the file takes.
        threshold: least foreground probability of the mask where there are two classes.
        temperature: what the logits were scaled by, within the file; ``None`` where the run has
            no calibration or it was left aside.
        left_out: sentences on what `Predictor` does with the run and the file does not.
        compared: the file against the network.
        written_by: opset and versions besides those of Penumbra and torch.
    """

    file: Path
    sha256: str
    weights: str
    architecture: str
    class_names: tuple[str, ...]
    preprocess: Preprocess
    sizes: Sizes
    threshold: float
    temperature: Temperature | None
    left_out: tuple[str, ...]
    compared: tuple[Compared, ...]
    written_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """The largest difference of a probability between file and network."""
        return max(one.difference for one in self.compared)

    @property
    def sidecar(self) -> Path:
        """Where this record lies: beside the file, its name followed by ``.json``."""
        return sidecar_of(self.file)

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        side: Any = self.sizes.fixed
        number: Any = self.sizes.batch or "N"
        rows, columns = (side, side) if side else ("H", "W")
        return {
            "version": RECORD_VERSION,
            "file": self.file.name,
            "form": self.file.suffix.removeprefix("."),
            "sha256": self.sha256,
            "architecture": self.architecture,
            "weights": self.weights,
            "class_names": list(self.class_names),
            "input": {
                "name": INPUT,
                "type": "float32",
                "shape": [number, self.preprocess.channels, rows, columns],
                "multiple": self.sizes.multiple,
                "smallest": self.sizes.smallest,
            },
            "output": {
                "name": OUTPUT,
                "type": "float32",
                "shape": [number, len(self.class_names), rows, columns],
            },
            "normalise": {
                "formula": "(pixels - mean) / std",
                "mean": "of all pixels and channels of the whole image, after fit and filters",
                "std": "of the same pixels, at least 1e-6",
            },
            "preprocess": self.preprocess.model_dump(mode="json"),
            "threshold": self.threshold,
            "temperature": self._temperature(),
            "left_out": list(self.left_out),
            "parity": {
                "limit": LIMIT,
                "largest": self.difference,
                "compared": [one.to_json() for one in self.compared],
            },
            "versions": {"penumbra": __version__, "torch": torch.__version__, **self.written_by},
        }

    def _temperature(self) -> dict[str, Any] | None:
        known = self.temperature
        return None if known is None else {"kind": known.kind, "values": list(known.values)}


def sidecar_of(file: Path) -> Path:
    """Give the path of the JSON beside an exported file.

    Examples:
        >>> sidecar_of(Path("nerve.onnx")).name
        'nerve.onnx.json'
    """
    return file.with_name(f"{file.name}.json")
