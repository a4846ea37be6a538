"""Joint likelihood of tiles under several passes: do single samples look like the truth?

A pixel's probability does not say whether neighbouring pixels are wrong together. The likelihood
of a whole tile, averaged over the passes, does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import IGNORE
from penumbra.evaluation.calibration import CLAMP, Calibration

Floats = NDArray[np.float64]

TILE = 16
"""Pixels per side of a tile."""

N_EFF = 16.0
"""How many independent pixels the tempered likelihood takes a tile for."""


@dataclass(frozen=True)
class JointSums:
    """Sums over tiles; leading axes (…) may run over groups or resamples.

    Attributes:
        n: (…) scored pixels.
        tempered: (…, 1 + C) Σ over tiles of their scored pixels times their tempered NLL. Column
            0 is of the true class, column 1 + c of class c against the rest.
        whole: (…, 1 + C) Σ over tiles of their untempered NLL.
    """

    n: Floats
    tempered: Floats
    whole: Floats


class _LogMean:
    """A running ln (1/K) Σ_k exp(x_k), in memory for one x."""

    def __init__(self) -> None:
        self.total: Floats | None = None
        self.count = 0

    def add(self, x: Floats) -> None:
        self.total = x if self.total is None else np.logaddexp(self.total, x)
        self.count += 1

    def value(self) -> Floats:
        if self.total is None:
            raise ValueError("no pass was added")
        return self.total - math.log(self.count)


def _tile_sums(values: NDArray[np.floating], tile: int) -> Floats:
    """Add up (…, H, W) over tiles; those at the right and lower border may be smaller."""
    rows = np.add.reduceat(values, np.arange(0, values.shape[-2], tile), axis=-2, dtype=np.float64)
    return np.add.reduceat(rows, np.arange(0, values.shape[-1], tile), axis=-1)


def _log_likelihoods(
    sample: NDArray[np.floating], truth: NDArray[np.uint8], scored: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Give ln p of what is true, (1, H, W) for two classes, else (1 + C, H, W); 0 if ignored."""
    p = np.asarray(sample, dtype=np.float32)
    if len(p) == 2:
        given = np.where(truth == 1, p[1], p[0])[None]
    else:
        hits = np.arange(len(p), dtype=np.uint8)[:, None, None] == truth
        each = np.where(hits, p, 1.0 - p)
        given = np.concatenate([np.where(hits, p, 0.0).sum(axis=0, keepdims=True), each])
    logs = np.log(np.clip(given, np.float32(CLAMP), np.float32(1.0)))
    logs *= scored
    return np.asarray(logs)


def tally_joint(
    truth: NDArray[np.uint8],
    samples: Iterable[NDArray[np.floating]],
    *,
    tile: int = TILE,
    n_eff: float = N_EFF,
) -> JointSums:
    """Sum up the joint NLL of one image's tiles, one pass in memory at a time.

    For a tile of n scored pixels and K passes, with mean_k = (1/n) Σ ln p_k(y):

    - tempered: −(1/n_eff) [ln (1/K) Σ_k exp(n_eff · mean_k)], as if the tile were n_eff
      independent pixels; averaged over tiles weighted by n.
    - untempered: the same with n for n_eff, the likelihood of the tile as it is.

    Both are in nats per pixel. For a single pass both are the pixel NLL; more passes lower them
    where single passes come closer to the truth, all over a tile, than their mean does.

    Args:
        truth: (H, W) class indices, 255 = ignore, which is left out.
        samples: probabilities (C, H, W) of each pass.
        tile: pixels per side.
        n_eff: see above.

    Raises:
        ValueError: there is no pass.

    Examples:
        >>> truth = np.array([[0, 1]], dtype=np.uint8)
        >>> sure = np.array([[[0.8, 0.2]], [[0.2, 0.8]]])
        >>> two = tally_joint(truth, [sure, sure[::-1]])
        >>> joint_nll(two).round(4).tolist(), joint_nll(two, tempered=False).round(4).tolist()
        ([0.2665, 0.2665, 0.2665], [0.5394, 0.5394, 0.5394])
    """
    scored = truth != IGNORE
    n = _tile_sums(scored, tile)
    inside = np.maximum(n, 1.0)
    tempered, whole = _LogMean(), _LogMean()
    n_classes = 0
    for sample in samples:
        n_classes = len(sample)
        total = _tile_sums(_log_likelihoods(sample, truth, scored), tile)
        tempered.add(total * (n_eff / inside))
        whole.add(total)
    by_tile = -(n / n_eff) * tempered.value()
    rows = [by_tile.sum(axis=(-2, -1)), -whole.value().sum(axis=(-2, -1))]
    # Of two classes each one's likelihood against the rest is that of the truth.
    full = [np.broadcast_to(row, (1 + n_classes,)).copy() for row in rows]
    return JointSums(n=np.asarray(n.sum()), tempered=full[0], whole=full[1])


def joint_of_one_pass(sums: Calibration) -> JointSums:
    """Give the sums of an image that had a single pass: its pixel NLL."""
    row = np.concatenate([sums.nll[None], sums.class_nll])
    return JointSums(n=sums.n, tempered=row, whole=row)


def nothing_joint(n_classes: int) -> JointSums:
    """Give the sums of an image whose passes were not kept."""
    return JointSums(np.zeros(()), np.zeros(1 + n_classes), np.zeros(1 + n_classes))


def joint_nll(sums: JointSums, *, tempered: bool = True) -> Floats:
    """Compute the joint tile NLL in nats per pixel, (…, 1 + C); see `tally_joint`.

    Column 0 is of the true class, column 1 + c of class c against the rest. Not a number where no
    passes were kept.

    Args:
        sums: of the tiles.
        tempered: by n_eff, or the likelihood of the tiles as they are.
    """
    total = sums.tempered if tempered else sums.whole
    n = np.broadcast_to(np.asarray(sums.n)[..., None], np.shape(total))
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))
