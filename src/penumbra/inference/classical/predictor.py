"""A method of no training under the contract of a predictor: images in, predictions out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.classical.catalogue import Baseline, Foreground
from penumbra.inference.passes import MaskFrom
from penumbra.inference.prediction import Prediction, entropy
from penumbra.inference.preprocess import (
    Preprocess,
    probabilities_to_original,
    resize_longest,
    to_working,
    with_channels,
)
from penumbra.inference.samplers import Cost, Sampler
from penumbra.inference.scores import image_scores


class ClassicalPredictor:
    """Segment images by a method that nobody trained.

    Class 1 of two is the foreground. Methods see the whole image, never tiles; those that are slow
    work at most at ``longest`` pixels, and their probabilities are scaled back bilinearly. A
    constant image has nothing to tell apart: all of it is background, with p = 0.

    Args:
        baseline: the method and its settings, or their name such as ``"classical:otsu"``.
        class_names: background first.
        threshold: least foreground probability of the mask.

    Raises:
        SettingsError: there are other than two classes, the threshold is outside (0, 1), or
            nobody has said whether the foreground is bright or dark.

    Examples:
        >>> image = np.zeros((8, 8, 1), np.uint8)
        >>> image[2:5, 2:5] = 200
        >>> prediction, = ClassicalPredictor("classical:otsu,foreground=bright")([image])
        >>> int(prediction.mask.sum()), prediction.probabilities.shape
        (9, (2, 8, 8))
    """

    calibration = None
    precision = "fp32"
    passes: tuple[None] = (None,)
    n_samples = 1

    def __init__(
        self,
        baseline: Baseline | str | Path,
        *,
        class_names: Sequence[str] = ("background", "foreground"),
        threshold: float = 0.5,
    ) -> None:
        if not isinstance(baseline, Baseline):
            baseline = Baseline.parse(baseline)
        if baseline.foreground == "train":
            raise SettingsError(
                expected(f"the foreground of {baseline.method.name}",
                         "bright or dark where there is no training split to learn it from",
                         "neither", f"classical:{baseline.method.name},foreground=bright")
            )  # fmt: skip
        if len(class_names) != 2:
            raise SettingsError(
                expected("the classes of a classical method", "two", ", ".join(class_names),
                         "a --target of two classes, or a network")
            )  # fmt: skip
        if not 0 < threshold < 1:
            raise SettingsError(expected("`threshold`", "between 0 and 1", threshold, "0.5"))
        self.baseline = baseline
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.sampler = Sampler()
        self.cost = Cost(0, 0)

    has_own_noise = False

    def using(
        self,
        *,
        sampler: Sampler | str | None = None,
        threshold: float | None = None,
        mask_from: MaskFrom = "off",
    ) -> ClassicalPredictor:
        """Give the same method with another threshold; there is nothing else to set.

        Raises:
            SettingsError: passes are asked for, or the threshold is not between 0 and 1.
        """
        del mask_from
        asked = Sampler.parse(sampler) if isinstance(sampler, str) else sampler or Sampler()
        if asked != Sampler():
            raise SettingsError(
                expected(f"the sampler of {self.baseline.method.name}", "deterministic", asked,
                         "a network, whose features can be disturbed")
            )  # fmt: skip
        chosen = self.threshold if threshold is None else threshold
        return ClassicalPredictor(self.baseline, class_names=self.class_names, threshold=chosen)

    def running(
        self,
        image: NDArray[np.generic],
        *,
        seed: int = 0,
        every: int = 2,
        keep_samples: int = 0,
    ) -> Iterator[Prediction]:
        """Yield the one prediction there is."""
        del every
        yield self([image], seed=seed, keep_samples=keep_samples)[0]

    @property
    def summary(self) -> str:
        """Say in words what predicts, and what its probabilities are."""
        method = self.baseline.method
        return f"{self.baseline}, no training; its probabilities: {method.probabilities}"

    def __call__(
        self, images: Sequence[NDArray[np.generic]], *, seed: int = 0, keep_samples: int = 0
    ) -> list[Prediction]:
        """Segment images.

        Args:
            images: each (H, W, C), uint8, uint16 or float32, C = 1 or 3, of any size.
            seed: noted; nothing is drawn from it.
            keep_samples: without effect, since there is one answer.

        Returns:
            One prediction per image, in order, at the image's own size.

        Raises:
            ImageFileError: an image has another shape or holds NaN.
            MissingExtraError: the method needs scikit-image, which is not installed.
        """
        del keep_samples
        return [self._one(image, seed) for image in images]

    def _one(self, image: NDArray[np.generic], seed: int) -> Prediction:
        started = time.perf_counter()
        foreground = self._foreground(image)
        both = np.stack([1 - foreground, foreground])
        probabilities = probabilities_to_original(both, (image.shape[0], image.shape[1]))
        mask = np.asarray(probabilities[1] >= self.threshold, dtype=np.uint8)
        maps = {"entropy": entropy(probabilities)}
        return Prediction(
            probabilities=probabilities,
            mask=mask,
            uncertainty=maps,
            seed=seed,
            timings={"method": time.perf_counter() - started},
            class_names=self.class_names,
            sampler=str(self.sampler),
            scores=image_scores(probabilities, mask, maps),
            cut_at=self.threshold,
        )

    def _foreground(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        settings = dict(self.baseline.settings)
        longest = int(settings.pop("longest"))
        # Checks shape and values, as for a network.
        pixels = to_working(image, Preprocess()).pixels
        colour = with_channels(image, 3)
        if 0 < longest < max(image.shape[:2]):
            pixels, colour = resize_longest(pixels, longest), resize_longest(colour, longest)
        grey = _unit(pixels[..., 0])
        if self.baseline.foreground == "dark":
            grey = 1 - grey
        if float(grey.max() - grey.min()) < 1e-6:
            return np.zeros_like(grey)
        return self.baseline.method.segment(grey, _bytes(colour), settings)


def _unit(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Scale grey values to [0, 1]; what is constant becomes 0."""
    values = pixels.astype(np.float64)
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(high - low, 1e-300), dtype=np.float32)


