"""Is the richer variant better on groups that it was not fitted on?

Tiles of one group are no independent evidence, so gains are averaged within groups first and
their spread is that between groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from penumbra.calibration.frozen import Frozen
from penumbra.calibration.held_out import HeldOut
from penumbra.calibration.scoring import Passes, TileScores, score

Metric = Literal["nll", "joint"]
Fold = tuple[tuple[int, ...], tuple[int, ...]]
FitPasses = Callable[[tuple[int, ...]], Passes]

SURE = 0.9
"""How sure a gain has to be, one-sided, before something richer is kept for it."""

NAMES = {"nll": "pixel NLL", "joint": "joint tile NLL"}


@dataclass(frozen=True)
class Comparison:
    """A richer variant against a simpler one, on groups that neither was fitted on.

    Attributes:
        what: the richer one.
        against: the simpler one.
        metric: lower is better.
        gain: mean over groups of how much lower the richer one's is, in nats per pixel.
        margin: what chance alone reaches in one case of ten: the standard error of the gain, from
            the spread between groups, times the 90 % quantile of Student's t for so few of them.
        kept: whether the richer one stays.
        rule: whether it has to be better, or only not worse beyond the margin.
    """

    what: str
    against: str
    metric: Metric
    gain: float
    margin: float
    kept: bool
    rule: Literal["better", "not worse"] = "better"

    def to_json(self) -> dict[str, Any]:
        """Give plain values; ``low`` and ``high`` are the margin away from the gain."""
        return {
            "what": self.what,
            "against": self.against,
            "metric": NAMES[self.metric],
            "gain": self.gain,
            "low": self.gain - self.margin,
            "high": self.gain + self.margin,
            "margin": self.margin,
            "kept": self.kept,
            "rule": self.rule,
            "unit": "nats",
        }


def group_folds(held_out: HeldOut, *, count: int, seed: int) -> tuple[Fold, ...]:
    """Part the tiles into those to fit on and those to judge on, groups whole.

    Returns:
        At most `count` folds, at most one per group; nothing where there is only one group.
    """
    groups = np.array(held_out.groups)
    count = min(count, len(groups))
    if count < 2:
        return ()
    order = np.random.default_rng([seed, 5]).permutation(len(groups))
    found = []
    for fold in range(count):
        outside = {str(g) for g in groups[order[fold::count]]}
        inside = [group for group in held_out.groups if group not in outside]
        found.append((held_out.of_groups(inside), held_out.of_groups(sorted(outside))))
    return tuple(found)


def thinned(frozen: Frozen, units: float, *, fewest: int = 4) -> frozenset[int]:
    """Choose tiles that dear passes are judged on; groups take turns.

    Args:
        frozen: has the tiles.
        units: how many pixels they may have in all, in those of 128 × 128.
        fewest: so many tiles are chosen however large they are.
    """
    held_out = frozen.held_out
    own = [held_out.of_groups([group]) for group in held_out.groups]
    turns = max(len(tiles) for tiles in own)
    order = [tiles[turn] for turn in range(turns) for tiles in own if turn < len(tiles)]
    most = max(fewest, int(units / frozen.units(0)))
    return frozenset(order[:most])


def out_of_fold(
    frozen: Frozen,
    folds: Sequence[Fold],
    fit: FitPasses,
    *,
    judged: frozenset[int] | None = None,
    n_eff: float,
) -> TileScores:
    """Score a variant on each fold's groups after fitting it on the others."""
    total = TileScores.nothing(len(frozen.held_out.tiles))
    for inside, outside in folds:
        tiles = [index for index in outside if judged is None or index in judged]
        total = total + score(frozen, tiles, fit(inside), n_eff=n_eff)
    return total


def paired_gain(
    held_out: HeldOut, richer: TileScores, simpler: TileScores, metric: Metric
) -> tuple[float, float]:
    """Compute the mean gain over groups and its margin, in nats per pixel; see `Comparison`.

    Only tiles that were scored for both count. With fewer than two groups the margin is infinite.
    """
    both = (richer.pixels > 0) & (simpler.pixels > 0)
    gains = []
    for group in held_out.groups:
        own = np.array([i for i in held_out.of_groups([group]) if both[i]], dtype=int)
        pixels = richer.pixels[own].sum()
        if pixels > 0:
            away = getattr(simpler, metric)[own].sum() - getattr(richer, metric)[own].sum()
            gains.append(float(away / pixels))
    if len(gains) < 2:
        return (gains[0] if gains else 0.0), float("inf")
    return float(np.mean(gains)), margin_of(gains)


def mean_of_groups(held_out: HeldOut, scores: TileScores, metric: Metric) -> float:
    """Compute the mean over groups of nats per pixel, of the groups that were scored."""
    found = []
    for group in held_out.groups:
        own = list(held_out.of_groups([group]))
        pixels = scores.pixels[own].sum()
        if pixels > 0:
            found.append(float(getattr(scores, metric)[own].sum() / pixels))
    return float(np.mean(found)) if found else float("nan")


def margin_of(gains: Sequence[float]) -> float:
    """Compute t₀.₉ · s / √G over the gains of G groups; infinite for fewer than two.

    Examples:
        >>> round(margin_of([0.0, 2.0]), 3), round(margin_of([0.0, 2.0] * 10), 3)
        (3.078, 0.305)
    """
    if len(gains) < 2:
        return float("inf")
    error = np.std(gains, ddof=1) / len(gains) ** 0.5
    return float(stats.t.ppf(SURE, len(gains) - 1) * error)


def compare(
    held_out: HeldOut,
    richer: TileScores,
    simpler: TileScores,
    *,
    what: str,
    against: str,
    metric: Metric,
    forced: bool = False,
) -> Comparison:
    """Compare two variants: the richer one is kept where its gain exceeds the margin.

    Args:
        held_out: the tiles, for their groups.
        richer: scores of tiles that it was not fitted on.
        simpler: the same of the simpler one.
        what: name of the richer one.
        against: name of the simpler one.
        metric: that decides.
        forced: keep it whatever comes out, since it was asked for.
    """
    gain, margin = paired_gain(held_out, richer, simpler, metric)
    return Comparison(what, against, metric, gain, margin, forced or gain > margin)
