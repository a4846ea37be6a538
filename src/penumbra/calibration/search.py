"""Which pattern and which correlation length at which site: a coordinate search, forward only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penumbra.calibration.comparing import margin_of, thinned
from penumbra.calibration.frozen import Frozen, Reached
from penumbra.calibration.noise import NoiseFit
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.scoring import TileScores, noisy_passes, score

PASSES = 4
LENGTHS = (8.0, 64.0)
"""Least and greatest length that a search tries."""

_UNITS = 12.0
_DRAWS = -2

Doubles = NDArray[np.float64]


def search_patterns(
    frozen: Frozen, reached: Reached, fit: NoiseFit, options: CalibrationOptions
) -> NoiseFit:
    """Change length and pattern where that lowers the objective on held-out tiles.

    First half and twice the length at all sites together, then at one site after the other, then
    Perlin and simplex noise at all sites. The gates are those of `fit`; where a length is halved
    they grow by the root of two, since shorter fields average out sooner, and the reverse. All
    candidates meet the same random numbers. A move stays where its mean gain over the groups is
    above its margin (`margin_of`); over the tiles, where there is one group only.
    """
    tiles = sorted(thinned(frozen, _UNITS))

    def judged(candidate: NoiseFit) -> Doubles:
        passes = noisy_passes(frozen, reached, candidate, PASSES, draw=_DRAWS)
        return _objective(score(frozen, tiles, passes, n_eff=options.n_eff), tiles, options)

    best, value = fit, judged(fit)
    for move in _moves(reached.names, options):
        candidate = _moved(best, move)
        if candidate is None:
            continue
        found = judged(candidate)
        gains = _by_group(frozen, tiles, value - found)
        if np.mean(gains) > margin_of(gains):
            best, value = candidate, found
    return best


def _by_group(frozen: Frozen, tiles: list[int], gains: Doubles) -> list[float]:
    groups = np.array([frozen.held_out.tiles[index].group for index in tiles])
    names = np.unique(groups)
    if len(names) < 2:
        return [float(gain) for gain in gains]
    return [float(gains[groups == name].mean()) for name in names]


def _objective(scores: TileScores, tiles: list[int], options: CalibrationOptions) -> Doubles:
    pixels = scores.pixels[tiles].clip(1)
    mixed = (1 - options.marginal) * scores.joint[tiles] + options.marginal * scores.nll[tiles]
    return np.asarray(mixed / pixels)


_Change = tuple[tuple[str, ...], str | float]


def _moves(names: tuple[str, ...], options: CalibrationOptions) -> Iterator[_Change]:
    """Give which sites to change, and to what: a factor on the length, or a pattern."""
    if options.length is None and options.pattern != "gaussian":
        for places in (names, *((name,) for name in names)):
            yield places, 0.5
            yield places, 2.0
    if options.pattern == "auto":
        yield names, "perlin"
        yield names, "simplex"


def _moved(fit: NoiseFit, move: _Change) -> NoiseFit | None:
    """Change a fit; ``None`` where a length would leave its range."""
    places, to = move
    gates = dict(fit.gates)
    for name in places:
        gate = gates[name]
        if isinstance(to, str):
            gates[name] = replace(gate, pattern=gate.pattern.model_copy(update={"name": to}))
            continue
        length = gate.pattern.length * to
        if not LENGTHS[0] <= length <= LENGTHS[1]:
            return None
        pattern = gate.pattern.model_copy(update={"length": length})
        gates[name] = replace(gate.strengthened(to**-0.5), pattern=pattern)
    return replace(fit, gates=gates)
