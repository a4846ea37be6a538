"""One cell of a study: predict the test split in one way, score it, keep the sums."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.data.source import Symmetry
from penumbra.errors import SettingsError, SourceError, StorageError, expected
from penumbra.evaluation.cases import Case, problem_of
from penumbra.evaluation.overlap import EmptyPolicy
from penumbra.evaluation.scores import ImageScores, ScoreSettings, score_image, sums_of_image
from penumbra.evaluation.shift import Shift
from penumbra.evaluation.sums import GroupSums, coarser, merge, stack
from penumbra.inference.calibration import Calibration
from penumbra.inference.predictor import Predictor
from penumbra.storage import write_json
from penumbra.studies.experiment import Row, SetSettings
from penumbra.studies.networks import load_network
from penumbra.studies.packing import pack, unpack
from penumbra.studies.places import CLEAN, Cell, Network, Study, digest, fingerprint
from penumbra.studies.sets import (
    WorkingSample,
    divided,
    symmetry_of,
    working_samples,
)

CELL_VERSION = 1
_FINE = 512
_MOST_KEPT = 64
_EMPTY: EmptyPolicy = "one"


@dataclass(frozen=True)
class CellResult:
    """What a cell holds.

    Attributes:
        cell: which one.
        groups: names of the G groups.
        sums: of the groups, with a leading axis G.
        images: one row per image: id, position of its group, Dice, scores of doubt, …
        settings: classes and policies.
        score: the image-level score that calibration chose, ``soft_dice`` where it did not.
        cost: seconds and passes.
    """

    cell: Cell
    groups: tuple[str, ...]
    sums: GroupSums
    images: tuple[dict[str, Any], ...]
    settings: ScoreSettings
    score: str
    cost: dict[str, Any]


def networks_of(study: Study, cell: Cell) -> tuple[Network, ...]:
    """Give the networks that a cell needs, the first one first."""
    row = study.experiment.row_named(cell.row)
    seeds = study.experiment.seeds_of(row.kind)
    count = members_of(study, row) if row.plan.ensemble else 1
    start = seeds.index(cell.seed)
    return tuple(
        Network(cell.set, row.kind, seeds[(start + step) % len(seeds)]) for step in range(count)
    )


def members_of(study: Study, row: Row) -> int:
    """Give how many networks an ensemble has.

    Raises:
        SettingsError: more than there are seeds.
    """
    seeds = study.experiment.seeds_of(row.kind)
    count = row.members or len(seeds)
    if not 2 <= count <= len(seeds):
        raise SettingsError(
            expected(f"the members of row {row.name}", f"2 to {len(seeds)}, the seeds of its kind",
                     count, "fewer members, or more seeds")
        )  # fmt: skip
    return count


def symmetry_for(study: Study, row: Row, settings: SetSettings) -> Symmetry:
    """Give the symmetries that a row's augmentation uses on a set."""
    return symmetry_of(study, settings) if row.symmetry is None else row.symmetry


def shift_of(cell: Cell) -> Shift | None:
    """Give the shift of a cell."""
    if cell.shift == CLEAN:
        return None
    kind, _, severity = cell.shift.rpartition("-")
    return Shift(kind, int(severity))  # type: ignore[arg-type]  # Shift checks it


def cell_fingerprint(study: Study, cell: Cell) -> str:
    """Hash everything that a cell's numbers follow from."""
    row = study.experiment.row_named(cell.row)
    networks = networks_of(study, cell)
    files = [digest(study.run(each) / "model.safetensors") for each in networks]
    if row.calibration is not None:
        files += [digest(study.calibration(each, row.calibration.name)) for each in networks]
    return fingerprint(
        {
            "version": CELL_VERSION,
            "sampler": row.sampler,
            "shift": cell.shift,
            "window": study.experiment.set_named(cell.set).window,
            "manifest": digest(study.manifest(cell.set)),
            "files": files,
        }
        | ({} if row.symmetry is None else {"symmetry": row.symmetry})
    )


