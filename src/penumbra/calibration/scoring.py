"""Scores of passes on held-out tiles, kept per tile so that groups can be compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.calibration.frozen import Frozen, Reached
from penumbra.calibration.noise import NoiseFit, NoisyPasses, head_of, own_taps
from penumbra.calibration.objective import N_EFF, log_likelihoods, tile_joint_nll
from penumbra.data.sample import IGNORE
from penumbra.inference.calibration import Calibration, Temperature
from penumbra.inference.heads import Head
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.noise.doubles import in_double

Doubles = NDArray[np.float64]

BINS = 10
"""Bins of the reliability diagram."""

SCORING = -1
"""The draws that passes are judged by; those of fits count from 1."""

_LEAST = 1e-12


@dataclass(frozen=True)
class TileScores:
    """Sums over the scored pixels of each tile, (N,); nats.

    Attributes:
        pixels: how many are scored.
        nll: −Σ ln of the mean probability of the truth.
        joint: tempered joint NLL times pixels; for one pass the same as `nll`.
        entropy: of the mean probabilities.
        mutual_information: 0 for one pass.
        bins: (N, 3, B) pixels, sum of stated probabilities and hits, by stated probability: of
            the foreground where there are two classes, else of the best class.
    """

    pixels: Doubles
    nll: Doubles
    joint: Doubles
    entropy: Doubles
    mutual_information: Doubles
    bins: Doubles

    @classmethod
    def nothing(cls, n: int) -> TileScores:
        """Give the scores of nothing, for N tiles."""
        rows = np.zeros((5, n))
        return cls(rows[0], rows[1], rows[2], rows[3], rows[4], np.zeros((n, 3, BINS)))

    def __add__(self, other: TileScores) -> TileScores:
        """Put the scores of disjoint tiles side by side: each is 0 where it was not scored."""
        names = [field.name for field in fields(self)]
        return TileScores(*(getattr(self, name) + getattr(other, name) for name in names))

    def only(self, tiles: NDArray[np.bool_]) -> TileScores:
        """Keep the scores of some tiles, (N,) true; the others become 0."""
        values = [getattr(self, field.name) for field in fields(self)]
        shaped = [tiles.reshape(-1, *[1] * (v.ndim - 1)) for v in values]
        return TileScores(*(v * keep for v, keep in zip(values, shaped, strict=True)))

    def mean(self, row: Doubles) -> float:
        """Give a sum per pixel."""
        return float(row.sum() / max(1.0, self.pixels.sum()))

    @property
    def mi_over_h(self) -> float:
        """Mutual information over predictive entropy, in [0, 1]; 0 without any entropy."""
        total = float(self.entropy.sum())
        return float(self.mutual_information.sum()) / total if total > 0 else 0.0

    def reliability(self) -> dict[str, object]:
        """Compare stated with found shares: ``stated``, ``found``, ``share`` per bin, ``ece``."""
        n, stated, hits = self.bins.sum(axis=0)
        total = max(1.0, float(n.sum()))
        return {
            "stated": [None if m == 0 else s / m for s, m in zip(stated, n, strict=True)],
            "found": [None if m == 0 else h / m for h, m in zip(hits, n, strict=True)],
            "share": (n / total).tolist(),
            "ece": float(np.abs(stated - hits).sum() / total),
        }


Passes = Callable[[int], tuple[Tensor, Tensor | None]]
"""From a tile to probabilities (K, C, h, w) of its passes, and their mean where it is known."""


@torch.no_grad()
def score(
    frozen: Frozen, tiles: Sequence[int], passes: Passes, *, n_eff: float = N_EFF
) -> TileScores:
    """Score passes over some tiles; the others are left at 0."""
    out = TileScores.nothing(len(frozen.held_out.tiles))
    for index in frozen.progress(tiles, total=len(tiles), what="judging"):
        truth = frozen.truth(index)
        known = truth[0] != IGNORE
        drawn, mean = passes(index)
        mean = drawn.mean(dim=0) if mean is None else mean
        logs = log_likelihoods(drawn.clamp_min(_LEAST).log().unsqueeze(1), truth)
        own = log_likelihoods(mean.clamp_min(_LEAST).log()[None, None], truth)
        pixels = float(known.sum())
        out.pixels[index] = pixels
        out.nll[index] = -float(in_double(own).sum())
        out.joint[index] = float(tile_joint_nll(logs, truth, n_eff=n_eff)) * pixels
        total = float(in_double(_entropy(mean)[known]).sum())
        shared = float(in_double(_entropy(drawn).mean(dim=0)[known]).sum())
        out.entropy[index] = total
        out.mutual_information[index] = max(0.0, total - shared)
        out.bins[index] = _bins(mean, truth[0], known)
    return out


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities.clamp_min(0)).sum(dim=-3)
    return entropy


def _bins(p: Tensor, truth: Tensor, known: Tensor) -> Doubles:
    stated, best = (p[1], torch.ones_like(truth)) if len(p) == 2 else p.max(dim=0)
    where = stated[known].cpu().double()
    hit = (truth == best)[known].cpu().double().numpy()
    place = (where * BINS).long().clamp(0, BINS - 1).numpy()
    weights = (None, where.numpy(), hit)
    return np.stack([np.bincount(place, weights=w, minlength=BINS) for w in weights])


def one_pass(frozen: Frozen, temperature: Temperature) -> Passes:
    """Give the undisturbed pass under a temperature."""
    head = head_of(frozen, temperature)

    def passes(index: int) -> tuple[Tensor, Tensor | None]:
        plain = frozen.plain[index]
        logits = head.logits(plain.logits, own_taps(frozen, head, plain.taps))
        return logits_to_probabilities(logits), None

    return passes


def noisy_passes(
    frozen: Frozen, reached: Reached, fit: NoiseFit, count: int, *, draw: int = SCORING
) -> Passes:
    """Give passes with feature noise; all fits meet the same draws, so differences are theirs."""
    head = head_of(frozen, fit.temperature)

    def passes(index: int) -> tuple[Tensor, Tensor | None]:
        found = NoisyPasses(frozen, reached, fit.gates, head, draw=draw)
        logits = found.logits([index], range(count))
        return logits_to_probabilities(logits[:, 0]), None

    return passes


def head_samples(frozen: Frozen, calibration: Calibration, count: int) -> Passes:
    """Give samples of noise in logit space, and their exact mean."""
    head = Head.of(calibration, frozen.n_logits)

    def passes(index: int) -> tuple[Tensor, Tensor | None]:
        tile, plain = frozen.held_out.tiles[index], frozen.plain[index]
        taps = own_taps(frozen, head, plain.taps)
        drawn = head.samples(
            plain.logits, taps, keys=tile.key[None].to(frozen.device), first=0, count=count,
            origins=tile.origin[None].to(frozen.device),
        )  # fmt: skip
        return drawn[0], head.marginal(plain.logits, taps)[0]

    return passes
