"""Noise in features and in logit space: fitted, compared on groups left out, kept if it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from penumbra.calibration.comparing import (
    Comparison,
    Fold,
    compare,
    out_of_fold,
    thinned,
)
from penumbra.calibration.frozen import Frozen, Reached
from penumbra.calibration.logit_noise import LogitNoiseOptions, fit_logit_noise
from penumbra.calibration.noise import FitSettings, NoiseFit, fit_noise
from penumbra.calibration.options import START_LENGTH, CalibrationOptions, TemperatureChoice
from penumbra.calibration.scoring import Passes, TileScores, head_samples, noisy_passes
from penumbra.calibration.search import search_patterns
from penumbra.calibration.temperatures import fit_temperature, observed
from penumbra.inference.calibration import Calibration, LogitNoise, Temperature
from penumbra.noise.patterns import Pattern

JUDGED = 32.0
"""Pixels that passes are judged on, in those of 128 × 128; passes are dear."""

SAMPLES = 64
"""Samples of noise in logit space that are judged and recommended."""

FOLDS = 2
"""Fits on parts of the groups, to be judged on the others; every one costs passes."""


@dataclass
class Noises:
    """What was kept.

    Attributes:
        feature: noise in features.
        logit: noise in logit space.
        feature_scores: of feature noise on groups left out.
        logit_scores: the same in logit space.
        tried: of feature noise that was not kept, on groups left out.
        comparisons: what was tried against what.
    """

    feature: NoiseFit | None = None
    logit: LogitNoise | None = None
    feature_scores: TileScores | None = None
    logit_scores: TileScores | None = None
    tried: TileScores | None = None
    comparisons: list[Comparison] = field(default_factory=list)


class _Fitting:
    """The fits of one calibration, each fold's temperature found once."""

    def __init__(
        self, frozen: Frozen, options: CalibrationOptions, kind: TemperatureChoice
    ) -> None:
        self.frozen, self.options, self.kind = frozen, options, kind
        self.every = tuple(range(len(frozen.held_out.tiles)))
        self._temperatures: dict[tuple[int, ...], Temperature] = {}
        self._scalar: dict[tuple[int, ...], NoiseFit] = {}

    def temperature(self, tiles: tuple[int, ...]) -> Temperature:
        if tiles not in self._temperatures:
            self._temperatures[tiles] = fit_temperature(
                self.frozen, tiles, self.kind, seed=self.options.seed
            )
        return self._temperatures[tiles]

    def settings(self, steps: int, *, by_input: bool = False) -> FitSettings:
        return FitSettings(
            n_eff=self.options.n_eff, marginal=self.options.marginal, by_input=by_input,
            steps=max(1, steps), seed=self.options.seed,
        )  # fmt: skip

    def patterns(self, reached: Reached) -> dict[str, Pattern]:
        """Give the pattern that every site starts with."""
        options = self.options
        pattern = Pattern(name=options.start_pattern, length=options.length or START_LENGTH)
        return dict.fromkeys(reached.names, pattern)

    def in_fold(
        self, reached: Reached, patterns: dict[str, Pattern], tiles: tuple[int, ...]
    ) -> NoiseFit:
        if tiles not in self._scalar:
            self._scalar[tiles] = fit_noise(
                self.frozen, reached, tiles, patterns=patterns,
                temperature=self.temperature(tiles),
                settings=self.settings(self.options.steps // 2),
            )  # fmt: skip
        return self._scalar[tiles]

    def further(
        self, reached: Reached, fit: NoiseFit, tiles: tuple[int, ...], *, by_input: bool
    ) -> NoiseFit:
        """Go on from a fit, with gates that depend on the input if so wished."""
        return fit_noise(
            self.frozen, reached, tiles,
            patterns={name: gate.pattern for name, gate in fit.gates.items()},
            temperature=fit.temperature, start=fit,
            settings=self.settings(self.options.steps // 2, by_input=by_input),
        )  # fmt: skip


def fit_noises(
    frozen: Frozen,
    options: CalibrationOptions,
    kind: TemperatureChoice,
    plain: TileScores,
    folds: Sequence[Fold],
) -> Noises:
    """Fit and compare noise in features and in logit space.

    Feature noise is judged on groups left out with the length and the pattern that it starts
    with, so that no search has seen them; only noise that stays is searched for better ones.

    Args:
        frozen: the network.
        options: what is wanted.
        kind: of the temperature.
        plain: scores of the undisturbed pass on groups left out.
        folds: of the groups; none where there is only one.
    """
    fitting, found = _Fitting(frozen, options, kind), Noises()
    if options.noise != "off":
        _feature_noise(fitting, folds, plain, found)
    if options.logit_noise != "off":
        _logit_noise(fitting, folds, plain, found)
    return found


def _feature_noise(
    fitting: _Fitting, folds: Sequence[Fold], plain: TileScores, found: Noises
) -> None:
    frozen, options = fitting.frozen, fitting.options
    reached = frozen.at(frozen.site_names(options.sites))
    patterns = fitting.patterns(reached)
    by_input = options.gates == "input"
    judged = thinned(frozen, JUDGED, fewest=12)

    def scores_of(*, by_input: bool) -> TileScores:
        def fitted(tiles: tuple[int, ...]) -> Passes:
            own = fitting.in_fold(reached, patterns, tiles)
            if by_input:
                own = fitting.further(reached, own, tiles, by_input=True)
            return noisy_passes(frozen, reached, own, options.passes)

        return out_of_fold(frozen, folds, fitted, judged=judged, n_eff=options.n_eff)

    if folds:
        scores = scores_of(by_input=by_input)
        first = compare(
            frozen.held_out, scores, plain, what=f"feature noise, {options.passes} passes",
            against="one pass", metric="joint", forced=options.noise == "on",
        )  # fmt: skip
        found.comparisons.append(first)
        if not first.kept:
            found.tried = scores
            return
        if options.gates == "auto":
            richer = scores_of(by_input=True)
            second = compare(
                frozen.held_out, richer, scores, what="noise that depends on the input",
                against="noise of one strength per site", metric="joint",
            )  # fmt: skip
            found.comparisons.append(second)
            by_input = second.kept
            scores = richer if second.kept else scores
        found.feature_scores = scores
    fit = search_patterns(
        frozen, reached, fitting.in_fold(reached, patterns, fitting.every), options
    )
    found.feature = fitting.further(reached, fit, fitting.every, by_input=by_input)


def _logit_noise(
    fitting: _Fitting, folds: Sequence[Fold], plain: TileScores, found: Noises
) -> None:
    frozen, options = fitting.frozen, fitting.options
    how = LogitNoiseOptions(n_eff=options.n_eff, seed=options.seed)

    def fitted(tiles: tuple[int, ...]) -> LogitNoise:
        return fit_logit_noise(observed(frozen, tiles), frozen.taps, options=how)

    if folds:
        judged = thinned(frozen, JUDGED, fewest=12)
        scores = out_of_fold(
            frozen, folds,
            lambda tiles: head_samples(frozen, Calibration(logit_noise=fitted(tiles)), SAMPLES),
            judged=judged, n_eff=options.n_eff,
        )  # fmt: skip
        only = compare(
            frozen.held_out, scores, plain, what=f"noise in logit space, {SAMPLES} samples",
            against="one pass", metric="joint", forced=options.logit_noise == "on",
        )  # fmt: skip
        found.comparisons.append(only)
        if not only.kept:
            return
        found.logit_scores = scores
    elif options.logit_noise != "on":
        return
    found.logit = fitted(fitting.every)
