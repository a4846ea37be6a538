"""What computes for the Streamlit app of a server: the same queue and workers as for requests."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penumbra.errors import PenumbraError, SettingsError, expected
from penumbra.serving.messages import Answer, Job, batch_key
from penumbra.serving.problems import Problem
from penumbra.serving.service import Service
from penumbra.serving.ui.backend import (
    SEVERAL,
    DoubtMap,
    ModelFacts,
    Outcome,
    Question,
    foreground_of,
    notes_of,
    scale_of,
    unit_of,
)
from penumbra.serving.ui.local import pattern_text
from penumbra.serving.ui.runs import folder_of
from penumbra.serving.uploads import UploadLimits, sniff


class ServedBackend:
    """Answers the pages, which run in threads, by the queue, which runs in the event loop.

    Args:
        service: of the application that the pages are mounted in.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def models(self) -> list[ModelFacts]:
        """Tell which models there are.

        Raises:
            PenumbraError: they are not loaded yet.
        """
        try:
            rows = self._service.models
        except Problem as problem:
            raise PenumbraError(problem.detail) from None
        return [_facts(row) for row in rows if row["kind"] == "segmenter"]

    def most_samples(self) -> int:
        """Tell how many passes may be asked for."""
        return self._service.settings.max_samples

    def revision(self) -> str:
        """Tell by which workers the models are held: those that read them anew are others."""
        rows = self._service.pool.status()
        pids = sorted(row["pid"] for row in rows if row["state"] in ("ready", "busy"))
        return " ".join(map(str, pids))

    def folders(self) -> Mapping[str, Path]:
        """Tell where each model's run lies."""
        found = {name: folder_of(run) for name, run in self._service.settings.runs.items()}
        return {name: folder for name, folder in found.items() if folder is not None}

    def segment(self, upload: bytes, question: Question) -> Outcome:
        """Segment the image in a file's bytes.

        Raises:
            PenumbraError: the image, the question or the model is at fault, or the queue is full.
        """
        settings, loop = self._service.settings, self._service.loop
        if loop is None:
            raise PenumbraError("The server is starting. Try again in a moment.")
        # The other modes make as many passes as they make, whatever number stands beside them.
        if question.mode in SEVERAL and question.samples > settings.max_samples:
            most = f"at most {settings.max_samples}"
            raise SettingsError(expected("`samples`", most, question.samples, "fewer"))
        limits = UploadLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
        header = sniff(upload, limits)
        options = _options(question)
        name = secrets.token_urlsafe(16)
        key = batch_key(name, "segment", question.model, options, (header.height, header.width))
        job = Job(id=name, kind="segment", model=question.model, upload=upload, options=options,
                  key=key)  # fmt: skip
        waiting = asyncio.run_coroutine_threadsafe(self._service.batcher.submit(job), loop)
        try:
            return _outcome(waiting.result(timeout=settings.request_timeout_s))
        except TimeoutError:
            raise PenumbraError("The answer took too long. Try fewer passes.") from None
        finally:
            waiting.cancel()


def _facts(row: Mapping[str, Any]) -> ModelFacts:
    size = row.get("size")
    return ModelFacts(
        name=str(row["name"]),
        classes=tuple(row.get("classes", ())),
        sampler=str(row.get("sampler")),
        calibrated=bool(row.get("calibrated")),
        has_noise=bool(row.get("has_noise")),
        size=size if isinstance(size, int) else None,
        noisy=size is not None,
    )


def _options(question: Question) -> dict[str, Any]:
    given = {
        "noise_mode": question.mode,
        "noise_strength": question.strength,
        "pattern": None if question.pattern is None else pattern_text(question.pattern),
        "samples": question.samples if question.mode in SEVERAL else None,
        "seed": question.seed,
        "threshold": question.threshold,
        "outputs": ("mask", "image"),
        "accept": "npz",
    }
    return {name: value for name, value in given.items() if value is not None}


def _outcome(answer: Answer) -> Outcome:
    document = answer.document
    with np.load(io.BytesIO(answer.files["arrays.npz"]), allow_pickle=False) as packed:
        arrays = {name: packed[name] for name in packed.files}
    probabilities = arrays.pop("probabilities")
    own = arrays.pop("mask_probability", None)
    foreground = foreground_of(probabilities)
    mask, picture = arrays.pop("mask"), arrays.pop("image")
    n_classes = len(probabilities)
    maps = {name: values for name, values in arrays.items() if values.ndim == 2}
    return Outcome(
        picture=picture,
        mask=mask,
        foreground=foreground,
        confidence=np.asarray(probabilities.max(axis=0), dtype=np.float32),
        doubt={
            name: DoubtMap(values, scale_of(name, values, n_classes), unit_of(name))
            for name, values in maps.items()
        },
        classes=tuple(document["classes"]),
        sampler=str(document["sampler"]),
        passes=int(document["passes"]),
        seed=int(document["seed"]),
        timings=answer.timings,
        flagged=document["flagged"],
        areas={name: tuple(area) for name, area in document["area_intervals"].items()},
        notes=notes_of(emptied=document["emptied"], others=document["notes"]),
        cut=None if document["threshold_map"] is None else foreground if own is None else own,
    )