def _bytes(colour: NDArray[np.generic]) -> NDArray[np.uint8]:
    if colour.dtype == np.uint8:
        return np.ascontiguousarray(colour, dtype=np.uint8)
    return np.asarray(np.rint(_unit(colour) * 255), dtype=np.uint8)


def choose_foreground(
    baseline: Baseline,
    samples: Iterable[tuple[NDArray[np.generic], NDArray[np.uint8]]],
) -> Baseline:
    """Choose bright or dark by the mean Dice on training samples.

    Args:
        baseline: whose ``foreground`` is ``"train"``; another comes back as it is.
        samples: images (H, W, C) with masks (H, W) of 0, 1 and 255 = ignore; none of the test.

    Raises:
        SettingsError: no sample has both classes in its mask.
    """
    if baseline.foreground != "train":
        return baseline
    names: tuple[Foreground, ...] = ("bright", "dark")
    predictors = [ClassicalPredictor(baseline.with_foreground(name)) for name in names]
    dice: list[list[float]] = []
    for image, mask in samples:
        known, truth = mask != 255, mask == 1
        if not truth.any() or not (known & ~truth).any():
            continue
        dice.append([_dice(one([image])[0].mask == 1, truth, known) for one in predictors])
    if not dice:
        raise SettingsError(
            expected("the training split", "of some samples that show both classes", "none",
                     f"classical:{baseline.method.name},foreground=bright (or dark)")
        )  # fmt: skip
    bright, dark = np.mean(dice, axis=0)
    return baseline.with_foreground("bright" if bright >= dark else "dark")


def _dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    mask = mask & known
    return float(2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum()))
