"""The work of a study, piece by piece, in the order of what it teaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penumbra.inference.symmetry import symmetries_of
from penumbra.studies.cell import members_of, networks_of, symmetry_for
from penumbra.studies.experiment import CalibrationChoice, Row, ShiftSettings
from penumbra.studies.places import CLEAN, Cell, Network, Study


@dataclass(frozen=True)
class Training:
    """Train one network."""

    network: Network

    def __str__(self) -> str:
        """Name the work."""
        return f"train {self.network.set}/{self.network.name}"


@dataclass(frozen=True)
class Fitting:
    """Calibrate one network under one choice."""

    network: Network
    choice: CalibrationChoice

    def __str__(self) -> str:
        """Name the work."""
        return f"calibrate {self.network.set}/{self.network.name} {self.choice.name}"


@dataclass(frozen=True)
class Evaluation:
    """Evaluate one cell."""

    cell: Cell

    def __str__(self) -> str:
        """Name the work."""
        return f"evaluate {self.cell}"


Work = Training | Fitting | Evaluation


def cells_of(
    study: Study, *, sets: Sequence[str] | None = None, rows: Sequence[str] | None = None
) -> tuple[Cell, ...]:
    """List the cells of a study: row after row on all sets, then the shifts.

    Args:
        study: the study.
        sets: only these.
        rows: only these.
    """
    experiment = study.experiment
    chosen = [row for row in experiment.rows if rows is None or row.name in rows]
    cells = [cell for row in chosen for cell in _clean(study, row, sets)]
    shifted = [row for row in chosen if row.name in experiment.shifts.rows]
    for shift in experiment.shifts.shifts:
        for row in shifted:
            cells += [
                Cell(cell.set, cell.row, cell.seed, shift.name)
                for cell in _clean(study, row, sets)
                if _is_shifted(experiment.shifts, cell)
            ]
    return tuple(cells)


def _is_shifted(shifts: ShiftSettings, cell: Cell) -> bool:
    return (shifts.sets is None or cell.set in shifts.sets) and (
        shifts.seeds is None or cell.seed in shifts.seeds
    )


def _clean(study: Study, row: Row, sets: Sequence[str] | None) -> Iterator[Cell]:
    for settings in study.experiment.sets:
        wanted = (sets is None or settings.name in sets) and (
            row.sets is None or settings.name in row.sets
        )
        if not wanted:
            continue
        if row.plan.augmented and len(symmetries_of(symmetry_for(study, row, settings))) < 2:
            continue
        for seed in seeds_of(study, row):
            yield Cell(settings.name, row.name, seed, CLEAN)


def seeds_of(study: Study, row: Row) -> tuple[int, ...]:
    """Give the seeds of a row; an ensemble of all networks has one."""
    seeds = study.experiment.seeds_of(row.kind)
    if row.plan.ensemble and members_of(study, row) == len(seeds):
        return seeds[:1]
    return tuple(seed for seed in seeds if row.seeds is None or seed in row.seeds)


def needs(study: Study, work: Work) -> tuple[Work, ...]:
    """Give what has to be done before a piece of work."""
    if isinstance(work, Training):
        return ()
    if isinstance(work, Fitting):
        return (Training(work.network),)
    row = study.experiment.row_named(work.cell.row)
    networks = networks_of(study, work.cell)
    if row.calibration is None:
        return tuple(Training(network) for network in networks)
    return tuple(Fitting(network, row.calibration) for network in networks)


def plan(study: Study, cells: Sequence[Cell]) -> tuple[Work, ...]:
    """Lay out the work for some cells: each piece once, after what it needs."""
    order: dict[Work, None] = {}

    def add(work: Work) -> None:
        if work not in order:
            for need in needs(study, work):
                add(need)
            order[work] = None

    for cell in cells:
        add(Evaluation(cell))
    return tuple(order)
