"""What answers jobs inside of a worker: decode, predict, encode; a bad image fails alone."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from penumbra.errors import (
    ImageFileError,
    MissingExtraError,
    NotFiniteError,
    PenumbraError,
    SettingsError,
    expected,
)
from penumbra.inference.contract import ImagePredictor
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.serving.answers import answer_of
from penumbra.serving.logs import silence_decoders
from penumbra.serving.messages import Answer, Failed, Job
from penumbra.serving.prompting import Look, ServedPromptable
from penumbra.serving.rectifying import rectified
from penumbra.serving.requests import SegmentRequest
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.streaming import estimates
from penumbra.serving.uploads import UploadError, UploadLimits, decode
from penumbra.serving.variants import ServedSegmenter

_LOG = logging.getLogger(__name__)

_UNFORESEEN = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError,
    LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What libraries raise that nobody foresaw. It fails the job, as a new worker would take seconds;
whatever else comes ends the worker, which the pool survives."""

_MOST_TOGETHER = 16_000_000
"""Pixels that go through a predictor in one call, as all of its predictions are held at once."""

Model = ServedSegmenter | ServedPromptable


class Decoded:
    """A job of segmentation with its image, ready for a network."""

    def __init__(self, job: Job, request: SegmentRequest, limits: UploadLimits) -> None:
        started = time.perf_counter()
        self.job, self.request = job, request
        self.image: NDArray[np.generic] = decode(job.upload or b"", limits)
        self.seconds = time.perf_counter() - started


class WorkerEngine:
    """Answers jobs with the models that were loaded.

    Args:
        models: by name.
        settings: bounds.
    """

    def __init__(self, models: dict[str, Model], settings: WorkerSettings) -> None:
        self._models, self._settings = models, settings
        self._look: Look = _go_on
        for model in models.values():
            if isinstance(model, ServedSegmenter) and isinstance(model.base, Predictor):
                model.base.between = self._between
        self._limits = UploadLimits(
            max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels
        )

    @property
    def models(self) -> list[dict[str, Any]]:
        """One description per model."""
        return [model.describe() for model in self._models.values()]

    def handle(
        self, jobs: Sequence[Job], *, look: Callable[[], None] | None = None
    ) -> Iterator[Answer | Failed]:
        """Answer jobs; those that one call of a predictor can take go through it together.

        Args:
            jobs: of one key.
            look: called between images, passes, prompts and cards; what it raises ends the work on
                all of them.
        """
        self._look = look or _go_on
        groups: dict[object, list[Decoded]] = {}
        for job in jobs:
            self._look()
            try:
                model = self._model(job)
                if job.kind in ("segment", "uncertainty") and isinstance(model, ServedSegmenter):
                    request = SegmentRequest.of(job.options, max_samples=self._settings.max_samples)
                    plan = model.plan(request)
                    key = (job.model, plan, _seed_of(model.predictor(plan), request))
                    decoded = Decoded(job, request, self._limits)
                    groups.setdefault(job.id if request.stream else key, []).append(decoded)
                else:
                    yield self._other(model, job)
            except (PenumbraError, *_UNFORESEEN) as error:
                yield failure(job, error)
        for group in groups.values():
            for portion in _portions(group):
                yield from self._segmented(portion)

    def forget(self, session: str) -> None:
        """Keep nothing of a session any longer."""
        for model in self._models.values():
            if isinstance(model, ServedPromptable):
                model.forget(session)

    def _between(self) -> None:
        self._look()

    def _segmented(self, group: list[Decoded]) -> Iterator[Answer | Failed]:
        first = group[0]
        model = self._models[first.job.model]
        if not isinstance(model, ServedSegmenter):  # `handle` made groups of no others.
            return
        try:
            predictor = model.predictor(model.plan(first.request))
            if first.request.stream and first.job.kind == "uncertainty":
                yield from estimates(
                    first.job, first.request, first.image, predictor, decode_seconds=first.seconds
                )
                return
            predictions = self._predicted(predictor, group)
        except (PenumbraError, *_UNFORESEEN) as error:
            if len(group) == 1:
                yield failure(first.job, error)
                return
            # One image spoils a call for all; each alone shows which.
            for one in group:
                yield from self._segmented([one])
            return
        for one, prediction in zip(group, predictions, strict=True):
            yield _encoded(one, prediction, predictor.threshold)

    def _predicted(self, predictor: ImagePredictor, group: list[Decoded]) -> list[Prediction]:
        images, seed = [one.image for one in group], group[0].request.seed
        if isinstance(predictor, Predictor):
            return list(predictor(images, seed=seed))
        # Other methods take one image after another anyway, and do not look in between.
        found: list[Prediction] = []
        for image in images:
            self._look()
            found += predictor([image], seed=seed)
        return found

    def _other(self, model: Model, job: Job) -> Answer:
        if isinstance(model, ServedPromptable):
            if job.kind == "embed":
                return model.embed(job, self._limits, look=self._look)
            if job.kind == "prompt":
                return model.prompt(job, self._limits, look=self._look)
        elif job.kind == "rectify":
            return rectified(job, model, self._limits, look=self._look)
        kinds = "embed and prompt" if isinstance(model, ServedPromptable) else "segment"
        raise SettingsError(
            expected(f"what {job.model} is asked for", kinds, job.kind, "a model of the other kind")
        )

    def _model(self, job: Job) -> Model:
        model = self._models.get(job.model)
        if model is None:
            known = ", ".join(self._models)
            raise UploadError(
                404, "unknown-model", expected("`model`", f"one of {known}", job.model, "another")
            )
        return model