def is_done(study: Study, cell: Cell) -> bool:
    """Say whether a cell's file is there and belongs to what it would be made of now."""
    row = study.experiment.row_named(cell.row)
    needed = [study.run(each) / "model.safetensors" for each in networks_of(study, cell)]
    if row.calibration is not None:
        needed += [
            study.calibration(each, row.calibration.name) for each in networks_of(study, cell)
        ]
    needed += [study.cell(cell), study.manifest(cell.set)]
    if not all(path.is_file() for path in needed):
        return False
    try:
        document = json.loads(study.cell(cell).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(document.get("fingerprint") == cell_fingerprint(study, cell))


def predictor_of(study: Study, cell: Cell) -> Predictor:
    """Put networks, calibrations and the sampler of a cell together.

    Raises:
        RunError, SettingsError: something is missing, or does not go together.
    """
    row = study.experiment.row_named(cell.row)
    loaded = []
    for network in networks_of(study, cell):
        model, preprocess, names = load_network(study, network)
        learned = None
        if row.calibration is not None:
            learned = read_calibration(study.calibration(network, row.calibration.name))
        loaded.append((model, learned, preprocess, names))
    (model, learned, preprocess, names), *others = loaded
    symmetry = symmetry_for(study, row, study.experiment.set_named(cell.set))
    return Predictor(
        model,
        preprocess=preprocess,
        class_names=names,
        calibration=learned,
        sampler=row.sampler,
        members=[(network, theirs) for network, theirs, _, _ in others],
        symmetry=symmetry,
    )


def read_calibration(path: Path) -> Calibration:
    """Read a calibration of the study's folder; what it holds beside is left aside."""
    return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8"))["calibration"])


def compute(study: Study, cell: Cell) -> float:
    """Compute a cell and write its file, whole or not at all; give the seconds it took.

    Raises:
        PenumbraError: the cell cannot be computed.
    """
    started = time.perf_counter()
    predictor = predictor_of(study, cell)
    samples, names, has_background = _samples(study, cell, predictor)
    settings = ScoreSettings(
        class_names=names,
        scored=tuple(range(1 if has_background else 0, len(names))),
        empty=_EMPTY,
        tolerance=2.0,
        n_bins=15,
    )
    sums: dict[str, GroupSums] = {}
    images: list[dict[str, Any]] = []
    cost: dict[str, Any] = {"cost": str(predictor.cost), "network": 0.0, "predict": 0.0}
    for case, timings in _cases(cell, predictor, samples):
        problem = problem_of(case, len(names))
        if problem is not None:
            continue
        scores = score_image(case, settings=settings)
        new = coarser(sums_of_image(scores), _FINE)
        sums[case.group] = merge(sums[case.group], new) if case.group in sums else new
        images.append(_image(scores, list(sums).index(case.group)))
        cost["network"] += timings["network"]
        cost["predict"] += sum(timings.values())
    if not sums:
        raise SourceError(
            expected(f"the test split of {cell.set}", "at least one image that can be scored",
                     "none", "another split")
        )  # fmt: skip
    learned = predictor.calibration
    document = {
        "fingerprint": cell_fingerprint(study, cell),
        "version": CELL_VERSION,
        "set": cell.set,
        "row": cell.row,
        "seed": cell.seed,
        "shift": cell.shift,
        "groups": list(sums),
        "class_names": list(names),
        "scored": list(settings.scored),
        "tolerance": settings.tolerance,
        "n_bins": settings.n_bins,
        "score": learned.flag.score if learned is not None and learned.flag else "soft_dice",
        "cost": cost | {"images": len(images), "seconds": time.perf_counter() - started},
        "images": images,
        "sums": pack(stack(list(sums.values()))),
    }
    write_json(study.cell(cell), document)
    return time.perf_counter() - started


def _samples(
    study: Study, cell: Cell, predictor: Predictor
) -> tuple[tuple[WorkingSample, ...], tuple[str, ...], bool]:
    settings = study.experiment.set_named(cell.set)
    return working_samples(
        divided(study, settings), "test", predictor.preprocess, window=settings.window
    )


def _cases(
    cell: Cell, predictor: Predictor, samples: tuple[WorkingSample, ...]
) -> Iterator[tuple[Case, dict[str, float]]]:
    shift = shift_of(cell)
    for plain in samples:
        working = plain.shifted(shift)
        sample = working.sample
        (prediction,) = predictor([sample.image], keep_samples=_MOST_KEPT)
        if sample.mask is None:
            continue
        yield (
            Case(
                sample.id, sample.group, sample.mask, prediction, None, working.readers,
                working.true_probability,
            ),
            dict(prediction.timings),
        )  # fmt: skip


def _image(scores: ImageScores, group: int) -> dict[str, Any]:
    dice, iou = scores.table[0, 0], scores.table[1, 0]
    return {
        "id": scores.id,
        "group": group,
        "dice": float(dice),
        "iou": float(iou),
        "boundary_f1": float(scores.table[6, 0]),
        "hd95": float(scores.table[7, 0]),
        "flagged": scores.flagged,
        "scores": {name: float(value) for name, value in scores.scores.items()},
    }


def read_cell(study: Study, cell: Cell) -> CellResult:
    """Read a cell's file.

    Raises:
        StorageError: it is not there, or damaged.
    """
    path = study.cell(cell)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        settings = ScoreSettings(
            class_names=tuple(document["class_names"]),
            scored=tuple(document["scored"]),
            empty=_EMPTY,
            tolerance=document["tolerance"],
            n_bins=document["n_bins"],
        )
        return CellResult(
            cell=cell,
            groups=tuple(document["groups"]),
            sums=unpack(GroupSums, document["sums"]),
            images=tuple(document["images"]),
            settings=settings,
            score=document["score"],
            cost=document["cost"],
        )
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(repr(error).split())[:120]
        raise StorageError(
            expected(str(path), "a whole cell of a study", reason, "starting the study again")
        ) from error
