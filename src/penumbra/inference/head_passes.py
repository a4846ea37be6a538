"""Samples drawn behind the networks: noise in logit space, and stochastic heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penumbra.inference.groups import Group, PassTotals, TileResult, masks_of, mean_of, turned
from penumbra.inference.members import Member, Tiles
from penumbra.inference.moments import Moments, marginal_moments, mixture
from penumbra.inference.samplers import Pass, Sampler
from penumbra.inference.symmetry import Symmetry
from penumbra.models.probabilities import logits_to_probabilities

_CHUNK = 8
_NUMBERS = 1 << 21
"""Probabilities that are drawn at a time, where that is more than 8 samples."""


def from_logit_noise(
    group: Group,
    members: Sequence[Member],
    sampler: Sampler,
    *,
    passes: Sequence[Pass],
    symmetries: Sequence[Symmetry],
    threshold: float,
    keep: int,
) -> list[TileResult]:
    """Draw samples from noise in logit space behind every pass, and know their moments exactly."""
    seen = [
        _Drawn.of(members[one.member], turned(group, symmetries[one.symmetry]), one, symmetries)
        for one in passes
    ]
    off = mean_of([each.off for each in seen])
    sums = PassTotals(masks_of(off, threshold), group.shares, threshold=threshold, keep=keep)
    share = sampler.samples // len(seen)
    step = max(_CHUNK, _NUMBERS // off.numel())
    for number, each in enumerate(seen):
        for begin in range(0, share, step):
            sums.count(each.samples(number * share + begin, min(step, share - begin)))
    return list(sums.results(off, group.count, moments=mixture([each.moments for each in seen])))


@dataclass(frozen=True)
class _Drawn:
    """What one pass says, and the noise behind it: mean and amplitudes."""

    member: Member
    symmetry: Symmetry
    tiles: Tiles
    off: Tensor
    parts: tuple[Tensor, Tensor]

    @classmethod
    @torch.inference_mode()
    def of(cls, member: Member, tiles: Tiles, one: Pass, symmetries: Sequence[Symmetry]) -> _Drawn:
        head, symmetry = member.head, symmetries[one.symmetry]
        logits, taps = member.logits(member.encode(tiles), tiles, None)
        off = symmetry.undo(logits_to_probabilities(head.logits(logits, taps)).cpu())
        return cls(member, symmetry, tiles, off, head.parts(logits, taps))

    @property
    @torch.inference_mode()
    def moments(self) -> Moments:
        found = marginal_moments(*self.parts)
        return Moments(*(self.symmetry.undo(each.cpu()) for each in found))

    @torch.inference_mode()
    def samples(self, first: int, count: int) -> Tensor:
        drawn = self.member.head.sampler.samples(
            *self.parts, keys=self.tiles.keys, first=first, count=count,
            origins=self.tiles.origins,
        )  # fmt: skip
        return self.symmetry.undo(drawn.cpu()).contiguous()


@torch.inference_mode()
def from_stochastic_head(
    group: Group, member: Member, sampler: Sampler, *, threshold: float, keep: int
) -> list[TileResult]:
    """Draw samples of the distribution that the network itself gives."""
    tiles, count = group.tiles, sampler.samples
    network: Any = member.engine.module
    encoded = member.encode(tiles)
    distribution = network.distribution(encoded.x).float()
    # One scale for mean and samples: that which calibration found for the mean.
    mean, taps = member.logits(encoded, tiles, None)
    off = logits_to_probabilities(member.head.logits(mean, taps)).cpu()
    sums = PassTotals(masks_of(off, threshold), group.shares, threshold=threshold, keep=keep)
    for first in range(0, count, _CHUNK):
        drawn = distribution.sample(
            tiles.keys, first=first, count=min(_CHUNK, count - first), origins=tiles.origins
        )
        for one in drawn.unbind(1):
            sums.add(logits_to_probabilities(member.head.logits(one, taps, seen=mean)).cpu())
    return list(sums.results(off, group.count))
