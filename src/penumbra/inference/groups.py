"""Groups of tiles, and the sums over the passes that they go through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.inference.members import Tiles
from penumbra.inference.moments import Moments
from penumbra.inference.symmetry import IDENTITY, Symmetry
from penumbra.inference.uncertainty import PassSums


@dataclass(frozen=True)
class TileResult:
    """What the passes said about one tile.

    Attributes:
        planes: (P, h, w) float32, to be blended: the undisturbed pass (C, where there is one),
            the mean (C), and with two passes or more the variance (C), the expected entropy and
            the squared error of the mean (1 each), and the kept passes (S · C).
        areas: (K, C) weighted sums of each pass's probabilities.
        overlap: (K, C) weighted pixels that each pass's mask shares with the tile's mask.
        mask_areas: (K, C) weighted pixels of each pass's mask.
        own_areas: (C,) weighted pixels of the tile's mask.
        presence: probability that the tile shows something, by the presence head, if any.
    """

    planes: NDArray[np.float32]
    areas: NDArray[np.float64]
    overlap: NDArray[np.float64]
    mask_areas: NDArray[np.float64]
    own_areas: NDArray[np.float64]
    presence: float | None = None


@dataclass(frozen=True)
class Group:
    """Tiles that go through the networks together.

    Attributes:
        tiles: the tiles; the group may be filled up beyond `count`.
        sizes: (N, 2) height and width of each tile's image.
        shares: (N, h, w) how much of each pixel this tile decides, 0 outside of the image.
        count: how many tiles are real.
    """

    tiles: Tiles
    sizes: Tensor
    shares: Tensor
    count: int


def masks_of(probabilities: Tensor, threshold: float) -> Tensor:
    """Choose classes: (…, C, h, w) to (…, h, w) int64; two classes by the threshold."""
    if probabilities.shape[-3] == 2:
        return (probabilities[..., 1, :, :] >= threshold).long()
    return probabilities.argmax(dim=-3)


class PassTotals:
    """Running sums over passes; what is kept of a pass is a few numbers."""

    def __init__(
        self,
        own: Tensor | None,
        shares: Tensor,
        *,
        threshold: float,
        keep: int,
        antithetic: bool = False,
    ) -> None:
        self.own, self.shares, self.threshold, self.keep = own, shares, threshold, keep
        self.sums = PassSums(antithetic=antithetic)
        self.kept: list[Tensor] = []
        self.masks: list[Tensor] = []
        self.areas: list[NDArray[np.float64]] = []
        self.overlap: list[NDArray[np.float64]] = []
        self.mask_areas: list[NDArray[np.float64]] = []

    def add(self, p: Tensor) -> None:
        """Take one pass (N, C, h, w)."""
        self.sums.add(p)
        self.count(p.unsqueeze(1))

    def count(self, p: Tensor) -> None:
        """Count the areas and masks of some passes (N, S, C, h, w)."""
        if missing := self.keep - len(self.kept):
            self.kept += list(p[:, :missing].clone().unbind(1))
        n, s, c = p.shape[:3]
        weights = self.shares.reshape(n, 1, -1, 1)
        self.areas.append(_numbers((p.reshape(n, s * c, 1, -1) @ weights).view(n, s, c)))
        mask = masks_of(p, self.threshold)
        if self.own is None:
            # Few passes come without a mask of their own: symmetries and networks are few.
            self.masks.append(mask.to(torch.uint8))
        else:
            shared, areas = self._compare(mask, self.own, c)
            self.overlap.append(shared)
            self.mask_areas.append(areas)

    def _compare(
        self, mask: Tensor, own: Tensor, n_classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the areas that masks (N, S, h, w) share with `own`, and their own areas."""
        same = mask == own.unsqueeze(1)
        # Where the two differ, no class is shared.
        shared = torch.where(same, mask, n_classes)
        areas = _class_areas(mask, self.shares, n_classes)
        return _class_areas(shared, self.shares, n_classes), areas

    def results(
        self, off: Tensor | None, count: int, *, moments: Moments | None = None
    ) -> Iterator[TileResult]:
        """Give the results of the first `count` tiles; `moments` in place of the passes' own.

        More passes may be added afterwards.
        """
        sums = self.sums
        if moments is None:
            mean, variance = sums.mean, sums.variance
            doubt = [sums.expected_entropy, sums.squared_error]
        else:
            mean, variance, entropy = moments
            # Known without drawing anything, the mean has no Monte Carlo error.
            doubt = [entropy, torch.zeros_like(entropy)]
        own = masks_of(mean, self.threshold) if self.own is None else self.own
        compared = [self._compare(mask.long(), own, mean.shape[1]) for mask in self.masks]
        planes = [mean] if off is None else [off, mean]
        if sums.passes > 1 or moments is not None:
            planes += [variance, *(plane.unsqueeze(1) for plane in doubt), *self.kept]
        joined = torch.cat(planes, dim=1).numpy()
        own_areas = _class_areas(own.unsqueeze(1), self.shares, mean.shape[1])[:, 0]
        areas, overlap, mask_areas = (
            np.concatenate(each, axis=1)
            for each in (
                self.areas,
                [*self.overlap, *(shared for shared, _ in compared)],
                [*self.mask_areas, *(own_area for _, own_area in compared)],
            )
        )
        for n in range(count):
            yield TileResult(joined[n], areas[n], overlap[n], mask_areas[n], own_areas[n])


def _class_areas(mask: Tensor, shares: Tensor, n_classes: int) -> NDArray[np.float64]:
    """Sum shares (N, h, w) by the class of masks (N, S, h, w), to (N, S, C)."""
    n, s = mask.shape[:2]
    weights = shares.reshape(n, -1, 1)
    each = [(mask == c).to(shares.dtype).reshape(n, s, -1) @ weights for c in range(n_classes)]
    return _numbers(torch.cat(each, dim=2))


def _numbers(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(x.numpy(), dtype=np.float64)


def with_presence(results: Sequence[TileResult], found: Sequence[float]) -> list[TileResult]:
    """Add what presence heads said of these tiles; nothing where there are no heads."""
    if not found:
        return list(results)
    # A group may be filled up beyond the tiles that are real.
    pairs = zip(results, found, strict=False)
    return [replace(result, presence=value) for result, value in pairs]


def turned(group: Group, symmetry: Symmetry) -> Tiles:
    """Give the tiles of a group as a symmetry shows them."""
    if symmetry == IDENTITY:
        return group.tiles
    x = group.tiles.x
    origins = symmetry.origins(
        group.tiles.origins, (x.shape[-2], x.shape[-1]), group.sizes.to(group.tiles.origins.dtype)
    )
    return Tiles(symmetry.apply(x).contiguous(), group.tiles.keys, origins)


def mean_of(each: Sequence[Tensor]) -> Tensor:
    """Average tensors of one shape; a single one stays as it is, bit for bit."""
    return each[0] if len(each) == 1 else torch.stack(list(each)).mean(dim=0)
