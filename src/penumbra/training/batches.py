"""Training crops: which image, which window, as a function of (seed, epoch, position) alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from penumbra.data.sample import IGNORE, Finding
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.inference.frames import pad_to_multiple_of, pad_to_size
from penumbra.inference.preprocess import Preprocess, WorkingImage, mask_to_working, to_working
from penumbra.progress import Progress, silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkingSample:
    """A decoded training sample at the network's resolution."""

    id: str
    image: WorkingImage
    mask: NDArray[np.uint8]


class WorkingSet:
    """Decoded samples at the network's resolution, kept in memory up to a bound.

    Args:
        source: samples with masks.
        preprocess: how the network sees them.
        max_bytes: what the memory may hold; the rest is decoded again each time.
    """

    def __init__(
        self, source: Source, preprocess: Preprocess, *, max_bytes: int = 4 * 2**30
    ) -> None:
        self.source = source
        self.preprocess = preprocess
        self._room = max_bytes
        self._kept: dict[int, WorkingSample] = {}
        self.masks: dict[int, NDArray[np.uint8]] = {}  # In the place of the samples' own.

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> WorkingSample:
        sample = self._own(index)
        return replace(sample, mask=self.masks[index]) if index in self.masks else sample

    def _own(self, index: int) -> WorkingSample:
        if index in self._kept:
            return self._kept[index]
        sample = self.source[index]
        if sample.mask is None:
            raise SourceError(
                expected(
                    f"sample {sample.id!r}", "with a mask", "none", "removing it or labelling it"
                )
            )
        working = WorkingSample(
            sample.id,
            to_working(sample.image, self.preprocess),
            mask_to_working(sample.mask, self.preprocess),
        )
        size = working.image.pixels.nbytes + working.mask.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = working
        return working


def usable(
    source: Source, preprocess: Preprocess, *, progress: Progress = silent
) -> tuple[WorkingSet, list[bool], list[Finding]]:
    """Decode every sample once; leave out, with a finding, those that cannot be used.

    Returns:
        The set of usable samples, for each whether it holds foreground, and the findings.

    Raises:
        SourceError: none can be used.
    """
    full = WorkingSet(source, preprocess)
    good: list[int] = []
    foreground: list[bool] = []
    findings: list[Finding] = []
    records = progress(source.records, total=len(source), what="reading samples")
    for index, record in enumerate(records):
        if not record.masks:
            message = f"Sample {record.id!r} has no mask and was left out."
            findings.append(Finding("missing-mask", "warning", (record.id,), message))
            continue
        try:
            mask = full[index].mask
        except (ImageFileError, SourceError) as error:
            findings.append(Finding("unusable", "error", (record.id,), str(error)))
            _log.info("left out %s: %s", record.id, error)
            continue
        good.append(index)
        foreground.append(bool(((mask > 0) & (mask != IGNORE)).any()))
    if not good:
        first = findings[0].message if findings else "no samples"
        raise SourceError(
            expected("the training split", "at least one usable sample", f"none ({first})",
                     "`penumbra split` on a source with masks")
        )  # fmt: skip
    kept = WorkingSet(source.subset(good), preprocess)
    kept._room = full._room  # noqa: SLF001 - the same class
    kept._kept = {new: full._kept[old] for new, old in enumerate(good) if old in full._kept}  # noqa: SLF001
    return kept, foreground, findings


@dataclass(frozen=True)
class CropKey:
    """Which crop: the sample, and the number its window is drawn from."""

    index: int
    draw: int


