"""From what the passes said about tiles to the prediction of an image."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penumbra.inference.calibration import Calibration
from penumbra.inference.flags import is_flagged
from penumbra.inference.frames import to_frame
from penumbra.inference.groups import TileResult
from penumbra.inference.intervals import area_intervals
from penumbra.inference.jobs import Job
from penumbra.inference.prediction import Prediction, Samples, entropy
from penumbra.inference.preprocess import probabilities_to_original
from penumbra.inference.scores import image_scores
from penumbra.inference.uncertainty import decompose

if TYPE_CHECKING:
    from penumbra.inference.predictor import Predictor


@dataclass
class _Sums:
    """Sums over the tiles of an image, made while their planes are blended."""

    parts: list[tuple[NDArray[np.float64], ...]] = field(default_factory=list)
    presence: float | None = None

    def watch(self, results: Iterator[TileResult]) -> Iterator[NDArray[np.float32]]:
        for result in results:
            mine = (result.areas, result.overlap, result.mask_areas, result.own_areas)
            self.parts = [
                tuple(a + b for a, b in zip(self.parts[0], mine, strict=True))
                if self.parts
                else mine
            ]
            if result.presence is not None:
                self.presence = max(self.presence or 0.0, result.presence)
            yield result.planes

    @property
    def n_classes(self) -> int:
        return len(self.parts[0][3])

    @property
    def areas(self) -> NDArray[np.float64]:
        return self.parts[0][0]

    def sample_dice(self) -> NDArray[np.float64]:
        """Mean Dice over the foreground classes that either mask shows; 1 where none does."""
        _, overlap, mask_areas, own_areas = self.parts[0]
        both = mask_areas[:, 1:] + own_areas[None, 1:]
        shown = both > 0
        dice = np.divide(2 * overlap[:, 1:], both, out=np.zeros_like(both), where=shown)
        n = shown.sum(axis=1)
        return np.asarray(np.where(n > 0, dice.sum(axis=1) / np.maximum(n, 1), 1.0))


class Finish:
    """Make predictions of blended planes.

    Args:
        predictor: whose passes they were.
        kept: how many passes are kept whole.
        seed: that the draws were made from.
        count: how many passes they are of; by default all of the predictor's.
    """

    def __init__(
        self, predictor: Predictor, *, kept: int, seed: int, count: int | None = None
    ) -> None:
        self.predictor = predictor
        self.seed = seed
        sampler = predictor.sampler
        self.count = predictor.n_samples if count is None else count
        self.kept = kept if self.count > 1 else 0
        self.off = sampler.mask_from_off_pass or sampler.head is not None
        learned = predictor.calibration or Calibration()
        # Nor do promises hold for fewer passes, or for a mask of another kind.
        whole = self.count == predictor.n_samples and predictor.mask_from == "off"
        self.area = learned.area if whole and learned.promises_for(sampler, learned.area) else None
        self.flag = learned.flag if whole and learned.promises_for(sampler, learned.flag) else None

    def __call__(
        self, job: Job, results: Iterator[TileResult], *, prepare_seconds: float
    ) -> Prediction:
        """Take the results of this job's tiles from the stream and finish the image."""
        started = time.perf_counter()
        sums = _Sums()
        planes = job.plan.blend(sums.watch(itertools.islice(results, job.n_tiles)))
        forwarded = time.perf_counter()
        working = planes
        preprocess, size = self.predictor.preprocess, job.working.original_size
        if preprocess.fit != "crop":
            working = planes[:, : job.inside[0], : job.inside[1]]
        if preprocess.fit == "whole":
            working = to_frame(working, size, preprocess.window(size))
        prediction = self._prediction(job, working, sums)
        timings = {
            "prepare": prepare_seconds,
            "network": forwarded - started,
            "finish": time.perf_counter() - forwarded,
        }
        return replace(prediction, timings=timings)

    def _prediction(self, job: Job, working: NDArray[np.float32], sums: _Sums) -> Prediction:
        size = job.working.original_size
        c = sums.n_classes
        several = self.count > 1
        # Kept passes stay at the resolution of the network; they are scaled when looked at.
        used = c * self.off + (2 * c + 2 if several else c)
        planes = probabilities_to_original(np.ascontiguousarray(working[:used]), size)
        mean = planes[c * self.off : c * self.off + c]
        own = planes[:c] if self.off and self.predictor.mask_from == "off" else None
        mask, emptied = self._mask(mean if own is None else own), False
        rule = self.predictor.presence
        if rule is not None:
            judged = rule.apply(mask, probability=sums.presence)
            mask, emptied = judged.mask, judged.emptied
        cut = c == 2 and (rule is None or rule.does_nothing)
        maps: Mapping[str, NDArray[np.float32]] = {"entropy": entropy(mean)}
        class_maps: Mapping[str, NDArray[np.float32]] = {}
        areas = dice = samples = None
        if several:
            variance, expected, error = np.split(planes[c * self.off + c :], [c, c + 1])
            found = decompose(
                mean,
                expected[0],
                passes=self.count,
                variance=variance,
                squared_error=error[0],
            )
            maps, class_maps = found.maps, found.class_maps
            scale = size[0] * size[1] / (job.inside[0] * job.inside[1])
            areas, dice = sums.areas * scale, sums.sample_dice()
            if self.kept:
                kept = working[used:].reshape(self.kept, c, *working.shape[1:])
                samples = Samples(np.ascontiguousarray(kept), size)
        scores = image_scores(
            mean, mask, maps, sample_dice=None if dice is None else float(dice.mean())
        )
        # Promises were made for the predictions of one sampler; under another they are withheld.
        intervals = {} if self.area is None else dict(area_intervals(self.area, mean))
        flagged = None if self.flag is None else is_flagged(scores, self.flag)
        return Prediction(
            probabilities=mean,
            mask=mask,
            uncertainty=maps,
            seed=self.seed,
            class_names=self.predictor.class_names,
            class_uncertainty=class_maps,
            sampler=str(self.predictor.sampler),
            passes=self.count,
            samples=samples,
            areas=areas,
            sample_dice=dice,
            scores=scores,
            area_intervals=intervals,
            flagged=flagged,
            presence=sums.presence,
            emptied=emptied,
            mask_probabilities=own,
            cut_at=self.predictor.threshold if cut else None,
        )

    def _mask(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        if probabilities.shape[0] == 2:
            return np.asarray(probabilities[1] >= self.predictor.threshold, dtype=np.uint8)
        return np.asarray(probabilities.argmax(axis=0), dtype=np.uint8)
