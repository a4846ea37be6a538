"""Doubt from prompts: ask the same thing slightly differently, and see whether the answer stays.

The image is embedded once; a further prompt costs one pass of the small mask decoder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.prediction import Prediction, Samples
from penumbra.inference.scores import image_scores
from penumbra.inference.uncertainty import PassSums, decompose
from penumbra.promptable.agreement import MaskAgreement
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.prediction import CLASS_NAMES, PromptedPrediction
from penumbra.promptable.prompt_sampling import jittered_boxes, keyed_generator
from penumbra.promptable.prompts import Prompts

JITTER = 0.1
"""Standard deviation of a jittered edge as a share of its side."""

LIMIT = 20 / 1024
"""The largest shift, as a share of the image's longest side."""

_MOST = 1024
_MOST_PIXELS = 2**24
_MOST_KEPT = 2**31

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PromptedDoubt(PromptedPrediction):
    """What K versions of one prompt say together.

    `probabilities` is their mean, `mask` its pixels of ½ and more, `predicted_iou` and
    `stability` the means of theirs. `uncertainty` has ``entropy``, ``expected_entropy``,
    ``mutual_information``, ``variance`` and ``standard_error``; `scores` has, beside those of
    every prediction, ``pairwise_disagreement``, 1 − `pairwise_iou`.

    Attributes:
        pairwise_iou: mean IoU of the masks of every two versions, in [0, 1]; two empty masks
            agree. Not a number for a single version.
        asked: what was asked: ``boxes`` (K, 4), ``points`` (K, P, 2), ``labels`` (K, P); the
            first version is the prompt as it was given.
    """

    pairwise_iou: float = np.nan
    asked: Arrays = field(default_factory=dict)


def predict_with_doubt(
    segmenter: AnswersPrompts,
    embedding: Any,
    *,
    boxes: Any = None,
    points: Any = None,
    labels: Any = None,
    samples: int = 16,
    jitter: float = JITTER,
    limit: float = LIMIT,
    seed: int = 0,
    keep_samples: int = 0,
) -> list[PromptedDoubt]:
    """Answer each prompt in K versions: as it was given, and K − 1 times jittered.

    Every edge of a box moves by normal noise of `jitter` times the box's side, every point by
    normal noise of `jitter` times √A in x and in y, A the pixels of the mask that the prompt as
    given yields; either by at most `limit` times the image's longest side, and never out of the
    image. The draws depend on the seed, the size of the image and the prompt alone, so that two
    models are asked the same. Where a single point may mean a part or the whole, each version is
    answered by what it is taken to mean: the ambiguity is part of the doubt.

    Args:
        segmenter: the model.
        embedding: of the image, by its `embed`: an array (H, W, …), or with `size` (H, W).
        boxes: (N, 4) or (4,) xyxy in pixels, far edge exclusive; see `Prompts.of`.
        points: (N, P, 2) or (P, 2) as (x, y), or N lists of different lengths.
        labels: (N, P) or (P,); by default all on the object.
        samples: K.
        jitter: see above; 0 asks K times the same.
        limit: see above.
        seed: of the draws.
        keep_samples: how many versions' probabilities to keep whole in `Prediction.samples`.

    Returns:
        One prediction per prompt, in order.

    Raises:
        SettingsError: there is no box and no point, one of them is not valid, or an option is
            impossible; and what the model's `predict` raises.

    Source: G. Deng et al., SAM-U: multi-box prompts triggered uncertainty estimation for reliable
    SAM in medical image, MICCAI workshops 2023.
    """
    _check(samples, jitter, limit, keep_samples)
    given = _given(embedding, boxes, points, labels)
    count = len(next(iter(given.values())))
    answers = []
    for number in range(count):
        started = time.perf_counter()
        prompt = {key: array[number : number + 1] for key, array in given.items()}
        (first,) = segmenter.predict(embedding, **prompt)
        _check_kept(min(keep_samples, samples), first)
        asked = _versions(
            prompt, first.mask, samples=samples, jitter=jitter, limit=limit, seed=seed
        )
        stream = _answers(segmenter, embedding, first, asked)
        answers.append(
            _together(stream, asked, samples=samples, keep=keep_samples, seed=seed, since=started)
        )
    return answers


def _check(samples: int, jitter: float, limit: float, keep_samples: int) -> None:
    if not 1 <= samples <= _MOST:
        raise SettingsError(expected("`samples`", f"between 1 and {_MOST}", samples, "16"))
    for name, value in (("`jitter`", jitter), ("`limit`", limit)):
        if not 0 <= value <= 1:
            raise SettingsError(expected(name, "between 0 and 1", value, "0.1"))
    if keep_samples < 0:
        raise SettingsError(expected("`keep_samples`", "at least 0", keep_samples, "0"))


