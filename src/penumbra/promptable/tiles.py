"""Large images at full resolution: each prompt goes to the tile that sees the most around it.

A promptable encoder scales an image to its square, so that a cell of a few pixels on a slide is
gone before the first layer. Here the image is cut into overlapping tiles of about the encoder's own
size instead; a tile is embedded when the first prompt needs it, and never again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.inference.tiling import Tile, plan_tiles
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.pixels import to_eight_bit
from penumbra.promptable.prediction import PromptedPrediction
from penumbra.promptable.prompts import PADDING, PromptKind, Prompts
from penumbra.promptable.regions import tight_box
from penumbra.promptable.segmenter import Choice, PromptableSegmenter

Extent = tuple[float, float, float, float]
HALO = 0.125
"""Share of a tile's side; a single point has at least this much of the image around it."""


def as_shown(image: NDArray[np.generic], filters: FilterChain) -> NDArray[np.uint8]:
    """Give an image (H, W, C) filtered and in 8 bits, as the encoder scales it down.

    Parts of it are shown to the encoder as they are: percentiles of a part alone would be others.
    """
    return to_eight_bit(filters.pixels.apply(image) if filters.pixels else image)


def extents(prompts: Prompts) -> list[Extent]:
    """Give the box (x0, y0, x1, y1) around all that each prompt names in the image.

    Raises:
        SettingsError: the mask prompts are low-resolution logits, which lie on no image.

    Examples:
        >>> extents(Prompts.of(points=[[3, 5], [9, 7]], boxes=[4, 4, 8, 20], size=(64, 64)))
        [(3.0, 4.0, 9.0, 20.0)]
    """
    if prompts.masks is not None and prompts.masks_are_logits:
        raise SettingsError(
            expected("a mask prompt for an image in tiles", f"of the image's size {prompts.size}",
                     f"low-resolution logits {prompts.masks.shape[1:]}",
                     "the mask of the earlier prediction")
        )  # fmt: skip
    return [_extent(prompts[[number]]) for number in range(len(prompts))]


def _extent(prompt: Prompts) -> Extent:
    corners: list[NDArray[Any]] = []
    if prompt.boxes is not None:
        corners += [prompt.boxes[0, :2], prompt.boxes[0, 2:]]
    if prompt.points is not None and prompt.labels is not None:
        corners += list(prompt.points[0][prompt.labels[0] != PADDING])
    box = None if prompt.masks is None else tight_box(prompt.masks[0] >= 0.5)
    if box is not None:
        corners += [np.array(box[:2]), np.array(box[2:])]
    if not corners:  # a mask prompt without foreground may mean any place
        return 0.0, 0.0, float(prompt.size[1]), float(prompt.size[0])
    stacked = np.stack(corners)
    (x0, y0), (x1, y1) = stacked.min(axis=0).tolist(), stacked.max(axis=0).tolist()
    return float(x0), float(y0), float(x1), float(y1)


def room_around(extent: Extent, tile: Tile, size: tuple[int, int]) -> float:
    """Give the least distance in pixels from an extent to a side of its tile.

    Sides of the image do not count, since nothing is beyond them; a tile that is the whole image
    has infinite room. Below 0 where the extent leaves the tile.
    """
    x0, y0, x1, y1 = extent
    distances = [
        (tile.top == 0, y0 - tile.top),
        (tile.left == 0, x0 - tile.left),
        (tile.top + tile.height == size[0], tile.top + tile.height - y1),
        (tile.left + tile.width == size[1], tile.left + tile.width - x1),
    ]
    return min((room for outer, room in distances if not (outer and room >= 0)), default=np.inf)


