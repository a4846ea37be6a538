"""What a calibration may fit, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from penumbra.errors import SettingsError, expected
from penumbra.noise.patterns import PatternName

PatternChoice = Literal["auto", "gaussian", "lattice", "perlin", "simplex"]
TemperatureChoice = Literal["auto", "none", "global", "class", "local"]
GateChoice = Literal["auto", "scalar", "input"]
NoiseChoice = Literal["auto", "on", "off"]

START_LENGTH = 32.0
"""Correlation length in image pixels that a search starts from."""


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """What is fitted, and what is left to the held-out data to decide.

    ``auto`` means: keep the richer variant only where it beats the simpler one on groups that it
    was not fitted on. Anything else is fitted as asked for, without comparison.

    Attributes:
        sites: ``"skips"``, ``"encoder"``, or names joined by commas.
        pattern: of the feature noise; ``"auto"`` searches from the lattice.
        length: correlation length in image pixels; ``None`` searches from 32.
        n_eff: how many independent pixels a tile counts for: the dial of dispersion.
        passes: of the noise sampler that is judged and recommended.
        temperature: of the deterministic pass.
        marginal: weight of the pixel NLL beside the tile likelihood in the fit of the noise.
        noise: ``"on"`` keeps feature noise whatever comes out, ``"off"`` fits none.
        gates: one number per site, or a function of the features there.
        logit_noise: the same for noise in logit space.
        most_tiles: how many held-out tiles are used at most.
        steps: of the optimiser for a fit of gates from the start; folds make do with half.
        seed: of every draw.

    Raises:
        SettingsError: a value is out of its range.
    """

    sites: str = "skips"
    pattern: PatternChoice = "auto"
    length: float | None = None
    n_eff: float = 16.0
    marginal: float = 0.5
    passes: int = 8
    temperature: TemperatureChoice = "auto"
    noise: NoiseChoice = "auto"
    gates: GateChoice = "auto"
    logit_noise: NoiseChoice = "auto"
    most_tiles: int = 64
    steps: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("pattern", self.pattern, get_args(PatternChoice))
        _one_of("temperature", self.temperature, get_args(TemperatureChoice))
        _one_of("gates", self.gates, get_args(GateChoice))
        _one_of("noise", self.noise, get_args(NoiseChoice))
        _one_of("logit_noise", self.logit_noise, get_args(NoiseChoice))
        _above("length", START_LENGTH if self.length is None else self.length, 0)
        _above("n_eff", self.n_eff, 0)
        _above("passes", self.passes, 1)
        if not 0 <= self.marginal <= 1:
            raise SettingsError(expected("`marginal`", "in [0, 1]", self.marginal, "0.5"))
        _above("most_tiles", self.most_tiles, 0)
        _above("steps", self.steps, 0)

    @property
    def start_pattern(self) -> PatternName:
        """The pattern that a fit begins with."""
        return "lattice" if self.pattern == "auto" else self.pattern


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(
            expected(f"`{name}`", f"one of {', '.join(known)}", repr(value), f"{known[0]!r}")
        )


def _above(name: str, value: float, limit: int) -> None:
    if not limit < value < 1e6:
        raise SettingsError(
            expected(f"`{name}`", f"above {limit} and below a million", value, "the default")
        )
