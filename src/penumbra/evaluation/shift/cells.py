"""The same evaluation under every shift: one report per cell, and one table of all."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.data.source import Source
from penumbra.evaluation.bootstrap import Interval, interval
from penumbra.evaluation.evaluation import Evaluation
from penumbra.evaluation.of_run import SplitChoice, score_run, write_scored
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.evaluation.shift.catalogue import Shift
from penumbra.evaluation.shift.corrupt import ShiftedSource
from penumbra.inference.contract import ImagePredictor, load_predictor
from penumbra.progress import Progress, silent
from penumbra.storage import check_writable, write_json, write_text
from penumbra.training.run import Run

METRICS = ("dice", "nll", "ece", "image_aurc")
"""What the table of shifts shows; a cell's own `metrics.json` holds every metric."""

CLEAN = "clean"
_NOTHING = interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class ShiftCell:
    """One shift's evaluation in short.

    Attributes:
        shift: the shift, or ``None`` for the images as they are.
        folder: where its report lies.
        figures: metric → mean, low, high over groups; those of `METRICS`.
        n_images: images that were scored.
        unusable: images that could not be scored.
    """

    shift: Shift | None
    folder: Path
    figures: Mapping[str, Interval]
    n_images: int
    unusable: int

    @property
    def name(self) -> str:
        """The shift's name, or ``clean``."""
        return CLEAN if self.shift is None else self.shift.name

    def to_json(self) -> dict[str, Any]:
        """Give the cell as plain values."""
        return {
            "cell": self.name,
            "kind": None if self.shift is None else self.shift.kind,
            "severity": 0 if self.shift is None else self.shift.severity,
            "folder": str(self.folder),
            "n_images": self.n_images,
            "unusable": self.unusable,
            **{name: dict(value) for name, value in self.figures.items()},
        }


def figures_of(evaluation: Evaluation) -> dict[str, Interval]:
    """Take the metrics of the table of shifts from an evaluation, as far as it has them."""
    return {name: evaluation.overall[name] for name in METRICS if name in evaluation.overall}


def cell_of(shift: Shift | None, folder: Path, evaluation: Evaluation) -> ShiftCell:
    """Put an evaluation in short."""
    unusable = sum(finding.severity == "error" for finding in evaluation.findings)
    return ShiftCell(shift, folder, figures_of(evaluation), evaluation.n_images, unusable)


def table_of(cells: Sequence[ShiftCell]) -> str:
    """Write cells as a CSV table: a row per cell, each metric with both ends of its interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [name for name in METRICS if any(name in cell.figures for cell in cells)]
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(["cell", "kind", "severity", "n_images", *ends])
    for cell in cells:
        values = [
            "" if name not in cell.figures or not math.isfinite(value) else f"{value:.6g}"
            for name in names
            for value in (cell.figures.get(name) or _NOTHING).values()
            if isinstance(value, float)
        ]
        kind, severity = ("", 0) if cell.shift is None else (cell.shift.kind, cell.shift.severity)
        writer.writerow([cell.name, kind, severity, cell.n_images, *values])
    return buffer.getvalue()


def evaluate_shifts(
    run: Path | str,
    source: Source,
    shifts: Sequence[Shift],
    out: Path | str,
    *,
    split: SplitChoice,
    predictor: ImagePredictor | None = None,
    clean: Evaluation | None = None,
    empty: EmptyPolicy = "one",
    seed: int = 0,
    command: str = "",
    created: str = "",
    progress: Progress = silent,
    **predictor_options: Any,
) -> tuple[ShiftCell, ...]:
    """Evaluate a run under shifts: ``out/shift/KIND-SEVERITY/``, `shift.csv`, `shift.json`.

    Images are corrupted at the size they have on disk, before anything else is done to them.

    Args:
        run: a run folder.
        source: the samples, as `open_for_run` gives them.
        shifts: which cells.
        out: the folder to write.
        split: which samples they are.
        predictor: what predicts; loaded from the run where not given.
        clean: the evaluation of the same samples as they are; the table's first row.
        empty: what a score of nothing over nothing is.
        seed: of the corruptions' draws and of the bootstrap.
        command: what was typed, for the reports.
        created: when, for the reports.
        progress: wraps the samples of each cell.
        predictor_options: those of `Predictor`.

    Returns:
        One cell per shift, the clean one first where it was given.

    Raises:
        SourceError: no sample could be scored.
        StorageError: `out` cannot be written.
    """
    folder, where = Run(Path(run)), Path(out)
    check_writable(where)
    if predictor is None:
        predictor = load_predictor(folder.folder, **predictor_options)
    cells = [] if clean is None else [cell_of(None, where, clean)]
    for shift in shifts:
        place = where / "shift" / shift.name
        scored = score_run(
            folder, ShiftedSource.of(source, shift, seed=seed), split=split, predictor=predictor,
            empty=empty, seed=seed, progress=progress,
        )  # fmt: skip
        scored.document["shift"] = {"kind": shift.kind, "severity": shift.severity, "seed": seed}
        write_scored(folder, scored, predictor, place, seed=seed, command=command, created=created)
        cells.append(cell_of(shift, place, scored.evaluation))
    write_text(where / "shift.csv", table_of(cells))
    # Last: a shift.json says that every cell is whole.
    write_json(where / "shift.json", {"seed": seed, "cells": [cell.to_json() for cell in cells]})
    return tuple(cells)
