"""The held-out tiles that a calibration is fitted and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penumbra.data.sample import IGNORE, Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.inference.frames import pad_to_multiple_of
from penumbra.inference.jobs import TileRef, prepare
from penumbra.inference.preprocess import Preprocess, mask_to_working, pad_square
from penumbra.progress import Progress, silent

OVERLAP = 0.25
_MOST_PIXELS = 64 * 256 * 256
_FEWEST = 8


@dataclass(frozen=True)
class HeldOutTile:
    """One tile as the predictor would cut it, with its truth.

    Attributes:
        x: (1, C, h, w) float32.
        truth: (1, h, w) int64 class indices; 255 where ignored, and in padding.
        key: () int64, from the seed and the image.
        origin: (2,) row and column of the tile in its image.
        image: index of the image.
        group: its group.
    """

    x: Tensor
    truth: Tensor
    key: Tensor
    origin: Tensor
    image: int
    group: str

    @property
    def scored(self) -> int:
        """Pixels whose class is known."""
        return int((self.truth != IGNORE).sum())


@dataclass(frozen=True)
class HeldOut:
    """Tiles drawn evenly over groups and images.

    Attributes:
        tiles: in the order of their images.
        n_classes: C, background included.
    """

    tiles: tuple[HeldOutTile, ...]
    n_classes: int

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, sorted."""
        return tuple(sorted({tile.group for tile in self.tiles}))

    @property
    def n_images(self) -> int:
        """How many images the tiles come from."""
        return len({tile.image for tile in self.tiles})

    def of_groups(self, groups: Sequence[str]) -> tuple[int, ...]:
        """Give the indices of the tiles of some groups."""
        wanted = set(groups)
        return tuple(i for i, tile in enumerate(self.tiles) if tile.group in wanted)


def collect(
    source: Source,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    most_tiles: int = 64,
    progress: Progress = silent,
) -> HeldOut:
    """Read images that the network was not trained on, and cut them as the predictor does.

    Every image gives tiles, unless there are more images than tiles to draw: then groups take
    turns, and the images within each. Large tiles are drawn more sparingly, so that all of them
    together hold no more pixels than 64 of 256 × 256, but at least 8 tiles are.

    Args:
        source: samples with masks; those without, or that cannot be read, are left out.
        preprocess: the run's own.
        seed: decides which tiles, and the keys of their noise.
        most_tiles: at most so many.
        progress: wraps the images.

    Raises:
        SourceError: no tile has a pixel of known class.
    """
    bound = max(_FEWEST, _MOST_PIXELS // preprocess.size**2)
    count = min(most_tiles, bound)
    rng = np.random.default_rng([seed, 1])
    turns = in_turns([record.group for record in source.records], rng)[:count]
    quota = -(-count // max(1, len(turns)))
    by_image: dict[int, list[HeldOutTile]] = {}
    for index in progress(sorted(turns), total=len(turns), what="reading"):
        try:
            sample = source[index]
        except (ImageFileError, SourceError):
            continue
        if sample.mask is not None:
            by_image[index] = _tiles(sample, index, preprocess, quota=quota, seed=seed)
    tiles = _evenly([by_image[index] for index in turns if index in by_image], count)
    if not tiles:
        raise SourceError(
            expected(f"the held-out samples of {source.name}", "images with masks of known pixels",
                     "none", "another --split, or a source with masks")
        )  # fmt: skip
    tiles.sort(key=lambda tile: tile.image)
    return HeldOut(tuple(tiles), source.n_classes)


def in_turns(groups: Sequence[str], rng: np.random.Generator) -> list[int]:
    """Order images so that any beginning of the list is spread evenly over the groups."""
    members: dict[str, list[int]] = {}
    for index in rng.permutation(len(groups)):
        members.setdefault(groups[index], []).append(int(index))
    queues = list(members.values())
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _evenly(images: Sequence[list[HeldOutTile]], count: int) -> list[HeldOutTile]:
    """Take one tile of each image in turn, until there are enough."""
    most = max((len(tiles) for tiles in images), default=0)
    order = [tiles[turn] for turn in range(most) for tiles in images if turn < len(tiles)]
    return order[:count]


def _tiles(
    sample: Sample, index: int, preprocess: Preprocess, *, quota: int, seed: int
) -> list[HeldOutTile]:
    job = prepare(sample.image, preprocess, overlap=OVERLAP, seed=seed)
    truth = _truth(sample, preprocess)
    rng = np.random.default_rng([seed, 2, index])
    found: list[HeldOutTile] = []
    for number in rng.permutation(job.n_tiles):
        if len(found) == quota:
            break
        ref, tile = TileRef(job, int(number)), job.plan.tiles[int(number)]
        own = torch.from_numpy(truth[tile.window].astype(np.int64))[None]
        if bool((own != IGNORE).any()):
            found.append(
                HeldOutTile(
                    torch.from_numpy(np.ascontiguousarray(ref.pixels()))[None],
                    own,
                    job.key,
                    torch.tensor([tile.top, tile.left], dtype=torch.float32),
                    index,
                    sample.group,
                )
            )
    return found


def _truth(sample: Sample, preprocess: Preprocess) -> NDArray[np.uint8]:
    if sample.mask is None:
        raise SourceError(expected(f"the sample {sample.id}", "one with a mask", "none", "another"))
    mask = mask_to_working(sample.mask, preprocess)
    if preprocess.fit == "resize":
        mask = np.asarray(pad_square(mask, preprocess.size, IGNORE), dtype=np.uint8)
    elif preprocess.oblong:
        padded = pad_to_multiple_of(mask, preprocess.multiple, fill=IGNORE)
        mask = np.asarray(padded, dtype=np.uint8)
    return mask
