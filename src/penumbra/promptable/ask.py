"""Ask a model about an image: whole or in tiles, once or in several versions of each prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.doubt import predict_with_doubt
from penumbra.promptable.edge_prompts import edge_prompts
from penumbra.promptable.prediction import PromptedPrediction
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tiles import InTiles

_TOGETHER = 8
"""Prompts whose predictions are held at once; each takes 13 bytes per pixel of the image."""


@dataclass(frozen=True)
class Asking:
    """How prompts are put to a model.

    Attributes:
        segmenter: the model.
        filters: before the encoder; one of ``mode: prompt`` adds to the prompts instead.
        tile: side of tiles in pixels; ``None`` shows the model the whole image.
        samples: versions of each prompt, jittered; up to 1 asks once.
        seed: of the versions.
        keep: versions whose probabilities are kept whole.
        cache: of embeddings.
    """

    segmenter: PromptableSegmenter
    filters: FilterChain
    tile: int | None = None
    samples: int = 0
    seed: int = 0
    keep: int = 0
    cache: EmbeddingCache = field(default_factory=EmbeddingCache)

    def prompts(self, image: NDArray[np.generic], given: Prompts | None) -> Prompts:
        """Give the prompts with those that a filter makes of edges.

        Raises:
            SettingsError: there is no prompt, or prompts cannot be jittered or are of a kind that
                the model does not take.
        """
        asked = given
        if self.filters.prompt is not None:
            asked = edge_prompts(self.filters, image, given)
        if asked is None:
            raise SettingsError(
                expected("the prompts", "at least one", "none", "a box, a point or a mask")
            )
        self.check(asked.kinds)
        return asked

    def check(self, kinds: frozenset[Any]) -> None:
        """Check that the model takes prompts of these kinds, in versions if that is asked.

        Raises:
            SettingsError: it does not, or a mask is to be jittered.
        """
        foreign = sorted(kinds - self.segmenter.accepts)
        if foreign:
            takes = " or ".join(sorted(self.segmenter.accepts))
            raise SettingsError(
                expected(f"the prompt for {self.segmenter.name}", takes, " and ".join(foreign),
                         "a kind of prompt that this model was trained with")
            )  # fmt: skip
        if self.samples > 1 and "mask" in kinds:
            raise SettingsError(
                expected("the prompts of several samples", "boxes or points", "a mask",
                         "a box around it, or no samples")
            )  # fmt: skip

    def answers(self, image: NDArray[np.generic], prompts: Prompts) -> Iterator[PromptedPrediction]:
        """Answer prompts in order, holding a few at a time.

        Raises:
            SettingsError, ImageFileError: what the model's `embed` and `predict` raise.
            StorageError: the cache cannot write.
        """
        model: Any = self.segmenter
        if self.tile is None:
            embedding: Any = self.cache.embed(model, image, filters=self.filters)
        else:
            model = InTiles(self.segmenter, tile=self.tile, cache=self.cache)
            embedding = model.embed(image, filters=self.filters)
        for start in range(0, len(prompts), _TOGETHER):
            some = prompts[slice(start, start + _TOGETHER)]
            yield from self._ask(model, embedding, some)

    def _ask(self, model: Any, embedding: Any, some: Prompts) -> list[PromptedPrediction]:
        given: dict[str, Any] = {
            "boxes": some.boxes,
            "points": some.points,
            "labels": some.labels,
        }
        found: list[PromptedPrediction]
        if self.samples > 1:
            doubtful = predict_with_doubt(
                model,
                embedding,
                **given,
                samples=self.samples,
                seed=self.seed,
                keep_samples=self.keep,
            )
            found = list(doubtful)
        else:
            found = model.predict(embedding, **given, mask=some.masks)
        return found
