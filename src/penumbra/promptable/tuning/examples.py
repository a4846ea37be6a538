"""What a tuning learns from: each image encoded or prepared once, with the objects in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, RunError, SourceError, expected
from penumbra.progress import Progress, silent
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.objects import ObjectGrid, objects_on_grid
from penumbra.promptable.tuning.settings import TuneSettings
from penumbra.training.batches import CropKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One image that has objects.

    Attributes:
        id: of the sample.
        index: of the sample in its source.
        key: of its embedding; empty where images are encoded in every step.
        objects: what can be prompted for.
    """

    id: str
    index: int
    key: str
    objects: ObjectGrid


@dataclass(frozen=True)
class Batch:
    """B images with N objects each.

    Attributes:
        features: (B, C, h, w) float32 of the encoder, or ``None`` where it runs in every step.
        extra: further features, each (B, …).
        pixels: (B, 3, S, S) float32 for the encoder, or ``None`` where it has run.
        masks: (B, N, g, g) bool.
        valid: (B, g, g) bool.
    """

    features: Tensor | None
    extra: tuple[Tensor, ...]
    pixels: Tensor | None
    masks: NDArray[np.bool_]
    valid: NDArray[np.bool_]


class ExampleSet(Dataset[Batch]):
    """The usable examples of a split; each item is a batch of one image.

    Args:
        source: the samples.
        examples: those that can be used.
        segmenter: prepares images.
        cache: holds embeddings; ``None`` gives pixels instead, for tuning that encodes.
        settings: of the tuning.
    """

    def __init__(
        self,
        source: Source,
        examples: Sequence[Example],
        segmenter: PromptableSegmenter,
        *,
        cache: EmbeddingCache | None,
        settings: TuneSettings,
    ) -> None:
        self.source = source
        self.examples = tuple(examples)
        self.segmenter = segmenter
        self.cache = cache
        self.settings = settings
        self._room = settings.memory_mb * 2**20
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: CropKey) -> Batch:
        count = self.examples[key.index].objects.count
        wanted = self.settings.prompts
        generator = np.random.default_rng(key.draw)
        chosen = generator.choice(count, size=wanted, replace=count < wanted) + 1
        return self.batch(key.index, np.asarray(chosen, dtype=np.int64))

    def batch(self, index: int, numbers: NDArray[np.int64]) -> Batch:
        """Give one image with these of its objects, counted from 1."""
        example = self.examples[index]
        masks, valid = example.objects.masks(numbers)[None], example.objects.valid[None]
        if self.cache is None:
            return Batch(None, (), self._pixels(index), masks, valid)
        found = self.cache.get(example.key)
        if found is None:
            raise RunError(
                expected(f"the embedding of {example.id!r}", "in the cache, where it was put before"
                         " the training began", "gone or damaged", "--resume, which makes it again")
            )  # fmt: skip
        return Batch(found.features, found.extra, None, masks, valid)

    def _pixels(self, index: int) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        image = self.source[self.examples[index].index].image
        pixels = self.segmenter.scaling.pixels(self.segmenter.filters.apply(image))[0]
        size = pixels.numel() * pixels.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[index] = pixels
        return pixels


def collated(batches: Sequence[Batch]) -> Batch:
    """Put batches of one image together."""
    features = [one.features for one in batches if one.features is not None]
    pixels = [one.pixels for one in batches if one.pixels is not None]
    return Batch(
        torch.cat(features) if features else None,
        tuple(torch.cat(parts) for parts in zip(*(one.extra for one in batches), strict=True)),
        torch.cat(pixels) if pixels else None,
        np.concatenate([one.masks for one in batches]),
        np.concatenate([one.valid for one in batches]),
    )


def prepared(
    source: Source,
    segmenter: PromptableSegmenter,
    *,
    cache: EmbeddingCache | None,
    settings: TuneSettings,
    progress: Progress = silent,
) -> tuple[ExampleSet, list[Finding]]:
    """Read every sample once, and encode it once where there is a cache.

    Samples without a mask, that cannot be read, or that hold no object are left out; the first
    two with a finding.

    Raises:
        SourceError: none can be used.
        StorageError: the cache's folder cannot be written.
    """
    examples: list[Example] = []
    findings: list[Finding] = []
    doing = "preparing images" if cache is None else "encoding images"
    for index, record in enumerate(progress(source.records, total=len(source), what=doing)):
        if not record.masks:
            message = f"Sample {record.id!r} has no mask and was left out."
            findings.append(Finding("missing-mask", "warning", (record.id,), message))
            continue
        try:
            example = _example(source, index, segmenter, cache=cache, settings=settings)
        except (ImageFileError, SourceError) as error:
            findings.append(Finding("unusable", "error", (record.id,), str(error)))
            _log.info("left out %s: %s", record.id, error)
            continue
        if example is not None:
            examples.append(example)
    if not examples:
        why = findings[0].message if findings else "no mask holds an object"
        raise SourceError(
            expected(f"the samples of {source.name}", "some with an object to prompt for", why,
                     "a source with masks, or a smaller tune.least_area")
        )  # fmt: skip
    return ExampleSet(source, examples, segmenter, cache=cache, settings=settings), findings


def _example(
    source: Source,
    index: int,
    segmenter: PromptableSegmenter,
    *,
    cache: EmbeddingCache | None,
    settings: TuneSettings,
) -> Example | None:
    sample = source[index]
    if sample.mask is None:
        raise SourceError(
            expected(f"sample {sample.id!r}", "with a mask", "none", "removing or labelling it")
        )
    size = (sample.image.shape[0], sample.image.shape[1])
    objects = objects_on_grid(
        sample.mask,
        resized=segmenter.scaling.resized(size),
        side=segmenter.size,
        components=settings.objects == "components",
        has_background=source.has_background,
        least_area=settings.least_area,
    )
    if not objects.count:
        return None
    key = "" if cache is None else cache.embed(segmenter, sample.image, filters=None).key
    return Example(sample.id, index, key, objects)
