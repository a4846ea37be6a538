"""What a job of segmentation asks for, read from its options and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from penumbra.errors import SettingsError, expected

NoiseMode = Literal["disabled", "single", "ensemble", "monte_carlo"]
Output = Literal[
    "mask", "probability", "mask_probability", "confidence", "entropy", "expected_entropy",
    "mutual_information", "variance", "standard_error", "overlay", "image",
]  # fmt: skip

NOISE_MODES: tuple[str, ...] = get_args(NoiseMode)
OUTPUTS: tuple[str, ...] = get_args(Output)
MAPS: tuple[str, ...] = OUTPUTS[1:9]
"""Outputs that are numbers per pixel, with a scale."""

DEFAULT_SAMPLES = 8
DEFAULT_EVERY = 2
_OF_PASSES = ("noise_mode", "noise_strength", "pattern", "samples")


@dataclass(frozen=True, kw_only=True)
class SegmentRequest:
    """What is asked for.

    Attributes:
        noise_mode: which noisy passes; ``None`` for the run's own sampler, or for `sampler`.
        noise_strength: amplitude in standard deviations of each channel; ``None`` for the run's
            own noise, where it has some, else 0.3.
        pattern: of the noise, such as ``perlin16``; ``None`` for the default.
        samples: noisy passes of ``ensemble`` and ``monte_carlo``, and where strength, pattern or
            samples are given without a mode; ``None`` for 8, or fewer where the server makes fewer.
        sampler: as ``penumbra predict --sampler`` takes it, instead of a noise mode.
        threshold: of the mask; ``None`` for the model's own.
        seed: every draw is made from it and from the image.
        outputs: what is encoded.
        masks_as: run lengths in the document, or links to pictures.
        bits: of maps.
        accept: the form of the answer.
        tolerance: standard error at which a stream has converged.
        stream: whether estimates are given as they come.
        every: passes from one estimate to the next.
    """

    noise_mode: NoiseMode | None = None
    noise_strength: float | None = None
    pattern: str | None = None
    samples: int | None = None
    sampler: str | None = None
    threshold: float | None = None
    seed: int = 0
    outputs: tuple[str, ...] = ("mask",)
    masks_as: Literal["rle", "links"] = "rle"
    bits: Literal[8, 16] = 8
    accept: Literal["json", "png", "npz"] = "json"
    tolerance: float = 0.005
    stream: bool = False
    every: int = DEFAULT_EVERY

    @classmethod
    def of(cls, options: Mapping[str, Any], *, max_samples: int) -> SegmentRequest:
        """Read the options of a job.

        Args:
            options: by name; those that are ``None`` or unknown here are left out.
            max_samples: most passes that may be asked for.

        Raises:
            SettingsError: a value is not possible, or two do not go together.

        Examples:
            >>> SegmentRequest.of({"noise_mode": "single", "seed": 3}, max_samples=64).seed
            3
        """
        names = cls.__dataclass_fields__
        given = {k: v for k, v in options.items() if k in names and v is not None}
        if isinstance(outputs := given.get("outputs"), (list, tuple)):
            given["outputs"] = tuple(dict.fromkeys(outputs)) or ("mask",)
        request = cls(**given)
        request._check(max_samples)
        request._check_together(given)
        return request

    def _check(self, max_samples: int) -> None:
        _one_of("noise_mode", self.noise_mode, (None, *NOISE_MODES))
        _one_of("masks_as", self.masks_as, ("rle", "links"))
        _one_of("bits", self.bits, (8, 16))
        _one_of("accept", self.accept, ("json", "png", "npz"))
        for name in self.outputs:
            _one_of("outputs", name, OUTPUTS)
        _within("noise_strength", self.noise_strength, 0, 2)
        _within("samples", self.samples, 1, max_samples)
        _within("seed", self.seed, 0, 2**63 - 1)
        # Its default must be possible where a single pass may be asked for.
        _within("every", self.every, 1, max(DEFAULT_EVERY, max_samples))
        _within("tolerance", self.tolerance, 0, 1)
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise SettingsError(expected("`threshold`", "between 0 and 1", self.threshold, "0.5"))
        if self.accept == "png" and len(self.outputs) != 1:
            raise SettingsError(
                expected("`outputs`", "one for an answer that is a PNG", ", ".join(self.outputs),
                         "outputs=mask, or another form of the answer")
            )  # fmt: skip

    def _check_together(self, given: Mapping[str, Any]) -> None:
        both = sorted(given.keys() & set(_OF_PASSES))
        if self.sampler is not None and both:
            raise SettingsError(
                expected("`sampler`", f"given without {both[0]}", "both", "one of the two")
            )


def _one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        shown = ", ".join(str(one) for one in known if one is not None)
        first = next(str(one) for one in known if one is not None)
        raise SettingsError(expected(f"`{name}`", f"one of {shown}", repr(value)[:60], first))


def _within(name: str, value: float | None, least: float, most: float) -> None:
    # Written so that NaN is outside.
    if value is not None and not least <= value <= most:
        raise SettingsError(expected(f"`{name}`", f"from {least} to {most}", value, str(least)))