class TiledImage:
    """A large image that is prompted at its full resolution.

    A prompt goes to the tile that has the most room around it. Where no tile holds the whole
    prompt, or an answer reaches a side of its tile beyond which the image goes on, the prompt is
    asked of the whole image, scaled down: what is larger than a tile needs less resolution.

    Args:
        segmenter: the model.
        image: (H, W, C); windows and filters are those of the whole image, not of a tile. A family
            that then scales what it sees from 0 to 1 (MedSAM) does so tile by tile.
        tile: side of a tile in pixels; by default the encoder's own size.
        halo: share of a tile's side; tiles overlap by twice that.
        filters: instead of the segmenter's own.
        cache: where embeddings of tiles are looked for and kept; by default in memory.

    Raises:
        SettingsError: `tile` is below 1, or `halo` not in [0, 0.5).
        ImageFileError: the image is empty, of another shape, or not finite.
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        image: NDArray[np.generic],
        *,
        tile: int | None = None,
        halo: float = HALO,
        filters: object = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        if not 0 <= halo < 0.5:
            raise SettingsError(expected("`halo`", "a share in [0, 0.5)", halo, f"{HALO}"))
        self.segmenter = segmenter
        self.image = image
        self.filters = segmenter.filters if filters is None else FilterChain.parse(filters)
        self.cache = EmbeddingCache() if cache is None else cache
        self._shown = as_shown(image, self.filters)
        self.size = (int(image.shape[0]), int(image.shape[1]))
        self.plan = plan_tiles(self.size, tile=tile or segmenter.size, overlap=2 * halo)

    def predict(
        self,
        *,
        boxes: Any = None,
        points: Any = None,
        labels: Any = None,
        mask: Any = None,
        choice: Choice = "best",
    ) -> list[PromptedPrediction]:
        """Segment what the prompts ask for; as `PromptableSegmenter.predict`, in tiles.

        Args:
            boxes: in the pixels of the whole image, as for the next two.
            points: see `Prompts.of`.
            labels: of the points.
            mask: (N, H, W) or (H, W) of the image's size.
            choice: which of the model's masks.

        Returns:
            Predictions at the image's size, without `logits` where they are a tile's; outside the
            tile the probability of the object is 0.

        Raises:
            SettingsError: as `PromptableSegmenter.predict`, and for mask prompts that are
                low-resolution logits.
        """
        asked = Prompts.of(size=self.size, boxes=boxes, points=points, labels=labels, mask=mask)
        return list(self.answers(asked, choice=choice))

    def answers(self, prompts: Prompts, *, choice: Choice = "best") -> Iterator[PromptedPrediction]:
        """Answer prompts in order, holding one prompt's predictions at a time."""
        for number, extent in enumerate(extents(prompts)):
            yield from self._answer(prompts[[number]], self.tile_for(extent), choice)

    def tile_for(self, extent: Extent) -> Tile | None:
        """Give the tile with the most room around an extent; ``None`` for the whole image."""
        rooms = [room_around(extent, tile, self.size) for tile in self.plan.tiles]
        best = int(np.argmax(rooms))
        alone = len(self.plan.tiles) == 1
        return None if alone or rooms[best] < 0 else self.plan.tiles[best]

    def _answer(
        self, prompt: Prompts, tile: Tile | None, choice: Choice
    ) -> list[PromptedPrediction]:
        if tile is not None:
            embedding = self.cache.embed(self.segmenter, self._shown[tile.window], filters=[])
            inner = self.segmenter.predict_prompts(embedding, _moved(prompt, tile), choice=choice)
            if not any(reaches_on(one.mask, tile, self.size) for one in inner):
                return [_placed(one, tile, self.size) for one in inner]
        whole = self.cache.embed(self.segmenter, self.image, filters=self.filters)
        return self.segmenter.predict_prompts(whole, prompt, choice=choice)


def reaches_on(mask: NDArray[np.generic], tile: Tile, size: tuple[int, int]) -> bool:
    """Whether a mask (h, w) of a tile reaches a side of it beyond which the image goes on.

    Examples:
        >>> mask = np.array([[1, 0], [0, 0]])
        >>> reaches_on(mask, Tile(0, 0, 2, 2), (9, 9)), reaches_on(mask, Tile(0, 3, 2, 2), (9, 9))
        (False, True)
    """
    sides = (
        (mask[0], tile.top == 0),
        (mask[-1], tile.top + tile.height == size[0]),
        (mask[:, 0], tile.left == 0),
        (mask[:, -1], tile.left + tile.width == size[1]),
    )
    return any(bool(side.any()) and not outer for side, outer in sides)


def _moved(prompt: Prompts, tile: Tile) -> Prompts:
    """Give a prompt in the pixels of a tile that holds all of it."""
    corner = np.array([tile.left, tile.top], dtype=np.float32)
    points = prompt.points
    if points is not None and prompt.labels is not None:
        points = np.where((prompt.labels == PADDING)[..., None], points, points - corner)
    return replace(
        prompt,
        size=(tile.height, tile.width),
        boxes=None if prompt.boxes is None else prompt.boxes - np.tile(corner, 2),
        points=points,
        masks=None if prompt.masks is None else prompt.masks[(slice(None), *tile.window)],
    )


def _placed(one: PromptedPrediction, tile: Tile, size: tuple[int, int]) -> PromptedPrediction:
    """Lay a tile's prediction into the image; around it there is certainly background."""
    probabilities = np.zeros((2, *size), dtype=np.float32)
    probabilities[0] = 1.0
    probabilities[(slice(None), *tile.window)] = one.probabilities
    mask = np.zeros(size, dtype=np.uint8)
    mask[tile.window] = one.mask
    maps = {name: np.zeros(size, dtype=np.float32) for name in one.uncertainty}
    for name, plane in one.uncertainty.items():
        maps[name][tile.window] = plane
    return replace(one, probabilities=probabilities, mask=mask, uncertainty=maps, logits=None)


class InTiles:
    """A segmenter that prompts large images in tiles, for whatever takes any segmenter.

    Args:
        segmenter: the model.
        tile: see `TiledImage`, as for the rest.
        halo: share of a tile's side.
        cache: of embeddings.
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        *,
        tile: int | None = None,
        halo: float = HALO,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self.segmenter, self.tile, self.halo = segmenter, tile, halo
        self.cache = EmbeddingCache() if cache is None else cache

    @property
    def name(self) -> str:
        """What the model was loaded by."""
        return self.segmenter.name

    @property
    def accepts(self) -> frozenset[PromptKind]:
        """The kinds of prompt that the model takes."""
        return self.segmenter.accepts

    def embed(self, image: NDArray[np.generic], *, filters: object = None) -> TiledImage:
        """Plan the tiles of an image; none is embedded yet."""
        return TiledImage(
            self.segmenter,
            image,
            tile=self.tile,
            halo=self.halo,
            filters=filters,
            cache=self.cache,
        )

    def predict(self, embedding: TiledImage, **prompts: Any) -> list[PromptedPrediction]:
        """Answer prompts as `TiledImage.predict` does."""
        return embedding.predict(**prompts)
