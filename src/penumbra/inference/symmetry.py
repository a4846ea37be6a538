"""The eight symmetries of the square, and which of them a kind of image has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Symmetries = Literal["none", "horizontal", "dihedral"]
"""What may be done to images of a kind without making one that could not exist."""


@dataclass(frozen=True)
class Symmetry:
    """One element: transpose first, then turn upside down, then mirror left and right.

    Examples:
        >>> x = torch.arange(6.0).view(1, 1, 2, 3)
        >>> turn = Symmetry(transpose=True, mirror=True)
        >>> turn.apply(x).shape, bool((turn.undo(turn.apply(x)) == x).all())
        (torch.Size([1, 1, 3, 2]), True)
    """

    transpose: bool = False
    upside_down: bool = False
    mirror: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Transform the last two axes."""
        if self.transpose:
            x = x.transpose(-1, -2)
        axes = [-2] * self.upside_down + [-1] * self.mirror
        return torch.flip(x, axes) if axes else x

    def undo(self, x: Tensor) -> Tensor:
        """Transform the last two axes back."""
        axes = [-2] * self.upside_down + [-1] * self.mirror
        x = torch.flip(x, axes) if axes else x
        return x.transpose(-1, -2) if self.transpose else x

    def origins(self, origins: Tensor, tile: tuple[int, int], sizes: Tensor) -> Tensor:
        """Say where tiles lie in their transformed images.

        Args:
            origins: (N, 2) row and column of the first pixel of each tile.
            tile: (h, w) of the tiles before the transform.
            sizes: (N, 2) height and width of their images.

        Returns:
            (N, 2) for the transformed tiles in the transformed images.
        """
        shape = torch.tensor(tile, dtype=origins.dtype)
        if self.transpose:
            origins, sizes, shape = origins.flip(-1), sizes.flip(-1), shape.flip(-1)
        far = sizes - origins - shape
        turned = torch.tensor([self.upside_down, self.mirror])
        return torch.where(turned, far, origins)


IDENTITY = Symmetry()
_GROUPS: dict[str, tuple[Symmetry, ...]] = {
    "none": (IDENTITY,),
    "horizontal": (IDENTITY, Symmetry(mirror=True)),
    "dihedral": tuple(
        Symmetry(transpose=t, upside_down=u, mirror=m)
        for t in (False, True)
        for u in (False, True)
        for m in (False, True)
    ),
}


def symmetries_of(kind: Symmetries) -> tuple[Symmetry, ...]:
    """List the elements of a group, the identity first.

    Examples:
        >>> [len(symmetries_of(kind)) for kind in ("none", "horizontal", "dihedral")]
        [1, 2, 8]
    """
    return _GROUPS[kind]
