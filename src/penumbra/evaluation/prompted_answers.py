"""Prompt for the objects of one image and score the answers, object by object."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Sample
from penumbra.evaluation.overlap import Counts, dice, iou
from penumbra.evaluation.prompted_objects import ObjectMap
from penumbra.evaluation.prompted_scores import ImagePromptScore, ObjectScore
from penumbra.inference.prediction import Prediction
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.prompt_sampling import (
    centre_points,
    corrective_points,
    jittered_boxes,
    keyed_generator,
    tight_boxes,
)

_BATCH = 16
_MOST_PIXELS = 2**24
"""Of all masks that are answered at once: some 200 MB of probabilities."""

Masks = NDArray[np.bool_]


@dataclass
class Tally:
    """The rows of one image, and the union of its masks by kind.

    Attributes:
        sample: the image with its mask.
        objects: those of its mask.
        class_names: of the source.
        rows: one per object and kind.
        unions: (H, W) by kind, all masks together.
    """

    sample: Sample
    objects: ObjectMap
    class_names: Sequence[str]
    rows: list[ObjectScore] = field(default_factory=list)
    unions: dict[str, Masks] = field(default_factory=dict)

    def add(
        self, kind: str, numbers: Sequence[int], truth: Masks, answers: Sequence[Prediction]
    ) -> None:
        """Score the answers to one kind of prompt for these objects."""
        known = ~self.objects.ignored
        for number, wanted, answer in zip(numbers, truth, answers, strict=True):
            predicted = answer.mask > 0
            counts = _counts(wanted, predicted & known)
            union = self.unions.setdefault(kind, np.zeros(predicted.shape, dtype=bool))
            union |= predicted
            self.rows.append(
                ObjectScore(
                    id=self.sample.id,
                    group=self.sample.group,
                    number=number,
                    class_name=self.class_names[self.objects.classes[number - 1]],
                    kind=kind,
                    area=int(counts.tp + counts.fn),
                    dice=float(dice(counts)),
                    iou=float(iou(counts)),
                    predicted_iou=float(getattr(answer, "predicted_iou", math.nan)),
                )
            )

    def images(self) -> Iterator[ImagePromptScore]:
        """Sum up the image, once per kind."""
        known = ~self.objects.ignored
        for kind, union in self.unions.items():
            rows = [row for row in self.rows if row.kind == kind]
            counts = _counts(self.objects.union, union & known)
            yield ImagePromptScore(
                id=self.sample.id,
                group=self.sample.group,
                kind=kind,
                n_objects=len(rows),
                dice=float(np.mean([row.dice for row in rows])),
                iou=float(np.mean([row.iou for row in rows])),
                union_dice=float(dice(counts)),
                union_iou=float(iou(counts)),
                predicted_iou_error=float(
                    np.mean([abs(row.predicted_iou - row.iou) for row in rows])
                ),
            )


def _counts(truth: Masks, predicted: Masks) -> Counts:
    both = np.int64(np.count_nonzero(truth & predicted))
    fp, fn = np.count_nonzero(predicted) - both, np.count_nonzero(truth) - both
    return Counts(*(np.asarray(n) for n in (both, fp, fn, truth.size - both - fp - fn)))


def _boxes(kind: str, truth: Masks, *, key: bytes, seed: int, jitter: float) -> NDArray[np.float32]:
    boxes = tight_boxes(truth)
    if kind == "box":
        return boxes
    height, width = truth.shape[1:]
    # Keyed by image and box, so that an object gets the same box whatever else is prompted for.
    moved = [
        jittered_boxes(
            box[None], (height, width), keyed_generator(seed, "jittered-box", key, box),
            jitter=jitter, limit=None,
        )[0]
        for box in boxes
    ]  # fmt: skip
    return np.stack(moved)


def _by_points(
    segmenter: AnswersPrompts, embedding: Any, truth: Masks, known: Masks, *, most: int
) -> Iterator[tuple[int, Sequence[Prediction]]]:
    """Click up to `most` times and give the answers after every click."""
    points = centre_points(truth)[:, None]
    labels = np.ones(points.shape[:2], dtype=np.int8)
    for count in range(1, most + 1):
        answers = segmenter.predict(embedding, points=points, labels=labels)
        yield count, answers
        if count < most:
            predicted = np.stack([answer.mask > 0 for answer in answers]) & known
            further, signs = corrective_points(predicted, truth)
            points = np.concatenate([points, further[:, None]], axis=1)
            labels = np.concatenate([labels, signs[:, None]], axis=1)


def prompt_objects(
    segmenter: AnswersPrompts,
    embedding: Any,
    tally: Tally,
    kinds: Sequence[str],
    *,
    seed: int,
    jitter: float,
) -> None:
    """Prompt for all objects of an image in all kinds, a few objects at a time.

    Args:
        segmenter: the model.
        embedding: of the image.
        tally: where the scores go; it holds the sample and its objects.
        kinds: of prompts, as `check_kinds` gives them.
        seed: of the jitter.
        jitter: standard deviation of an edge as a share of the box's side.
    """
    objects = tally.objects
    clicks = {kind: int(kind.removeprefix("point")) for kind in kinds if kind.startswith("point")}
    at = {count: kind for kind, count in clicks.items()}
    known = ~objects.ignored
    key = hashlib.sha256(np.ascontiguousarray(tally.sample.image).tobytes()).digest()
    for numbers in objects.batches(max(1, min(_BATCH, _MOST_PIXELS // objects.labels.size))):
        truth = objects.masks(numbers)
        for kind in kinds:
            if kind in clicks:
                continue
            boxes = _boxes(kind, truth, key=key, seed=seed, jitter=jitter)
            tally.add(kind, numbers, truth, segmenter.predict(embedding, boxes=boxes))
        if not at:
            continue
        for count, answers in _by_points(segmenter, embedding, truth, known, most=max(at)):
            if count in at:
                tally.add(at[count], numbers, truth, answers)
