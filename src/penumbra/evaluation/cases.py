"""What an evaluation is fed: one sample with its prediction at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE, Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, NotFiniteError, SourceError
from penumbra.evaluation.readers import Readers, TrueProbability
from penumbra.inference.prediction import Prediction

Predict = Callable[[Sequence[NDArray[np.generic]]], list[Prediction]]


class Case(NamedTuple):
    """One sample to score.

    Attributes:
        id: the sample's id.
        group: its group.
        truth: (H, W) uint8 class indices, 255 = ignore.
        prediction: for the same (H, W).
        spacing: millimetres per pixel (row, column), where known.
        readers: (R, H, W) uint8 class indices of R ≥ 2 readers, 255 = ignore, where there are
            several.
        true_probability: (H, W) of the foreground, where it is known.
    """

    id: str
    group: str
    truth: NDArray[np.uint8]
    prediction: Prediction
    spacing: tuple[float, float] | None = None
    readers: NDArray[np.uint8] | None = None
    true_probability: NDArray[np.floating] | None = None


def predicted_cases(
    source: Source,
    predict: Predict,
    *,
    readers: Readers | None = None,
    true_probability: TrueProbability | None = None,
) -> Iterator[Case | Finding]:
    """Read and predict the samples of a source one by one.

    A sample that cannot be read, or has no mask, comes as a finding in its place.

    Args:
        source: samples with masks.
        predict: from images (H, W, C) to predictions; a `Predictor` is one.
        readers: from a record to the masks of several readers, see `readers_of`.
        true_probability: from a record to the true probability, see `true_probability_of`.
    """
    for index, record in enumerate(source.records):
        try:
            sample = source[index]
            several = None if readers is None else readers(record)
            exact = None if true_probability is None else true_probability(record)
        except (ImageFileError, SourceError) as error:
            yield Finding("unreadable", "error", (record.id,), str(error))
            continue
        if sample.mask is None:
            yield Finding(
                "missing-mask", "error", (record.id,), f"{record.id} has no mask to compare with."
            )
            continue
        try:
            (prediction,) = predict([sample.image])
        except NotFiniteError as error:
            yield Finding("not-finite", "error", (record.id,), f"{record.id}: {error}")
            continue
        yield Case(sample.id, sample.group, sample.mask, prediction, sample.spacing, several, exact)


def problem_of(case: Case, n_classes: int) -> Finding | None:
    """Say why a sample cannot be scored, if it cannot.

    Args:
        case: the sample.
        n_classes: that its truth may hold.
    """
    truth, prediction = case.truth, case.prediction

    def finding(kind: str, message: str) -> Finding:
        return Finding(kind, "error", (case.id,), message)

    if truth.shape != prediction.mask.shape:
        return finding(
            "size-mismatch",
            f"The mask of {case.id} is {truth.shape[0]}×{truth.shape[1]} (height × width), its "
            f"prediction {prediction.mask.shape[0]}×{prediction.mask.shape[1]}.",
        )
    for what, given in (("readers", case.readers), ("true probability", case.true_probability)):
        if given is not None and given.shape[-2:] != truth.shape:
            return finding(
                "size-mismatch", f"The {what} of {case.id} have another size than its mask."
            )
    scored = truth != IGNORE
    if not scored.any():
        return finding("nothing-to-score", f"Every pixel in the mask of {case.id} is ignored.")
    for whose, mask in (("mask", truth[scored]), ("predicted mask", prediction.mask)):
        if int(mask.max()) >= n_classes:
            return finding(
                "unknown-class",
                f"The {whose} of {case.id} holds class {int(mask.max())}, but the classes are "
                f"0–{n_classes - 1}.",
            )
    if not np.isfinite(prediction.probabilities).all():
        return finding("not-finite", f"The prediction for {case.id} holds values such as NaN.")
    return None