def _go_on() -> None:
    pass


def load_engine(specs: Sequence[ModelSpec], settings: WorkerSettings) -> WorkerEngine:
    """Load every model.

    Args:
        specs: which.
        settings: bounds, and the number of threads that this process computes with.

    Raises:
        PenumbraError: one cannot be loaded.
    """
    silence_decoders()
    torch.set_num_threads(threads_of(settings))
    models: dict[str, Model] = {}
    for spec in specs:
        kind = ServedPromptable if spec.kind == "promptable" else ServedSegmenter
        models[spec.name] = kind(spec, settings)
    return WorkerEngine(models, settings)


def threads_of(settings: WorkerSettings) -> int:
    """Choose how many threads a worker computes with.

    Args:
        settings: with a number, or with that of the workers, among whom the cores that this process
            may use are shared out evenly. Never more than the library takes by itself.

    Examples:
        >>> threads_of(WorkerSettings(threads=3)), threads_of(WorkerSettings(workers=4096))
        (3, 1)
    """
    if settings.threads is not None:
        return settings.threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(torch.get_num_threads(), (cores or 1) // settings.workers))


def failure(job: Job, error: Exception) -> Failed:
    """Say to the client what became of its job; what nobody foresaw is logged without its words.

    Words of libraries may quote the file, and a DICOM file says whom it is of.
    """
    status, code = _status(error)
    if isinstance(error, PenumbraError):
        return Failed(id=job.id, status=status, code=code, detail=str(error))
    places = "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("A job of kind %s failed with %s:\n%s", job.kind, type(error).__name__, places)
    detail = "The image was accepted, but working on it failed. The server's log says where."
    return Failed(id=job.id, status=status, code=code, detail=detail)


def _status(error: Exception) -> tuple[int, str]:
    if isinstance(error, UploadError):
        return error.status, error.code
    rows: tuple[tuple[type[Exception], int, str], ...] = (
        (ImageFileError, 422, "damaged-image"),
        (SettingsError, 422, "bad-option"),
        (NotFiniteError, 422, "not-finite"),
        (MissingExtraError, 501, "missing-extra"),
        (MemoryError, 413, "too-large"),
    )
    found = next(((status, code) for kind, status, code in rows if isinstance(error, kind)), None)
    return found or (500, "internal")


def _seed_of(predictor: ImagePredictor, request: SegmentRequest) -> int | None:
    """Give the seed that a call needs; ``None`` where nothing is drawn, so that any does."""
    sampler = predictor.sampler
    return request.seed if sampler.disturbance or sampler.head else None


def _portions(group: list[Decoded]) -> Iterator[list[Decoded]]:
    portion: list[Decoded] = []
    pixels = 0
    for one in group:
        size = one.image.shape[0] * one.image.shape[1]
        if portion and pixels + size > _MOST_TOGETHER:
            yield portion
            portion, pixels = [], 0
        portion.append(one)
        pixels += size
    yield portion


def _encoded(one: Decoded, prediction: Prediction, threshold: float) -> Answer | Failed:
    try:
        return answer_of(
            one.job,
            one.request,
            one.image,
            replace(prediction, seed=one.request.seed),
            threshold=threshold,
            decode_seconds=one.seconds,
        )
    except (PenumbraError, *_UNFORESEEN) as error:
        return failure(one.job, error)
