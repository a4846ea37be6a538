"""Images on their way through the networks: prepared, cut into tiles, grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.errors import ImageFileError, expected
from penumbra.inference.frames import pad_to_multiple_of
from penumbra.inference.groups import Group
from penumbra.inference.members import Tiles
from penumbra.inference.preprocess import Preprocess, WorkingImage, pad_square, to_working
from penumbra.inference.tiling import TilePlan, plan_tiles
from penumbra.noise.draws import image_keys, join_keys


@dataclass(frozen=True)
class Job:
    """One image on its way through the networks.

    Attributes:
        working: the image at the network's resolution.
        pixels: (C, h, w) float32 as the network sees it.
        plan: its tiles.
        key: int64, from the seed and the pixels.
        inside: (h, w) of the image itself; what is beyond is padding.
    """

    working: WorkingImage
    pixels: NDArray[np.float32]
    plan: TilePlan
    key: Tensor
    inside: tuple[int, int]

    @property
    def n_tiles(self) -> int:
        """How many tiles there are."""
        return len(self.plan.tiles)


@dataclass(frozen=True)
class TileRef:
    """One tile of one job."""

    job: Job
    index: int

    @property
    def shape(self) -> tuple[int, int]:
        """Its (h, w)."""
        tile = self.job.plan.tiles[self.index]
        return tile.height, tile.width

    def pixels(self) -> NDArray[np.float32]:
        """Give its pixels (C, h, w)."""
        return self.job.pixels[(slice(None), *self.job.plan.tiles[self.index].window)]

    def share(self) -> NDArray[np.float32]:
        """Give how much of each pixel this tile decides, 0 in padding, (h, w)."""
        tile, plan = self.job.plan.tiles[self.index], self.job.plan
        share = plan.weight / plan.total[tile.window]
        share[max(0, self.job.inside[0] - tile.top) :] = 0.0
        share[:, max(0, self.job.inside[1] - tile.left) :] = 0.0
        return share


def prepare(
    image: NDArray[np.generic], preprocess: Preprocess, *, overlap: float, seed: int
) -> Job:
    """Bring an image to the network's resolution and plan its tiles.

    Raises:
        ImageFileError: the image has another shape or holds NaN.
    """
    if image.ndim != 3:
        raise ImageFileError(
            expected("an image", "(H, W, C)", image.shape, "image[..., None] for a grey one")
        )
    working = to_working(image, preprocess)
    pixels = working.normalised()
    inside = (pixels.shape[1], pixels.shape[2])
    # Made before padding and cutting, so that every tile of an image meets the same noise.
    key = join_keys(image_keys(torch.from_numpy(pixels)[None]), seed)[0]
    if preprocess.fit == "resize":
        # The network learned on squares; a bare rectangle would meet its padding elsewhere.
        pixels = np.asarray(pad_square(pixels, preprocess.size, 0.0), dtype=np.float32)
    elif preprocess.oblong:
        pixels = np.asarray(pad_to_multiple_of(pixels, preprocess.multiple), dtype=np.float32)
    size = (pixels.shape[1], pixels.shape[2])
    plan = plan_tiles(size, tile=preprocess.size, overlap=overlap)
    return Job(working, pixels, plan, key, inside)


def grouped(refs: Sequence[TileRef], size: int) -> Group:
    """Put tiles of one shape side by side, filled up with zeros to `size`.

    The kernels that a library chooses, and so the last bits, depend on the size of the batch;
    every call to a network therefore has one fixed size.
    """
    x = torch.from_numpy(np.stack([ref.pixels() for ref in refs]))
    origins = [(r.job.plan.tiles[r.index].top, r.job.plan.tiles[r.index].left) for r in refs]
    sizes = [ref.job.plan.size for ref in refs]
    shares = torch.from_numpy(np.stack([ref.share() for ref in refs]))
    keys = torch.stack([ref.job.key for ref in refs])
    corners = torch.tensor(origins, dtype=torch.float32)
    tiles = Tiles(_filled(x, size), _filled(keys, size), _filled(corners, size))
    return Group(tiles, _filled(torch.tensor(sizes), size), _filled(shares, size), len(refs))


def _filled(x: Tensor, size: int) -> Tensor:
    missing = size - x.shape[0]
    if missing == 0:
        return x
    return torch.cat([x, torch.zeros(missing, *x.shape[1:], dtype=x.dtype)])
