"""Which labels a network doubts that never saw them: scores per image and per component.

The formulas and their sources are in `penumbra.audit.label_scores`. What a network was trained on
it has learned, errors and all: such samples are refused. One run judges its validation and test
samples; the runs of a cross-validation, one per fold, judge all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.judged import JudgedImage, LabelNoise, Suspect
from penumbra.audit.label_scores import ComponentScores, score_components, score_image
from penumbra.data.layouts.pairs import some
from penumbra.data.manifest import read_assignment
from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, RunError, SettingsError, SourceError, expected
from penumbra.inference.predictor import Predictor
from penumbra.progress import Progress, silent
from penumbra.training.run import Run

__all__ = ["JudgedImage", "LabelNoise", "Suspect", "label_noise"]

_MOST_COMPONENTS = 16
_SUSPECT = 0.5
_ROLES = ("test", "unseen", "val")
"""What a sample may be to the run that judges it, the best first."""


def label_noise(
    source: Source,
    runs: Sequence[Path | str],
    *,
    together: Iterable[tuple[str, str]] = (),
    progress: Progress = silent,
    **predictor_options: Any,
) -> LabelNoise:
    """Judge labels by the predictions of networks that never saw them.

    Each sample is judged by one run: the first that has it in its test split, else the first that
    never heard of it, else the first that has it in its validation split.

    Args:
        source: samples with masks.
        runs: one run, or those of a cross-validation, one per fold.
        together: pairs of ids that show the same. A sample whose duplicate a run was trained on is
            no news to it.
        progress: shows how many samples were judged.
        predictor_options: those of `Predictor.load`, such as ``device``.

    Raises:
        SettingsError: no run is given.
        RunError: a run cannot be loaded, or does not say what it was trained on.
        SourceError: a run has other classes, or every sample is one that all runs trained on.
    """
    if not runs:
        raise SettingsError(expected("`runs`", "one run or more", "none", "a run folder"))
    folders = [Run(Path(run)) for run in runs]
    pairs = tuple(together)
    judges, inside = _judges(source, [_roles_in(run, pairs) for run in folders])
    if not judges:
        raise SourceError(
            expected(
                f"the samples of {source.name}", "such as the runs were not trained on",
                f"{len(inside)} that all of them were trained on",
                "a source with the validation and test samples, or the runs of all folds",
            )
        )  # fmt: skip
    work = _Work(source)
    order = sorted(judges, key=lambda index: judges[index][0])
    loaded: tuple[int, Predictor] | None = None
    for index in progress(order, total=len(order), what="judging labels"):
        number, role = judges[index]
        if loaded is None or loaded[0] != number:
            loaded = number, _predictor(folders[number], source, predictor_options)
        work.judge(index, loaded[1], run=str(folders[number].folder), role=role)
    return work.finish(inside)


class _Work:
    """What is kept while images go by: scores and sums, never pixels."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.images: list[tuple[JudgedImage, tuple[ComponentScores, ...]]] = []
        self.findings: list[Finding] = []
        self.sums = np.zeros(source.n_classes)
        self.counts = np.zeros(source.n_classes)

    def judge(self, index: int, predictor: Predictor, *, run: str, role: str) -> None:
        record = self.source.records[index]
        try:
            sample = self.source[index]
        except (ImageFileError, SourceError) as error:
            self.findings.append(Finding("unreadable", "error", (record.id,), str(error)))
            return
        if sample.mask is None:
            return
        (prediction,) = predictor([sample.image])
        p, mask = prediction.probabilities, sample.mask
        self._add(p, mask)
        scores = score_image(p, mask, has_background=self.source.has_background)
        image = JudgedImage(sample.id, sample.group, run, role, scores, ())
        self.images.append((image, score_components(p, mask)[:_MOST_COMPONENTS]))

    def _add(self, p: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
        for index in range(self.source.n_classes):
            labelled = mask == index
            self.sums[index] += float(p[index][labelled].sum(dtype=np.float64))
            self.counts[index] += int(labelled.sum())

    def finish(self, inside: tuple[str, ...]) -> LabelNoise:
        names = self.source.class_names
        t = np.full(len(names), np.nan)
        np.divide(self.sums, self.counts, out=t, where=self.counts > 0)
        judged = [
            replace(image, components=tuple(_suspect(image.id, e, names, t) for e in found))
            for image, found in self.images
        ]
        judged.sort(key=lambda image: (-image.score, image.id))
        findings = [*self.findings, *filter(None, map(_finding, judged))]
        if inside:
            message = (
                f"{len(inside)} samples were not judged: every run was trained on them or on "
                f"duplicates of them: {some(inside)}."
            )
            findings.append(Finding("in-fold", "note", inside, message))
        return LabelNoise(tuple(judged), dict(zip(names, t.tolist(), strict=True)), tuple(findings))


def _suspect(
    sample: str, found: ComponentScores, names: Sequence[str], thresholds: NDArray[np.float64]
) -> Suspect:
    return Suspect(
        sample=sample,
        labelled=names[found.labelled],
        predicted=names[found.predicted],
        pixels=found.pixels,
        box=found.box,
        score=found.score,
        confident=bool(found.probability >= thresholds[found.predicted]),
    )


def _finding(image: JudgedImage) -> Finding | None:
    sure = next((each for each in image.components if each.confident), None)
    worst = sure or next(iter(image.components), None)
    if image.score < _SUSPECT and sure is None:
        return None
    where = ""
    if worst is not None:
        where = (
            f" In {worst.pixels} pixels labelled {worst.labelled} the network sees "
            f"{worst.predicted}{', and is sure of it' if worst.confident else ''}."
        )
    details: dict[str, Any] = {"score": image.score, "run": image.run, "role": image.role}
    details["components"] = [asdict(each) for each in image.components]
    message = f"The label of {image.id} is doubted with a score of {image.score:.2f}.{where}"
    return Finding("label-error", "note", (image.id,), message, details)


def _roles_in(run: Run, together: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Say what each sample that a run knows is to it; duplicates of what it trained on are train.

    Raises:
        RunError: the run does not say what it was trained on.
    """
    if not run.manifest.is_file():
        raise RunError(
            expected(f"{run.manifest}", "there to say what the run was trained on", "no file",
                     "the whole run folder")
        )  # fmt: skip
    roles: dict[str, str] = dict(read_assignment(run.manifest).splits)
    trained = {name for name, split in roles.items() if split == "train"}
    for a, b in together:
        roles |= {other: "train" for one, other in ((a, b), (b, a)) if one in trained}
    return roles


def _judges(
    source: Source, roles: Sequence[Mapping[str, str]]
) -> tuple[dict[int, tuple[int, str]], tuple[str, ...]]:
    """Give each sample with a mask its run and its role there, and the ids that none may judge."""
    judges: dict[int, tuple[int, str]] = {}
    inside: list[str] = []
    for index, record in enumerate(source.records):
        if not record.masks:
            continue
        found = [each.get(record.id, "unseen") for each in roles]
        role = next((role for role in _ROLES if role in found), None)
        if role is None:
            inside.append(record.id)
        else:
            judges[index] = (found.index(role), role)
    return judges, tuple(inside)


def _predictor(run: Run, source: Source, options: Mapping[str, Any]) -> Predictor:
    predictor = Predictor.load(run.folder, **options)
    if len(predictor.class_names) != source.n_classes:
        raise SourceError(
            expected(
                f"the source {source.name}",
                f"of the run's {len(predictor.class_names)} classes",
                f"{source.n_classes} ({', '.join(source.class_names)})",
                "the source that the run was trained on, or another --target",
            )
        )
    return predictor
