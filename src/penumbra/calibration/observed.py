"""What the frozen network gave on held-out images, kept for the fits in logit space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.errors import SourceError, expected
from penumbra.inference.calibration import LinearMap
from penumbra.inference.doubt import DOUBT_TAPS, Level, levels_of
from penumbra.inference.linear_map import with_strides

Vector = tuple[float, ...]


class Observed(NamedTuple):
    """Logits, features and truth of tiles of one group.

    Attributes:
        logits: (N, K, H, W) float32, of the plain pass.
        taps: outputs of the decoder's submodules, each (N, C, h, w), of the same pass.
        truth: (N, H, W) int64, 255 = ignore.
        group: which may not be parted in cross-validation.
    """

    logits: Tensor
    taps: tuple[Tensor, ...]
    truth: Tensor
    group: str

    def on_cpu(self) -> Observed:
        """Bring it to the CPU, where the fits behind the network run."""
        return Observed(
            self.logits.cpu(), tuple(tap.cpu() for tap in self.taps), self.truth.cpu(), self.group
        )


class Standard(NamedTuple):
    """Mean and standard deviation of a level's channels over the held-out images."""

    mean: Tensor
    std: Tensor


def levels(item: Observed, names: Sequence[str], taps: Sequence[str]) -> tuple[Level, ...]:
    """Give the levels of these names; `taps` are those of all the item's features."""
    size = (item.logits.shape[-2], item.logits.shape[-1])
    known = dict(zip(taps, with_strides(item.taps, size), strict=True))
    return levels_of(names, item.logits, known)


def standards(by_item: Sequence[Sequence[Level]]) -> tuple[Standard, ...]:
    """Measure mean and deviation per level; a channel that never varies gets deviation 1."""
    out = []
    for same in zip(*by_item, strict=True):
        # Item by item: all of them at once, in double precision, would not fit for wide networks.
        flat = [level.features.transpose(0, 1).flatten(1) for level in same]
        count = sum(part.shape[1] for part in flat)
        mean = sum((part.double().sum(dim=1) for part in flat), start=torch.zeros(())) / count
        squares = (
            (part.double() - mean.to(part.device)[:, None]).square().sum(dim=1) for part in flat
        )
        std = (sum(squares, start=torch.zeros(())) / count).sqrt()
        out.append(Standard(mean, torch.where(std > 1e-6, std, 1.0)))
    return tuple(out)


def linear_map(
    names: Sequence[str], scale: Sequence[Standard], weight: Sequence[Tensor], bias: Tensor
) -> LinearMap:
    """Write a map of standardised features down as plain numbers; `weight` is (R, C) per level."""
    return LinearMap(
        taps=tuple(names),
        mean=tuple(tuple(level.mean.tolist()) for level in scale),
        std=tuple(tuple(level.std.tolist()) for level in scale),
        weight=tuple(tuple(tuple(row) for row in rows.tolist()) for rows in weight),
        bias=tuple(bias.tolist()),
    )


def all_names(taps: Sequence[str]) -> tuple[str, ...]:
    """Name every level there is: those of the logits first."""
    return (*DOUBT_TAPS, *taps)


def check(data: Sequence[Observed], taps: Sequence[str]) -> None:
    """Refuse data that cannot be fitted to.

    Raises:
        SourceError: there is none, nothing is scored, or features and names differ in number.
    """
    if not data or not any(bool((item.truth != 255).any()) for item in data):
        raise SourceError(
            expected("held-out data", "at least one image with pixels of known class", "none",
                     "another split, or more labelled images")
        )  # fmt: skip
    if any(len(item.taps) != len(taps) for item in data):
        counts = sorted({len(item.taps) for item in data})
        raise SourceError(
            expected("the features of held-out images", f"those of {len(taps)} taps", counts,
                     "the same taps for all")
        )  # fmt: skip


def folds(
    groups: Sequence[str], *, count: int = 3, seed: int = 0
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Give the items to fit on and those to judge on, no group on both sides.

    Nothing comes where there are fewer than two groups.

    Examples:
        >>> [(fit.tolist(), judge.tolist()) for fit, judge in folds(["a", "b", "a"], seed=1)]
        [([1], [0, 2]), ([0, 2], [1])]
    """
    names = sorted(set(groups))
    count = min(count, len(names))
    order = np.random.default_rng([seed, 3]).permutation(len(names))
    fold_of = {names[index]: place % count for place, index in enumerate(order)}
    member = np.array([fold_of[group] for group in groups])
    if count < 2:
        return
    for fold in range(count):
        yield np.flatnonzero(member != fold), np.flatnonzero(member == fold)
