"""What the pages ask for, what they get, and who computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.noise.patterns import Pattern
from penumbra.serving import encode

NoiseMode = Literal["disabled", "single", "ensemble", "monte_carlo"]
"""Which passes: none disturbed, one, the mean of several, or several beside an undisturbed one."""

MODES: tuple[NoiseMode, ...] = get_args(NoiseMode)
SEVERAL: tuple[NoiseMode, ...] = ("ensemble", "monte_carlo")
"""Those whose number of passes is chosen."""
_MOST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known about a model before it is asked.

    Attributes:
        name: what it is called here.
        classes: names of its classes, background first.
        sampler: the passes it makes by itself, as text.
        calibrated: whether `penumbra calibrate` was run on it.
        has_noise: whether it has a noise of its own.
        size: pixels per side that the network sees; ``None`` where that is not known.
        noisy: whether it can be disturbed; a classical method cannot.
    """

    name: str
    classes: tuple[str, ...]
    sampler: str
    calibrated: bool
    has_noise: bool
    size: int | None = None
    noisy: bool = True


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to compute for an image.

    Attributes:
        model: name of the model.
        mode: which passes; ``None`` for the model's own.
        strength: standard deviation of the noise in units of each channel's own, 0–2; ``None`` for
            the model's own.
        pattern: of the noise; ``None`` for the model's own.
        samples: passes where there are several.
        seed: every draw is made from it and from the image.
        threshold: least foreground probability of the mask.

    Raises:
        SettingsError: a value is outside its range.

    Examples:
        >>> Question(model="nerve", mode="single").samples
        8
    """

    model: str
    mode: NoiseMode | None = None
    strength: float | None = None
    pattern: Pattern | None = None
    samples: int = 8
    seed: int = 0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            raise SettingsError(expected("`mode`", f"one of {', '.join(MODES)}", self.mode, "one"))
        if self.strength is not None and not 0 <= self.strength <= 2:
            raise SettingsError(expected("`strength`", "between 0 and 2", self.strength, "0.3"))
        if self.samples < 1:
            raise SettingsError(expected("`samples`", "at least 1", self.samples, "8"))
        if not 0 <= self.seed <= _MOST_SEED:
            raise SettingsError(expected("`seed`", f"0 to {_MOST_SEED}", self.seed, "0"))
        if not 0 < self.threshold < 1:
            raise SettingsError(expected("`threshold`", "between 0 and 1", self.threshold, "0.5"))


@dataclass(frozen=True)
class DoubtMap:
    """A map of doubt with what its numbers mean.

    Attributes:
        values: (H, W) float32.
        scale: the values that are drawn as nothing and as white-hot.
        unit: of the values; empty for none.
    """

    values: NDArray[np.float32]
    scale: tuple[float, float]
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a model said about one image.

    Attributes:
        picture: (H, W, 3) uint8, the image as a screen can show it.
        mask: (H, W) uint8 class indices.
        foreground: (H, W) float32, the probability of anything but background.
        confidence: (H, W) float32, the probability of the likeliest class.
        doubt: maps by name.
        classes: names of the classes, background first.
        sampler: which passes it was made of, as text.
        passes: how many.
        seed: what every draw was made from.
        timings: seconds by stage.
        flagged: whether somebody should look at it; ``None`` where nothing was calibrated.
        areas: class name → lowest, estimated and highest area in pixels, where calibrated.
        notes: sentences a reader should see.
        cut: (H, W) float32; the mask is where it is at least the threshold. It may be of other
            passes than `foreground`. ``None`` where no map alone gives the mask.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    foreground: NDArray[np.float32]
    confidence: NDArray[np.float32]
    doubt: Mapping[str, DoubtMap]
    classes: tuple[str, ...]
    sampler: str
    passes: int
    seed: int
    timings: Mapping[str, float] = field(default_factory=dict)
    flagged: bool | None = None
    areas: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cut: NDArray[np.float32] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes that its arrays take."""
        maps = [self.foreground, self.confidence, *(one.values for one in self.doubt.values())]
        if self.has_own_cut and self.cut is not None:
            maps.append(self.cut)
        return self.picture.nbytes + self.mask.nbytes + sum(one.nbytes for one in maps)

    @property
    def has_own_cut(self) -> bool:
        """Whether the mask is cut from another map than `foreground`."""
        return self.cut is not None and self.cut is not self.foreground

    def area_of(self, index: int) -> int:
        """Count the pixels of a class in the mask."""
        return int(np.count_nonzero(self.mask == index))


class Backend(Protocol):
    """Who computes for the pages."""

    def models(self) -> list[ModelFacts]:
        """Tell which models there are; the first is the default."""

    def most_samples(self) -> int:
        """Tell how many passes may be asked for."""

    def revision(self) -> str:
        """Name the models as they are loaded now; once they are read anew, it is another name."""

    def segment(self, upload: bytes, question: Question) -> Outcome:
        """Segment the image in a file's bytes.

        Raises:
            PenumbraError: the image, the question or the model is at fault; the text says how.
        """

    def folders(self) -> Mapping[str, Path]:
        """Tell where each model's run lies, for its report."""


def foreground_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the probability of anything but background, (H, W), as an array of its own.

    Args:
        probabilities: (C, H, W). Of two classes it is the very number that is thresholded.

    Examples:
        >>> foreground_of(np.array([[[0.75]], [[0.25]]], np.float32)).tolist()
        [[0.25]]
    """
    if len(probabilities) == 2:
        return np.array(probabilities[1], dtype=np.float32)
    return np.asarray(1.0 - probabilities[0], dtype=np.float32)


def notes_of(*, emptied: bool, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the sentences that a reader should see.

    Args:
        emptied: whether a presence rule emptied the mask.
        others: what else there is to say.

    Examples:
        >>> notes_of(emptied=False), len(notes_of(emptied=True))
        ((), 1)
    """
    said = "The run's presence rule emptied the mask: nothing seemed to be there."
    return (*((said,) if emptied else ()), *others)


def scale_of(name: str, values: NDArray[np.float32], n_classes: int) -> tuple[float, float]:
    """Give the scale that a map is drawn and stored on, the same as of the REST interface.

    Examples:
        >>> scale_of("variance", np.array([[0.0, 0.02]]), 2)
        (0.0, 0.02)
    """
    return encode.scale_of(name, values, n_classes)


def unit_of(name: str) -> str:
    """Give the unit of a map of doubt.

    Examples:
        >>> unit_of("mutual_information"), unit_of("variance")
        ('nat', '')
    """
    return encode.unit_of(name) or ""


_SERVING: dict[str, Backend] = {}


def register(backend: Backend | None) -> None:
    """Say who computes in this process; ``None`` takes it back."""
    _SERVING.clear()
    if backend is not None:
        _SERVING["backend"] = backend


def registered() -> Backend | None:
    """Give who computes in this process, where somebody said so."""
    return _SERVING.get("backend")


def mode_named(text: str | None) -> NoiseMode | None:
    """Read the name of a mode; ``None`` or anything else is the model's own."""
    return next((mode for mode in MODES if mode == text), None)
