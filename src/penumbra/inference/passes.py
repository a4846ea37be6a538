"""Run the passes of a sampler over tiles, keeping sums rather than passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from penumbra.errors import NotFiniteError, expected
from penumbra.inference.groups import Group, PassTotals, TileResult, masks_of, mean_of, turned
from penumbra.inference.head_passes import from_logit_noise, from_stochastic_head
from penumbra.inference.members import Member, Tiles
from penumbra.inference.samplers import Pass, Sampler
from penumbra.inference.symmetry import Symmetry
from penumbra.noise.sites import Encoded

MaskFrom = Literal["off", "mean"]
"""The mask of the undisturbed pass where there is one, or that of the mean over the passes."""


def run_group(group: Group, **how: Any) -> list[TileResult]:
    """Run all passes over a group of tiles.

    Passes that share their input share one run of the encoder. Sums are made in the order of the
    pass numbers, so that their bits do not depend on how the passes were grouped.

    Args:
        group: the tiles.
        how: members, sampler, passes, symmetries, threshold, keep and between.

    Raises:
        NotFiniteError: a network gave NaN or infinity.
    """
    sampler: Sampler = how["sampler"]
    if sampler.head == "logit-noise":
        how = {name: value for name, value in how.items() if name not in ("mask_from", "between")}
        return _finite(from_logit_noise(group, **how))
    if sampler.head == "ssn":
        shared = {name: how[name] for name in ("threshold", "keep")}
        return _finite(from_stochastic_head(group, how["members"][0], sampler, **shared))
    running = RunningGroup(group, **how)
    running.advance(how["passes"])
    return running.results()


class RunningGroup:
    """The passes over a group of tiles, some at a time.

    Args:
        group: the tiles.
        members: the networks.
        sampler: which passes; one without a head.
        passes: all of them.
        symmetries: of the images.
        threshold: of the mask.
        keep: how many passes are kept whole.
        mask_from: whether passes are compared with the undisturbed one's mask, where there is
            one, or with that of their mean.
        hold: whether what the encoder gave is held between calls of `advance`.
        between: called before every pass; what it raises ends the work.
    """

    def __init__(
        self,
        group: Group,
        *,
        members: Sequence[Member],
        sampler: Sampler,
        passes: Sequence[Pass],
        symmetries: Sequence[Symmetry],
        threshold: float,
        keep: int,
        mask_from: MaskFrom = "off",
        hold: bool = True,
        between: Callable[[], None] | None = None,
    ) -> None:
        self._between = between or _go_on
        self.group, self.members, self.sampler = group, members, sampler
        self.symmetries, self.hold = symmetries, hold
        self._encoded: dict[tuple[int, int], Encoded] = {}
        self.off = None
        if sampler.mask_from_off_pass:
            each = []
            for number, member in enumerate(members):
                self._encoded[number, 0] = member.encode(group.tiles)
                each.append(member.probabilities(self._encoded[number, 0], group.tiles, None))
            self.off = mean_of(each)
        self.sums = PassTotals(
            masks_of(self.off, threshold) if self.off is not None and mask_from == "off" else None,
            group.shares,
            threshold=threshold,
            keep=keep,
            antithetic=members[0].antithetic and len({(p.member, p.symmetry) for p in passes}) == 1,
        )

    def advance(self, passes: Iterable[Pass]) -> None:
        """Run some more passes, in the order of their numbers."""
        seen: dict[int, Tiles] = {}
        for one in passes:
            self._between()
            symmetry = self.symmetries[one.symmetry]
            if one.symmetry not in seen:
                seen[one.symmetry] = turned(self.group, symmetry)
            shown, member = seen[one.symmetry], self.members[one.member]
            place = (one.member, one.symmetry)
            if place not in self._encoded:
                self._encoded[place] = member.encode(shown)
            sample = one.sample if self.sampler.disturbance else None
            found = member.probabilities(self._encoded[place], shown, sample)
            self.sums.add(symmetry.undo(found))
            if not self.sampler.disturbance:
                del self._encoded[place]
        if not self.hold:
            self._encoded.clear()

    def results(self) -> list[TileResult]:
        """Give what the passes so far say about each tile.

        Raises:
            NotFiniteError: a network gave NaN or infinity.
        """
        return _finite(list(self.sums.results(self.off, self.group.count)))


def _go_on() -> None:
    pass


def _finite(results: list[TileResult]) -> list[TileResult]:
    for result in results:
        # One value that is not finite makes the sum so; probabilities cannot overflow it.
        if not math.isfinite(float(result.planes.sum(dtype=np.float64))):
            raise NotFiniteError(
                expected("what the network gives", "finite", "NaN or infinity for this image",
                         "--precision fp32, or training with a lower learning rate")
            )  # fmt: skip
    return results
