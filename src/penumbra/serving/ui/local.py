"""The app's own models: runs loaded in this process, for `streamlit run`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.overlay import to_display
from penumbra.inference.outputs import class_labels
from penumbra.inference.prediction import Prediction
from penumbra.noise.patterns import Pattern
from penumbra.serving.requests import SegmentRequest
from penumbra.serving.specs import ModelSpec, WorkerSettings
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
from penumbra.serving.ui.runs import folder_of
from penumbra.serving.uploads import UploadLimits, decode
from penumbra.serving.variants import ServedSegmenter


def pattern_text(pattern: Pattern) -> str:
    """Write a pattern as samplers do: its name, and its length where it has one.

    Examples:
        >>> pattern_text(Pattern(name="perlin", length=16)), pattern_text(Pattern(name="gaussian"))
        ('perlin16', 'gaussian')
    """
    if pattern.name == "gaussian":
        return pattern.name
    return f"{pattern.name}{pattern.length:g}"


class LocalBackend:
    """Segment with runs loaded here; one image at a time.

    Args:
        runs: name → run folder, or ``classical:METHOD``.
        settings: bounds: of files, of images, of passes.
    """

    def __init__(self, runs: Mapping[str, str], *, settings: WorkerSettings | None = None) -> None:
        self._runs = dict(runs)
        self._settings = settings or WorkerSettings()
        self._limits = UploadLimits(
            max_bytes=self._settings.max_upload_bytes, max_pixels=self._settings.max_pixels
        )
        self._loaded: dict[str, ServedSegmenter] = {}
        self._one_at_a_time = threading.Lock()

    def models(self) -> list[ModelFacts]:
        """Tell which models there are, loading those that are not loaded yet.

        Raises:
            PenumbraError: one cannot be loaded.
        """
        with self._one_at_a_time:
            return [facts_of(self._model(name).describe()) for name in self._runs]

    def most_samples(self) -> int:
        """Tell how many passes may be asked for."""
        return self._settings.max_samples

    def revision(self) -> str:
        """Tell that the models stay as they were loaded."""
        return ""

    def folders(self) -> Mapping[str, Path]:
        """Tell where each model's run lies."""
        found = {name: folder_of(run) for name, run in self._runs.items()}
        return {name: folder for name, folder in found.items() if folder is not None}

    def segment(self, upload: bytes, question: Question) -> Outcome:
        """Segment the image in a file's bytes.

        Raises:
            PenumbraError: the image, the question or the run is at fault.
        """
        image = decode(upload, self._limits)
        pattern = None if question.pattern is None else pattern_text(question.pattern)
        # A number of passes asks for noise; the model's own passes have a number of their own.
        samples = question.samples if question.mode in SEVERAL else None
        request = SegmentRequest.of(
            {"noise_mode": question.mode, "noise_strength": question.strength,
             "pattern": pattern, "samples": samples, "seed": question.seed,
             "threshold": question.threshold},
            max_samples=self._settings.max_samples,
        )  # fmt: skip
        # Networks hold what a pass leaves behind, so that two threads would mix theirs up.
        with self._one_at_a_time:
            model = self._model(question.model)
            predictor = model.predictor(model.plan(request))
            prediction = predictor([image], seed=question.seed)[0]
        return outcome_of(replace(prediction, seed=question.seed), to_display(image))

    def _model(self, name: str) -> ServedSegmenter:
        if name not in self._runs:
            raise SettingsError(
                expected("`model`", f"one of {', '.join(self._runs)}", name, "one of those")
            )
        if name not in self._loaded:
            spec = ModelSpec(name=name, source=self._runs[name])
            self._loaded[name] = ServedSegmenter(spec, self._settings)
        return self._loaded[name]


def facts_of(row: Mapping[str, object]) -> ModelFacts:
    """Read the description of a model that segments, as the REST interface lists it.

    Examples:
        >>> facts_of({"name": "otsu", "classes": ["background", "cell"], "size": None}).noisy
        False
    """
    size, classes = row.get("size"), row.get("classes")
    return ModelFacts(
        name=str(row["name"]),
        classes=tuple(map(str, classes)) if isinstance(classes, (list, tuple)) else (),
        sampler=str(row.get("sampler")),
        calibrated=bool(row.get("calibrated")),
        has_noise=bool(row.get("has_noise")),
        size=size if isinstance(size, int) else None,
        # A method without a network has no size of its own, and nothing to disturb.
        noisy=size is not None,
    )


def outcome_of(prediction: Prediction, picture: NDArray[np.uint8]) -> Outcome:
    """Take from a prediction what the pages show, beside the (H, W, 3) picture of its image."""
    n_classes = prediction.n_classes
    cut = foreground = foreground_of(prediction.probabilities)
    if prediction.mask_probabilities is not None:
        cut = foreground_of(prediction.mask_probabilities)
    return Outcome(
        picture=picture,
        mask=prediction.mask,
        foreground=foreground,
        confidence=np.asarray(prediction.probabilities.max(axis=0), dtype=np.float32),
        doubt={
            name: DoubtMap(values, scale_of(name, values, n_classes), unit_of(name))
            for name, values in prediction.uncertainty.items()
        },
        classes=tuple(class_labels(prediction.class_names, n_classes)),
        sampler=prediction.sampler,
        passes=prediction.passes,
        seed=prediction.seed,
        timings=dict(prediction.timings),
        flagged=prediction.flagged,
        areas=dict(prediction.area_intervals),
        notes=notes_of(emptied=prediction.emptied),
        cut=None if prediction.cut_at is None else cut,
    )