def _check_kept(keep: int, answer: Prediction) -> None:
    if keep * answer.probabilities.nbytes > _MOST_KEPT:
        most = _MOST_KEPT // answer.probabilities.nbytes
        raise SettingsError(
            expected("`keep_samples`", f"at most {most} for an image of this size", keep, f"{most}")
        )


def _given(embedding: Any, boxes: Any, points: Any, labels: Any) -> Arrays:
    """Check prompts and bring them to arrays with a first axis."""
    if boxes is None and points is None:
        raise SettingsError(expected("the prompts", "boxes or points", "none", "boxes=…"))
    asked = Prompts.of(size=_size_of(embedding), boxes=boxes, points=points, labels=labels)
    named = {"boxes": asked.boxes, "points": asked.points, "labels": asked.labels}
    return {name: array for name, array in named.items() if array is not None}


def _size_of(embedding: Any) -> tuple[int, int]:
    """Give (H, W) of the image that an embedding is of; rules embed an image as itself."""
    size = embedding.shape[:2] if isinstance(embedding, np.ndarray) else embedding.size
    return (int(size[0]), int(size[1]))


def _versions(
    prompt: Arrays,
    mask: NDArray[np.uint8],
    *,
    samples: int,
    jitter: float,
    limit: float,
    seed: int,
) -> Arrays:
    """Make K versions of a prompt, the first of which is the prompt itself."""
    height, width = mask.shape
    generator = keyed_generator(seed, "doubt", height, width, *prompt.values())
    versions = {key: np.repeat(array, samples, axis=0) for key, array in prompt.items()}
    if "boxes" in prompt:
        versions["boxes"][1:] = jittered_boxes(
            versions["boxes"][1:], (height, width), generator, jitter=jitter, limit=limit
        )
    if "points" in prompt:
        points = versions["points"]
        most = limit * max(height, width)
        spread = jitter * float(np.sqrt(np.count_nonzero(mask)))
        shift = np.clip(generator.standard_normal(points.shape) * spread, -most, most)
        # Points on the last row and column have their pixel's centre at H − 1 and W − 1.
        moved = np.clip(points + shift, 0, (width - 1, height - 1))
        points[1:] = np.where(versions["labels"][1:, :, None] >= 0, moved[1:], points[1:])
    return versions


def _answers(
    segmenter: AnswersPrompts, embedding: Any, first: Prediction, asked: Arrays
) -> Iterator[Prediction]:
    """Answer the versions some at a time; the first is answered already."""
    yield first
    count = len(next(iter(asked.values())))
    some = max(1, min(16, _MOST_PIXELS // first.mask.size))
    for start in range(1, count, some):
        part = {key: array[start : start + some] for key, array in asked.items()}
        yield from segmenter.predict(embedding, **part)


def _together(
    answers: Iterator[Prediction],
    asked: Arrays,
    *,
    samples: int,
    keep: int,
    seed: int,
    since: float,
) -> PromptedDoubt:
    sums = PassSums()
    kept: list[NDArray[np.float32]] = []
    masks = MaskAgreement()
    areas: list[NDArray[np.float64]] = []
    own: list[tuple[float, float]] = []
    for answer in answers:
        sums.add(torch.from_numpy(np.ascontiguousarray(answer.probabilities)))
        masks.add(answer.mask > 0)
        areas.append(answer.probabilities.sum(axis=(1, 2), dtype=np.float64))
        own.append((getattr(answer, "predicted_iou", 0.0), getattr(answer, "stability", 0.0)))
        if len(kept) < keep:
            kept.append(answer.probabilities)
    mean = sums.mean.numpy()
    found = decompose(
        mean, sums.expected_entropy.numpy(), passes=samples, variance=sums.variance.numpy()
    )
    mask = (mean[1] >= 0.5).astype(np.uint8)
    several = samples > 1
    dice = masks.dice(mask > 0) if several else None
    scores = image_scores(
        mean, mask, found.maps, sample_dice=None if dice is None else float(dice.mean())
    )
    agreement = masks.pairwise_iou() if several else float("nan")
    predicted, stable = np.mean(own, axis=0)
    return PromptedDoubt(
        probabilities=mean,
        mask=mask,
        uncertainty=found.maps,
        seed=seed,
        timings={"decode": time.perf_counter() - since},
        class_names=CLASS_NAMES,
        class_uncertainty=found.class_maps,
        sampler=f"prompts:{samples}",
        passes=samples,
        samples=Samples(np.stack(kept), (mask.shape[0], mask.shape[1])) if kept else None,
        areas=np.stack(areas) if several else None,
        sample_dice=dice,
        scores=scores | ({"pairwise_disagreement": 1 - agreement} if several else {}),
        predicted_iou=float(predicted),
        stability=float(stable),
        pairwise_iou=agreement,
        asked=asked,
    )
