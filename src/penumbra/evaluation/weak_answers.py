"""What a run or a promptable model finds in an image, brought to one form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Sample
from penumbra.evaluation.cases import Predict
from penumbra.evaluation.prompted import check_kinds
from penumbra.evaluation.prompted_objects import LEAST_AREA
from penumbra.evaluation.weak_boxes import Found, boxes_of_areas
from penumbra.inference.prediction import Prediction
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.prompt_sampling import centre_points, jittered_boxes, keyed_generator
from penumbra.promptable.regions import tight_box

Boxes = NDArray[np.float32]
_BATCH = 16
_INNER = 0.5
"""Further points are drawn from this share of a box's width and height, around its centre."""


@dataclass(frozen=True)
class WeakAnswer:
    """What was found in an image.

    Attributes:
        mask: (H, W) bool.
        found: boxes around what was found, with how sure each is.
        peaks: (P, 2) columns and rows of the most probable pixels.
        asked: (M,) which of the image's boxes each box found answers, or ``None`` where nothing
            was asked.
        peak_of: (P,) which of the image's boxes each peak answers, or ``None``.
    """

    mask: NDArray[np.bool_]
    found: Found
    peaks: NDArray[np.float32]
    asked: NDArray[np.intp] | None = None
    peak_of: NDArray[np.intp] | None = None


def peak_of(prediction: Prediction) -> NDArray[np.float32]:
    """Find the most probable pixel (column, row); of many alike, the deepest among them."""
    p = prediction.foreground
    return np.asarray(centre_points((p >= p.max())[None])[0], dtype=np.float32)


def answers_of_run(
    predict: Predict, *, least_area: int = LEAST_AREA
) -> Callable[[Sample], WeakAnswer]:
    """Find things with a network that needs no prompt.

    Args:
        predict: from images to predictions; a `Predictor` is one.
        least_area: in pixels; smaller connected areas are no boxes that were found.
    """

    def answer(sample: Sample) -> WeakAnswer:
        (prediction,) = predict([sample.image])
        found = boxes_of_areas(prediction, least_area=least_area)
        return WeakAnswer(prediction.mask > 0, found, peak_of(prediction)[None])

    return answer


def answers_of_prompts(
    segmenter: AnswersPrompts,
    *,
    kind: str = "point1",
    seed: int = 0,
    filters: Any = None,
    cache: Any = None,
) -> Callable[[Sample], WeakAnswer | None]:
    """Find things with a promptable model that is told of every box, by the box or by points.

    ``box`` and ``jittered-box`` are those of `evaluate_prompts`. ``pointN`` has no mask to click
    into: the first point is the centre of the box, the others are drawn from the inner half of
    it, all on the object. The draws depend on the seed, the image and the box alone. Each answer
    is one box found, around its whole mask, as sure as the model's predicted IoU; where it
    predicts none, as its mean probability there.

    Args:
        segmenter: the model.
        kind: of the prompts.
        seed: of the draws.
        filters: instead of the model's own.
        cache: an `EmbeddingCache`.

    Returns:
        From a sample to what was found, or to ``None`` for an image without boxes.

    Raises:
        SettingsError: the model does not take that kind.
    """
    check_kinds([kind], segmenter.accepts, name=segmenter.name)

    def answer(sample: Sample) -> WeakAnswer | None:
        if sample.boxes is None or not len(sample.boxes):
            return None
        if cache is None:
            embedding = segmenter.embed(sample.image, filters=filters)
        else:
            embedding = cache.embed(segmenter, sample.image, filters=filters)
        prompts = _prompts(kind, sample, seed)
        parts: list[_Part] = []
        for start in range(0, len(sample.boxes), _BATCH):
            some = {key: each[start : start + _BATCH] for key, each in prompts.items()}
            parts.extend(_Part.of(one) for one in segmenter.predict(embedding, **some))
        return _together(parts)

    return answer


def _prompts(kind: str, sample: Sample, seed: int) -> dict[str, NDArray[Any]]:
    boxes = np.asarray(sample.boxes, dtype=np.float32)
    if kind == "box":
        return {"boxes": boxes}
    digest = hashlib.sha256(np.ascontiguousarray(sample.image).tobytes()).digest()
    generators = [keyed_generator(seed, kind, digest, box) for box in boxes]
    if kind == "jittered-box":
        size = (sample.image.shape[0], sample.image.shape[1])
        pairs = zip(boxes, generators, strict=True)
        moved = [jittered_boxes(b[None], size, g, limit=None) for b, g in pairs]
        return {"boxes": np.concatenate(moved)}
    count = int(kind.removeprefix("point"))
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    away = np.stack([g.uniform(-_INNER / 2, _INNER / 2, size=(count, 2)) for g in generators])
    away[:, 0] = 0.0
    # Points are at the centres of pixels, which lie half a pixel from the corners boxes count from.
    points = middle[:, None] + away * sides[:, None] - 0.5
    labels = np.ones(points.shape[:2], dtype=np.int8)
    return {"points": np.maximum(points, 0).astype(np.float32), "labels": labels}


class _Part(NamedTuple):
    """What is kept of the answer to one prompt."""

    mask: NDArray[np.bool_]
    sure: float
    peak: NDArray[np.float32]

    @classmethod
    def of(cls, answer: Prediction) -> _Part:
        mask, own = answer.mask > 0, getattr(answer, "predicted_iou", None)
        if own is None:
            own = answer.foreground[mask].mean() if mask.any() else 0.0
        return cls(mask, float(own), peak_of(answer))


def _together(parts: Sequence[_Part]) -> WeakAnswer:
    boxes = {number: tight_box(part.mask) for number, part in enumerate(parts)}
    there = {number: box for number, box in boxes.items() if box is not None}
    return WeakAnswer(
        mask=np.any([part.mask for part in parts], axis=0),
        found=Found(
            np.array(list(there.values()), dtype=np.float64).reshape(-1, 4),
            np.array([parts[number].sure for number in there], dtype=np.float64),
        ),
        peaks=np.stack([part.peak for part in parts]),
        asked=np.array(list(there), dtype=np.intp),
        peak_of=np.arange(len(parts)),
    )
