"""The app's own predictor: runs loaded in this process, for `streamlit run`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.files import Limits
from penumbra.imaging.overlay import to_display
from penumbra.inference.contract import ImagePredictor, load_predictor
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.noise.patterns import Pattern
from penumbra.serving.ui.backend import (
    DoubtMap,
    ModelFacts,
    Outcome,
    Question,
    scale_of,
    unit_of,
)
from penumbra.serving.ui.reading import decode
from penumbra.serving.ui.runs import folder_of

DEFAULT_STRENGTH = 0.3
"""Of noise for a run that has none of its own, in standard deviations of each channel."""


def pattern_text(pattern: Pattern) -> str:
    """Write a pattern as samplers do: its name, and its length where it has one.

    Examples:
        >>> pattern_text(Pattern(name="perlin", length=16)), pattern_text(Pattern(name="gaussian"))
        ('perlin16', 'gaussian')
    """
    if pattern.name == "gaussian":
        return pattern.name
    return f"{pattern.name}{pattern.length:g}"


def sampler_text(question: Question, *, own_noise: bool) -> str | None:
    """Say which passes a question asks for; ``None`` for the model's own.

    Args:
        question: the question.
        own_noise: whether the model's noise needs no strength.

    Examples:
        >>> sampler_text(Question(model="a", mode="ensemble", samples=4), own_noise=False)
        'noise:4@0.3'
        >>> sampler_text(Question(model="a", mode="disabled"), own_noise=True)
        'deterministic'
    """
    if question.mode is None:
        return None
    if question.mode == "disabled":
        return "deterministic"
    text = f"noise:{1 if question.mode == 'single' else question.samples}"
    if question.strength is None and question.pattern is None and own_noise:
        return text
    strength = DEFAULT_STRENGTH if question.strength is None else question.strength
    text += f"@{strength:g}"
    return text if question.pattern is None else f"{text}~{pattern_text(question.pattern)}"


class LocalBackend:
    """Segment with runs loaded here; one image at a time.

    Args:
        runs: name → run folder, or ``classical:METHOD``.
        limits: the largest image that is read.
        most_samples: how many passes may be asked for.
    """

    def __init__(
        self, runs: Mapping[str, str], *, limits: Limits | None = None, most_samples: int = 64
    ) -> None:
        self._runs = dict(runs)
        self._limits = limits or Limits(max_pixels=40_000_000, max_bytes=2**29)
        self._most_samples = most_samples
        self._loaded: dict[str, ImagePredictor] = {}
        self._one_at_a_time = threading.Lock()

    def models(self) -> list[ModelFacts]:
        """Tell which models there are, loading those that are not loaded yet."""
        return [self._facts(name) for name in self._runs]

    def most_samples(self) -> int:
        """Tell how many passes may be asked for."""
        return self._most_samples

    def folders(self) -> Mapping[str, Path]:
        """Tell where each model's run lies."""
        found = {name: folder_of(run) for name, run in self._runs.items()}
        return {name: folder for name, folder in found.items() if folder is not None}

    def segment(self, upload: bytes, question: Question) -> Outcome:
        """Segment the image in a file's bytes.

        Raises:
            PenumbraError: the image, the question or the run is at fault.
        """
        if question.samples > self._most_samples:
            most = f"at most {self._most_samples}"
            raise SettingsError(expected("`samples`", most, question.samples, "fewer"))
        image = decode(upload, self._limits)
        # Networks hold what a pass leaves behind, so that two threads would mix theirs up.
        with self._one_at_a_time:
            predictor = _asked(self._predictor(question.model), question)
            prediction = predictor([image], seed=question.seed)[0]
        return outcome_of(prediction, to_display(image))

    def _predictor(self, name: str) -> ImagePredictor:
        if name not in self._runs:
            raise SettingsError(
                expected("`model`", f"one of {', '.join(self._runs)}", name, "one of those")
            )
        if name not in self._loaded:
            self._loaded[name] = load_predictor(self._runs[name])
        return self._loaded[name]

    def _facts(self, name: str) -> ModelFacts:
        with self._one_at_a_time:
            predictor = self._predictor(name)
        network = predictor if isinstance(predictor, Predictor) else None
        return ModelFacts(
            name=name,
            classes=predictor.class_names,
            sampler=str(predictor.sampler),
            calibrated=predictor.calibration is not None,
            has_noise=network is not None and network.has_own_noise,
            size=None if network is None else network.preprocess.size,
            noisy=network is not None,
        )


def _asked(predictor: ImagePredictor, question: Question) -> ImagePredictor:
    """Give the predictor that makes the passes of a question."""
    if isinstance(predictor, Predictor):
        return predictor.using(
            sampler=sampler_text(question, own_noise=predictor.has_own_noise),
            threshold=question.threshold,
            mask_from="mean" if question.mode in ("single", "ensemble") else "off",
        )
    if question.mode not in (None, "disabled"):
        raise SettingsError(
            expected("the noise of a classical method", "off", question.mode,
                     "the mode disabled, or a trained run")
        )  # fmt: skip
    return predictor


def outcome_of(prediction: Prediction, picture: NDArray[np.uint8]) -> Outcome:
    """Take from a prediction what the pages show, beside the (H, W, 3) picture of its image."""
    n_classes = prediction.n_classes
    notes: tuple[str, ...] = ()
    if prediction.emptied:
        notes = ("The run's presence rule emptied the mask: nothing seemed to be there.",)
    return Outcome(
        picture=picture,
        mask=prediction.mask,
        foreground=prediction.foreground,
        confidence=np.asarray(prediction.probabilities.max(axis=0), dtype=np.float32),
        doubt={
            name: DoubtMap(values, scale_of(name, values, n_classes), unit_of(name))
            for name, values in prediction.uncertainty.items()
        },
        classes=prediction.class_names,
        sampler=prediction.sampler,
        passes=prediction.passes,
        seed=prediction.seed,
        timings=dict(prediction.timings),
        flagged=prediction.flagged,
        areas=dict(prediction.area_intervals),
        notes=notes,
    )
