"""Noise in features and in logit space: fitted, compared on groups left out, kept if it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penumbra.calibration.comparing import (
    Comparison,
    Fold,
    compare,
    out_of_fold,
    paired_gain,
    thinned,
)
from penumbra.calibration.frozen import Frozen, Reached
from penumbra.calibration.logit_noise import LogitNoiseOptions, fit_logit_noise
from penumbra.calibration.noise import FitSettings, NoiseFit, fit_noise
from penumbra.calibration.options import START_LENGTH, CalibrationOptions, TemperatureChoice
from penumbra.calibration.scoring import Passes, TileScores, head_samples, noisy_passes, one_pass
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
        control: of the one pass that feature noise had to beat.
        comparisons: what was tried against what.
    """

    feature: NoiseFit | None = None
    logit: LogitNoise | None = None
    feature_scores: TileScores | None = None
    logit_scores: TileScores | None = None
    tried: TileScores | None = None
    control: TileScores | None = None
    comparisons: list[Comparison] = field(default_factory=list)


class _Fitting:
    """The fits of one calibration, each fold's temperature found once."""

    def __init__(
        self, frozen: Frozen, options: CalibrationOptions, kind: TemperatureChoice
    ) -> None:
        self.frozen, self.options, self.kind = frozen, options, kind
        self.every = tuple(range(len(frozen.held_out.tiles)))
        self._temperatures: dict[tuple[int, ...], Temperature] = {}
        self._scalar: dict[tuple[tuple[int, ...], tuple[tuple[str, Pattern], ...]], NoiseFit] = {}

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
        place = (tiles, tuple(patterns.items()))
        if place not in self._scalar:
            self._scalar[place] = fit_noise(
                self.frozen, reached, tiles, patterns=patterns,
                temperature=self.temperature(tiles),
                settings=self.settings(self.options.steps // 2),
            )  # fmt: skip
        return self._scalar[place]

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

    Feature noise is first judged on groups left out with the length and the pattern that it
    starts with. What stays is searched for better ones on all held-out tiles; what the search
    chose has to beat the start on groups that its gates were not fitted on.

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
    frozen, options, every = fitting.frozen, fitting.options, fitting.every
    reached = frozen.at(frozen.site_names(options.sites))
    trial = _Trial(fitting, reached, folds)
    patterns = fitting.patterns(reached)
    by_input = options.gates == "input"
    if folds and not trial.begin(patterns, plain, found, by_input=by_input):
        return
    fit = search_patterns(frozen, reached, fitting.in_fold(reached, patterns, every), options)
    moved = {name: gate.pattern for name, gate in fit.gates.items()}
    searched = ("lengths and patterns by search", "the same at every site")
    if (
        folds
        and moved != patterns
        and not trial.beats(moved, found, by_input=by_input, words=searched)
    ):
        moved = patterns
    richer = ("noise that depends on the input", "noise of one strength per site")
    if folds and options.gates == "auto":
        by_input = trial.beats(moved, found, by_input=True, words=richer)
    found.feature_scores = trial.best
    start = fit if moved != patterns else fitting.in_fold(reached, patterns, every)
    found.feature = fitting.further(reached, start, every, by_input=by_input)


class _Trial:
    """Feature noise on groups left out: the best scores so far, and what is tried against them."""

    def __init__(self, fitting: _Fitting, reached: Reached, folds: Sequence[Fold]) -> None:
        self.fitting, self.reached, self.folds = fitting, reached, folds
        self.judged = thinned(fitting.frozen, JUDGED, fewest=12)
        self.best: TileScores | None = None

    def begin(
        self, patterns: dict[str, Pattern], plain: TileScores, found: Noises, *, by_input: bool
    ) -> bool:
        """Compare noise with one pass; say whether it stays."""
        options = self.fitting.options
        scores = self._scores(patterns, by_input=by_input)
        found.control = self._control(patterns, plain)
        first = compare(
            self.fitting.frozen.held_out, scores, found.control,
            what=f"feature noise, {options.passes} passes", against="one pass", metric="joint",
            forced=options.noise == "on",
        )  # fmt: skip
        found.comparisons.append(first)
        if first.kept:
            self.best = scores
        else:
            found.tried = scores
        return first.kept

    def beats(
        self,
        patterns: dict[str, Pattern],
        found: Noises,
        *,
        by_input: bool,
        words: tuple[str, str],
    ) -> bool:
        """Compare something richer with the best so far; say whether it takes its place."""
        if self.best is None:
            return False
        scores = self._scores(patterns, by_input=by_input)
        what, against = words
        found.comparisons.append(
            compare(
                self.fitting.frozen.held_out, scores, self.best, what=what, against=against,
                metric="joint",
            )
        )  # fmt: skip
        kept = found.comparisons[-1].kept
        if kept:
            self.best = scores
        return kept

    def _control(self, patterns: dict[str, Pattern], plain: TileScores) -> TileScores:
        """Give one pass under the temperature that was fitted along with the noise, if better.

        What a second fit of the temperature gains is not the noise's merit.
        """

        def fitted(tiles: tuple[int, ...]) -> Passes:
            own = self.fitting.in_fold(self.reached, patterns, tiles)
            return one_pass(self.fitting.frozen, own.temperature)

        again = self._judge(fitted)
        gain, _ = paired_gain(self.fitting.frozen.held_out, again, plain, "joint")
        return again if gain > 0 else plain

    def _scores(self, patterns: dict[str, Pattern], *, by_input: bool) -> TileScores:
        def fitted(tiles: tuple[int, ...]) -> Passes:
            own = self.fitting.in_fold(self.reached, patterns, tiles)
            if by_input:
                own = self.fitting.further(self.reached, own, tiles, by_input=True)
            passes = self.fitting.options.passes
            return noisy_passes(self.fitting.frozen, self.reached, own, passes)

        return self._judge(fitted)

    def _judge(self, fitted: Callable[[tuple[int, ...]], Passes]) -> TileScores:
        frozen, n_eff = self.fitting.frozen, self.fitting.options.n_eff
        return out_of_fold(frozen, self.folds, fitted, judged=self.judged, n_eff=n_eff)


def _logit_noise(
    fitting: _Fitting, folds: Sequence[Fold], plain: TileScores, found: Noises
) -> None:
    frozen, options = fitting.frozen, fitting.options
    how = LogitNoiseOptions(n_eff=options.n_eff, seed=options.seed)

    def fitted(tiles: tuple[int, ...]) -> LogitNoise:
        return fit_logit_noise(
            observed(frozen, tiles), frozen.taps, options=how, progress=frozen.progress
        )

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
