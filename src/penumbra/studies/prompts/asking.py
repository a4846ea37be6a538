"""How a study asks: embeddings kept, edges added to prompts, and one image watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.filters import FilterChain
from penumbra.inference.prediction import Prediction
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.contract import AnswersPrompts
from penumbra.promptable.edge_prompts import edge_prompts
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.segmenter import PromptableSegmenter


class EdgePrompted:
    """A promptable model whose every prompt is joined by what the image's edges enclose.

    It answers prompts as the model does, so that both are scored by one and the same function.

    Args:
        segmenter: the model.
        chain: with one filter of ``mode: prompt``.
        cache: where embeddings are taken from and put into.

    Attributes:
        name: of the model, with the chain.
        accepts: what the model takes and the chain does not make itself.
    """

    def __init__(
        self, segmenter: PromptableSegmenter, chain: FilterChain, cache: EmbeddingCache
    ) -> None:
        self.segmenter, self.chain, self.cache = segmenter, chain, cache
        self.name = f"{segmenter.name}, {chain.label}"
        self.accepts = segmenter.accepts - {"mask"}

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> tuple[Any, Any]:
        """Give the embedding with the image, in which edges are looked for."""
        return self.cache.embed(self.segmenter, image, filters=filters), image

    def predict(
        self,
        embedding: tuple[Any, Any],
        *,
        boxes: NDArray[np.float32] | None = None,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int8] | None = None,
    ) -> Sequence[Prediction]:
        """Answer prompts with the edges' masks or points added to them.

        Raises:
            SettingsError: a prompt is not valid, or not what the model takes.
        """
        made, image = embedding
        asked = Prompts.of(size=made.size, boxes=boxes, points=points, labels=labels)
        return self.segmenter.predict_prompts(made, edge_prompts(self.chain, image, asked))


class KeptEmbeddings:
    """A promptable model that takes embeddings from a cache.

    Args:
        segmenter: the model.
        cache: where embeddings are taken from and put into.
    """

    def __init__(self, segmenter: PromptableSegmenter, cache: EmbeddingCache) -> None:
        self.segmenter, self.cache = segmenter, cache
        self.name = segmenter.name
        self.accepts = segmenter.accepts

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> Any:
        """Give the embedding, computed where the cache has none."""
        return self.cache.embed(self.segmenter, image, filters=filters)

    def predict(self, embedding: Any, **prompts: Any) -> Sequence[Prediction]:
        """Answer prompts as the model does."""
        return self.segmenter.predict(embedding, **prompts)


@dataclass
class Seen:
    """What was asked about the watched image, and the answers.

    Attributes:
        boxes: (4,) each.
        points: (P, 2) each.
        labels: (P,) each.
        union: (H, W) bool, all masks together; ``None`` before there is one.
    """

    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    labels: list[NDArray[np.int8]] = field(default_factory=list)
    union: NDArray[np.bool_] | None = None


class Watched:
    """Passes everything on, and keeps what was asked about one image in one kind of prompt.

    Args:
        inner: what answers.
        image: the one that is watched.
        clicks: of ``pointN``, N: only the answers to so many points are kept; 0 for boxes.
    """

    def __init__(self, inner: AnswersPrompts, image: NDArray[np.generic], *, clicks: int) -> None:
        self.inner, self.image, self.clicks = inner, image, clicks
        self.name = inner.name
        self.accepts = inner.accepts
        self.seen = Seen()

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> tuple[Any, bool]:
        """Embed an image, and note whether it is the watched one."""
        watched = image.shape == self.image.shape and bool(np.array_equal(image, self.image))
        return self.inner.embed(image, filters=filters), watched

    def predict(
        self,
        embedding: tuple[Any, bool],
        *,
        boxes: NDArray[np.float32] | None = None,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int8] | None = None,
    ) -> Sequence[Prediction]:
        """Answer prompts."""
        made, watched = embedding
        if points is None:
            answers = self.inner.predict(made, boxes=boxes)
        else:
            answers = self.inner.predict(made, points=points, labels=labels)
        if watched and (0 if points is None else points.shape[1]) == self.clicks:
            self._keep(boxes, points, labels, answers)
        return answers

    def _keep(self, boxes: Any, points: Any, labels: Any, answers: Sequence[Prediction]) -> None:
        self.seen.boxes.extend(() if boxes is None else boxes)
        self.seen.points.extend(() if points is None else points)
        self.seen.labels.extend(() if labels is None else labels)
        for answer in answers:
            mask = answer.mask > 0
            self.seen.union = mask if self.seen.union is None else self.seen.union | mask
