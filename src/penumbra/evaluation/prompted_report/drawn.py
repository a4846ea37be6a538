"""The few images that the page shows: answered again, with what was asked drawn over them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError
from penumbra.evaluation.weak_answers import WeakAnswer
from penumbra.imaging.overlay import evaluation_overlay, overlay_mask, to_display
from penumbra.inference.prediction import Prediction
from penumbra.pages.panels import Panel, fitted, panel, resized, resized_mask
from penumbra.pages.words import is_number, number
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.drawing import draw_prompts
from penumbra.promptable.prompts import Prompts

_SIDE = 512


@dataclass(frozen=True)
class Shown:
    """One picture: why it is shown, of which image."""

    id: str
    role: str
    panel: Panel


@dataclass
class Remembered:
    """A promptable model that remembers what it was asked, in the order of the calls.

    Attributes:
        segmenter: that answers.
        asked: what `predict` was given.
    """

    segmenter: AnswersPrompts
    asked: list[dict[str, NDArray[Any]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of the model."""
        return self.segmenter.name

    @property
    def accepts(self) -> Collection[str]:
        """What the model takes."""
        return self.segmenter.accepts

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> Any:
        """Embed an image by the model."""
        return self.segmenter.embed(image, filters=filters)

    def predict(self, embedding: Any, **prompts: Any) -> Sequence[Prediction]:
        """Answer by the model."""
        self.asked.append({key: value for key, value in prompts.items() if value is not None})
        return self.segmenter.predict(embedding, **prompts)

    def boxes(self) -> NDArray[np.float32] | None:
        """Give all boxes (N, 4) that were asked with, or ``None``."""
        found = [each["boxes"] for each in self.asked if "boxes" in each]
        return np.concatenate(found) if found else None

    def points(self) -> tuple[NDArray[np.float32], NDArray[np.int8]] | None:
        """Give the points (N, P, 2) and labels (N, P) of the calls with most clicks, or none."""
        found = [each for each in self.asked if "points" in each]
        if not found:
            return None
        most = max(each["labels"].shape[1] for each in found)
        last = [each for each in found if each["labels"].shape[1] == most]
        return (
            np.concatenate([each["points"] for each in last]),
            np.concatenate([each["labels"] for each in last]),
        )


def best_median_worst(scores: Iterable[tuple[str, float]]) -> list[tuple[str, str]]:
    """Choose (role, id) of images by their score; those without a score are passed over.

    Examples:
        >>> best_median_worst([("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", float("nan"))])
        [('best', 'b'), ('median', 'c'), ('worst', 'a')]
        >>> best_median_worst([("a", 0.1)])
        [('best', 'a')]
    """
    ranked = sorted((-score, name) for name, score in scores if is_number(score))
    if not ranked:
        return []
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    chosen: dict[str, str] = {}
    for role in ("best", "worst", "median"):
        chosen.setdefault(ranked[places[role]][1], role)
    order = {role: name for name, role in chosen.items()}
    return [(role, order[role]) for role in places if role in order]


def sample_named(source: Source, name: str) -> Sample | None:
    """Read a sample by its id; ``None`` where it cannot be read any more."""
    for index, record in enumerate(source.records):
        if record.id == name:
            try:
                return source[index]
            except (ImageFileError, SourceError):
                return None
    return None


def against_truth(
    sample: Sample, union: NDArray[np.bool_], truth: NDArray[np.uint8], asked: Remembered
) -> Panel:
    """Draw an answer against the truth, with its prompts on top.

    Args:
        sample: the image.
        union: (H, W) all masks together.
        truth: (H, W) 1 in all objects that were asked for, 255 where nothing counts.
        asked: what was asked.
    """
    size = fitted(sample.image.shape[0], sample.image.shape[1], _SIDE)
    shown = _image(sample, size)
    drawn = evaluation_overlay(
        shown, resized_mask(union.astype(np.uint8), size), resized_mask(truth, size), line=2
    )
    return _with_prompts(sample, drawn, boxes=asked.boxes(), points=asked.points())


def beside_boxes(sample: Sample, answer: WeakAnswer, asked: Remembered | None = None) -> Panel:
    """Draw a mask with the boxes that are known, and the points that were asked with."""
    size = fitted(sample.image.shape[0], sample.image.shape[1], _SIDE)
    drawn = overlay_mask(_image(sample, size), resized_mask(answer.mask.astype(np.uint8), size))
    boxes = None
    if sample.boxes is not None and len(sample.boxes):
        boxes = np.asarray(sample.boxes, dtype=np.float32)
    return _with_prompts(
        sample, drawn, boxes=boxes, points=None if asked is None else asked.points()
    )


def _image(sample: Sample, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(resized(to_display(sample.image), size), dtype=np.uint8)


def _with_prompts(
    sample: Sample,
    drawn: NDArray[np.uint8],
    *,
    boxes: NDArray[np.float32] | None,
    points: tuple[NDArray[np.float32], NDArray[np.int8]] | None,
) -> Panel:
    height, width = drawn.shape[:2]
    scale = np.array(
        [width / sample.image.shape[1], height / sample.image.shape[0]], dtype=np.float32
    )
    if boxes is not None:
        drawn = draw_prompts(drawn, Prompts((height, width), boxes=boxes * np.tile(scale, 2)))
    if points is not None:
        places, labels = points
        drawn = draw_prompts(drawn, Prompts((height, width), points=places * scale, labels=labels))
    return panel("answer", f"{width} px", drawn)


def titled(found: Panel, metric: str, score: float) -> Panel:
    """Write the score below a picture."""
    return Panel(found.kind, f"{metric} {number(score)}", found.uri, found.width, found.height)
