"""Run the passes of a sampler over tiles, keeping sums rather than passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penumbra.errors import NotFiniteError, expected
from penumbra.inference.groups import Group, PassTotals, TileResult, masks_of, mean_of, turned
from penumbra.inference.head_passes import from_logit_noise, from_stochastic_head
from penumbra.inference.members import Member, Tiles
from penumbra.inference.samplers import Pass, Sampler
from penumbra.inference.symmetry import Symmetry


def run_group(group: Group, **how: Any) -> list[TileResult]:
    """Run all passes over a group of tiles.

    Passes that share their input share one run of the encoder. Sums are made in the order of the
    pass numbers, so that their bits do not depend on how the passes were grouped.

    Args:
        group: the tiles.
        how: members, sampler, passes, symmetries, threshold and keep.

    Raises:
        NotFiniteError: a network gave NaN or infinity.
    """
    results = _run(group, **how)
    for result in results:
        # One value that is not finite makes the sum so; probabilities cannot overflow it.
        if not math.isfinite(float(result.planes.sum(dtype=np.float64))):
            raise NotFiniteError(
                expected("what the network gives", "finite", "NaN or infinity for this image",
                         "--precision fp32, or training with a lower learning rate")
            )  # fmt: skip
    return results


def _run(
    group: Group,
    *,
    members: Sequence[Member],
    sampler: Sampler,
    passes: Sequence[Pass],
    symmetries: Sequence[Symmetry],
    threshold: float,
    keep: int,
) -> list[TileResult]:
    tiles = group.tiles
    first = members[0]
    if sampler.head == "logit-noise":
        return from_logit_noise(
            group, members, sampler, passes=passes, symmetries=symmetries, threshold=threshold,
            keep=keep,
        )  # fmt: skip
    if sampler.head == "ssn":
        return from_stochastic_head(group, first, sampler, threshold=threshold, keep=keep)
    off = None
    encoded = {}
    if sampler.mask_from_off_pass:
        each = []
        for number, member in enumerate(members):
            encoded[number, 0] = member.encode(tiles)
            each.append(member.probabilities(encoded[number, 0], tiles, None))
        off = mean_of(each)
    sums = PassTotals(
        None if off is None else masks_of(off, threshold),
        group.shares,
        threshold=threshold,
        keep=keep,
        antithetic=first.antithetic and len({(p.member, p.symmetry) for p in passes}) == 1,
    )
    seen: dict[int, Tiles] = {}
    for one in passes:
        symmetry = symmetries[one.symmetry]
        if one.symmetry not in seen:
            seen[one.symmetry] = turned(group, symmetry)
        shown, member = seen[one.symmetry], members[one.member]
        place = (one.member, one.symmetry)
        if place not in encoded:
            encoded[place] = member.encode(shown)
        sample = one.sample if sampler.disturbance else None
        sums.add(symmetry.undo(member.probabilities(encoded[place], shown, sample)))
        if not sampler.disturbance:
            del encoded[place]
    return list(sums.results(off, group.count))
