"""The predictor: images in, predictions out, the same bits wherever it runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from penumbra.errors import ImageFileError, RunError, SettingsError, expected
from penumbra.inference.backend import Engine, Precision
from penumbra.inference.prediction import Prediction, entropy
from penumbra.inference.preprocess import (
    Preprocess,
    WorkingImage,
    pad_square,
    probabilities_to_original,
    to_working,
)
from penumbra.inference.tiling import TilePlan, plan_tiles
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.models.storage import load_model


@dataclass(frozen=True)
class _Job:
    """One image on its way through the network."""

    working: WorkingImage
    pixels: NDArray[np.float32]
    plan: TilePlan

    @property
    def tiles(self) -> Iterator[NDArray[np.float32]]:
        return (self.pixels[(slice(None), *tile.window)] for tile in self.plan.tiles)


class Predictor:
    """Segment images with one network: preprocessing, tiling, probabilities, mask, doubt.

    Results do not depend on what else is in the call: for one back end, precision and kind of
    machine an image gives the same bits alone and in any batch.

    Args:
        model: any module under the house's contract (float images in, logits out, same size).
        preprocess: the settings it was trained with.
        class_names: one name per class, background first.
        threshold: least foreground probability of the mask where there are two classes.
        overlap: least share of a tile that its neighbour repeats.
        batch_size: tiles per forward pass on a GPU; a CPU takes them one by one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.

    Raises:
        SettingsError: the threshold, the overlap, the batch size or the device is not possible.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        preprocess: Preprocess,
        class_names: Sequence[str],
        threshold: float = 0.5,
        overlap: float = 0.25,
        batch_size: int = 4,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        if not 0 < threshold < 1:
            raise SettingsError(expected("`threshold`", "between 0 and 1", threshold, "0.5"))
        if batch_size < 1:
            raise SettingsError(expected("`batch_size`", "at least 1", batch_size, "4"))
        self.preprocess = preprocess
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.overlap = overlap
        self.batch_size = batch_size
        self.engine = Engine.of(model, device=device, precision=precision, batch_size=batch_size)

    @classmethod
    def load(cls, run: Path | str, **options: Any) -> Predictor:
        """Load a run folder; `options` are those of the constructor.

        Raises:
            RunError: the folder is missing, incomplete, damaged, or from a newer version.
        """
        folder = Path(run)
        model, document = load_model(folder)
        try:
            preprocess = Preprocess.model_validate(document["preprocess"])
            class_names = [str(name) for name in document["class_names"]]
        except (KeyError, ValueError) as error:
            raise RunError(
                expected(
                    f"model.json in {folder}",
                    "one that `penumbra train` wrote, with preprocess and class_names",
                    f"a problem with {error}",
                    "the run folder itself, or Predictor(model, preprocess=…) for a bare network",
                )
            ) from error
        return cls(model, preprocess=preprocess, class_names=class_names, **options)

    def __call__(self, images: Sequence[NDArray[np.generic]], *, seed: int = 0) -> list[Prediction]:
        """Segment images.

        Args:
            images: each (H, W, C), uint8, uint16 or float32, C = 1 or 3, of any size.
            seed: kept in the predictions; the deterministic sampler draws nothing.

        Returns:
            One prediction per image, in order, at the image's own size.

        Raises:
            ImageFileError: an image has another shape or holds NaN.
        """
        started = time.perf_counter()
        jobs = [self._prepare(image) for image in images]
        prepare = (time.perf_counter() - started) / max(1, len(jobs))
        # Tiles flow through the network and are blended as they come, so that memory holds one
        # image's probabilities and one group of tiles, however many tiles there are.
        parts = self._run(tile for job in jobs for tile in job.tiles)
        return [self._finish(job, parts, seed, prepare) for job in jobs]

    def _prepare(self, image: NDArray[np.generic]) -> _Job:
        if image.ndim != 3:
            raise ImageFileError(
                expected("an image", "(H, W, C)", image.shape, "image[..., None] for a grey one")
            )
        working = to_working(image, self.preprocess)
        pixels = working.normalised()
        if self.preprocess.fit == "resize":
            # The network learned on squares; a bare rectangle would meet its padding elsewhere.
            pixels = np.asarray(pad_square(pixels, self.preprocess.size, 0.0), dtype=np.float32)
        size = (pixels.shape[1], pixels.shape[2])
        return _Job(
            working, pixels, plan_tiles(size, tile=self.preprocess.size, overlap=self.overlap)
        )

    def _run(self, tiles: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Run tiles through the network, neighbours of one shape together, order kept."""
        for _, alike in itertools.groupby(tiles, key=lambda tile: tile.shape):
            while group := list(itertools.islice(alike, self.batch_size)):
                logits = self.engine.logits(torch.from_numpy(np.stack(group)))
                yield from logits_to_probabilities(logits).numpy()

    def _finish(
        self, job: _Job, parts: Iterator[NDArray[np.float32]], seed: int, prepare: float
    ) -> Prediction:
        started = time.perf_counter()
        own = itertools.islice(parts, len(job.plan.tiles))
        probabilities = job.plan.blend(own)
        forwarded = time.perf_counter()
        if self.preprocess.fit == "resize":
            height, width = job.working.pixels.shape[:2]
            probabilities = probabilities_to_original(
                probabilities[:, :height, :width], job.working.original_size
            )
        mask, doubt = self._mask(probabilities), entropy(probabilities)
        done = time.perf_counter()
        return Prediction(
            probabilities=probabilities,
            mask=mask,
            uncertainty={"entropy": doubt},
            seed=seed,
            timings={
                "prepare": prepare,
                "network": forwarded - started,
                "finish": done - forwarded,
            },
            class_names=self.class_names,
        )

    def _mask(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        if probabilities.shape[0] == 2:
            return np.asarray(probabilities[1] >= self.threshold, dtype=np.uint8)
        return np.asarray(probabilities.argmax(axis=0), dtype=np.uint8)