class CropSet(Dataset[tuple[Tensor, Tensor]]):
    """Square crops (C, S, S) float32 with masks (S, S) uint8; oblong where `Preprocess` says so.

    Args:
        samples: where crops come from.
        foreground_crops: share of the crops centred on a foreground pixel.
    """

    def __init__(self, samples: WorkingSet, *, foreground_crops: float) -> None:
        self.samples = samples
        self.foreground_crops = foreground_crops

    def __getitem__(self, key: CropKey) -> tuple[Tensor, Tensor]:
        sample = self.samples[key.index]
        size = self.samples.preprocess.size
        pixels, mask = sample.image.pixels, sample.mask
        rng = np.random.default_rng(key.draw)
        if not self.samples.preprocess.scales:
            top, left = self._corner(mask, size, rng)
            window = (slice(top, top + size), slice(left, left + size))
            pixels, mask = pixels[window], mask[window]
        part = WorkingImage(pixels, sample.image.mean, sample.image.std, pixels.shape[:2])
        image = part.normalised()
        if self.samples.preprocess.oblong:
            multiple = self.samples.preprocess.multiple
            return _pair(
                pad_to_multiple_of(image, multiple), pad_to_multiple_of(mask, multiple, fill=IGNORE)
            )
        bottom, right = size - image.shape[1], size - image.shape[2]
        if bottom or right:
            image = np.pad(image, ((0, 0), (0, bottom), (0, right)))
            mask = np.pad(mask, ((0, bottom), (0, right)), constant_values=IGNORE)
        return _pair(image, mask)

    def _corner(
        self, mask: NDArray[np.uint8], size: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Draw the top left corner of a window, by chance around a foreground pixel."""
        room = (max(0, mask.shape[0] - size), max(0, mask.shape[1] - size))
        corner = [int(rng.integers(0, space + 1)) for space in room]
        if rng.random() < self.foreground_crops and max(room) > 0:
            places = np.flatnonzero((mask > 0) & (mask != IGNORE))
            if len(places):
                row, column = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
                corner = [
                    min(max(0, centre - size // 2), space)
                    for centre, space in zip((row, column), room, strict=True)
                ]
        return corner[0], corner[1]


def _pair(image: NDArray[np.generic], mask: NDArray[np.generic]) -> tuple[Tensor, Tensor]:
    whole = np.ascontiguousarray(mask)
    return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(whole)


def batched(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack images (C, H, W) and masks (H, W), each padded to the largest of the batch.

    Images repeat their border, and what is padded is ignored; crops of one size stay as they are.
    """
    height, width = (max(mask.shape[side] for _, mask in pairs) for side in (0, 1))
    images = [pad_to_size(image.numpy(), (height, width)) for image, _ in pairs]
    masks = [pad_to_size(mask.numpy(), (height, width), fill=IGNORE) for _, mask in pairs]
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


class EpochSampler(Sampler[list[CropKey]]):
    """Batches of crop keys; each epoch's are a function of (seed, epoch) alone.

    Every usable sample comes up equally often within one, in a new order each pass. With
    `balanced`, empty and non-empty samples come up equally often instead.

    Args:
        foreground: for each sample whether it holds foreground.
        seed: of the run.
        n_samples: crops in an epoch.
        batch_size: crops in a batch; the last batch of an epoch is filled up.
        balanced: see above.
    """

    def __init__(
        self,
        foreground: list[bool],
        *,
        seed: int,
        n_samples: int,
        batch_size: int,
        balanced: bool,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.n_batches = -(-n_samples // batch_size)
        empty = [i for i, present in enumerate(foreground) if not present]
        full = [i for i, present in enumerate(foreground) if present]
        self.pools = [empty, full] if balanced and empty and full else [empty + full]
        self.epoch = 0

    @property
    def sampler(self) -> EpochSampler:
        """Itself: Lightning tells the epoch to a batch sampler's `sampler`, and to nothing else."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[CropKey]]:
        rng = np.random.default_rng([self.seed, self.epoch, 0x5EED])
        total = self.n_batches * self.batch_size
        share = -(-total // len(self.pools))
        columns = [self._pass(pool, share, rng) for pool in self.pools]
        order = np.stack(columns, axis=1).ravel()[:total]
        draws = rng.integers(0, 2**62, size=total)
        keys = [CropKey(int(i), int(d)) for i, d in zip(order, draws, strict=True)]
        for start in range(0, total, self.batch_size):
            yield keys[start : start + self.batch_size]

    @staticmethod
    def _pass(pool: list[int], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        rounds = [rng.permutation(pool) for _ in range(-(-count // len(pool)))]
        return np.concatenate(rounds)[:count].astype(np.int64)
