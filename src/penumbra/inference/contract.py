"""What everything that predicts has in common, and how one is loaded by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.calibration import Calibration
from penumbra.inference.classical.catalogue import is_classical
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.passes import MaskFrom
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.inference.samplers import Cost, Sampler


class ImagePredictor(Protocol):
    """Images in, predictions out: a network with its preprocessing, or a classical method."""

    sampler: Sampler
    class_names: tuple[str, ...]
    threshold: float

    @property
    def has_own_noise(self) -> bool:
        """Whether ``noise:K`` needs no strength."""

    @property
    def calibration(self) -> Calibration | None:
        """What calibration learned of it, if anything."""

    @property
    def precision(self) -> str:
        """What it computes in: fp32, bf16 or fp16."""

    @property
    def passes(self) -> Sequence[Any]:
        """The passes a prediction is made of."""

    @property
    def n_samples(self) -> int:
        """How many passes, or samples behind them, a prediction is made of."""

    @property
    def cost(self) -> Cost:
        """What a tile costs."""

    def __call__(
        self, images: Sequence[NDArray[np.generic]], *, seed: int = 0, keep_samples: int = 0
    ) -> list[Prediction]:
        """Segment images (H, W, C), one prediction each at the image's own size."""

    def using(
        self,
        *,
        sampler: Sampler | str | None = None,
        threshold: float | None = None,
        mask_from: MaskFrom = "off",
    ) -> ImagePredictor:
        """Give the same with other settings, sharing what is heavy."""

    def running(
        self,
        image: NDArray[np.generic],
        *,
        seed: int = 0,
        every: int = 2,
        keep_samples: int = 0,
    ) -> Iterator[Prediction]:
        """Segment one image, and say in between what the passes so far make of it."""


def load_predictor(run: Path | str, **options: Any) -> ImagePredictor:
    """Load what predicts: a run folder, or ``classical:NAME,foreground=bright``.

    Args:
        run: what stands for it.
        options: those of `Predictor.load`; of them a classical method takes the threshold alone.

    Raises:
        RunError: the folder is missing, incomplete, damaged, or from a newer version.
        SettingsError: an option is not possible, or no such method.

    Examples:
        >>> load_predictor("classical:otsu,foreground=dark").n_samples
        1
    """
    if is_classical(run):
        without_effect = [name for name in ("sampler", "members", "symmetry") if options.get(name)]
        if without_effect:
            raise SettingsError(
                expected("the options of a classical method", "without sampler, members and "
                         "symmetry", ", ".join(without_effect), "leaving them out")
            )  # fmt: skip
        return ClassicalPredictor(run, threshold=options.get("threshold", 0.5))
    return Predictor.load(run, **options)
