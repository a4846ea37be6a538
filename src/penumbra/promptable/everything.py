"""Everything-mode: ask at a grid of points, keep what is sure, stable and said once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.progress import Progress, silent
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.candidates import Nearest, candidates_of
from penumbra.promptable.decoding import MOST_AT_ONCE
from penumbra.promptable.families import Family
from penumbra.promptable.grid import Crop, grid_points, plan_crops
from penumbra.promptable.nms import suppress
from penumbra.promptable.regions import Region, label_map, region_of, without_specks
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tiles import as_shown, reaches_on

HELD_BYTES = 64 * 2**20
"""Most bytes of run lengths that are held: an object takes about 1 KB, a mask of noise 100 KB."""


class EverythingSettings(BaseModel):
    """What everything-mode asks and what it keeps.

    Attributes:
        points_per_side: of the grid over the whole image; halved with each layer of crops.
        least_iou: of the IoU that the model predicts for its mask; ``None`` for what suits the
            model's family (`Family.least_iou`).
        least_stability: of a mask, see `prediction.stability_score`; ``None`` as for `least_iou`.
        most_overlap: IoU of boxes above which the less sure of two regions is dropped.
        least_area: pixels; smaller holes are filled, smaller islands and regions removed.
        most_share: of the image; a region that covers more says nothing.
        crop_layers: how often the image is cut into quarters that are embedded by themselves, so
            that small things are seen. A layer costs 4 times as many embeddings as the one before.
        crop_overlap: of neighbouring crops of the first layer, as a share of the shorter side.
        most_regions: that are held while others are looked for, and so given in the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    points_per_side: int = Field(default=32, ge=1, le=512)
    least_iou: float | None = Field(default=None, ge=0, le=1)
    least_stability: float | None = Field(default=None, ge=0, le=1)
    most_overlap: float = Field(default=0.7, ge=0, le=1)
    least_area: int = Field(default=32, ge=0)
    most_share: float = Field(default=0.95, gt=0, le=1)
    crop_layers: int = Field(default=0, ge=0, le=4)
    crop_overlap: float = Field(default=0.34, ge=0, le=0.5)
    most_regions: int = Field(default=4096, ge=1, le=65535)

    def suited_to(self, family: Family) -> EverythingSettings:
        """Give these settings with the limits of a family of models where none were chosen."""
        limits = {
            name: getattr(family, name)
            for name in ("least_iou", "least_stability")
            if getattr(self, name) is None
        }
        return self.model_copy(update=limits)


@dataclass(frozen=True)
class Everything:
    """What was found in an image.

    Attributes:
        size: (H, W) of the image.
        regions: the largest first; they may overlap.
        asked: points that were asked at.
        crowded: regions that were let go because too many were held at once.
        timings: seconds by stage.
        nearest: predicted IoU and stability of the mask that came nearest to both limits, or passed
            them by most; ``None`` where every mask was empty or nearly the whole image.
    """

    size: tuple[int, int]
    regions: tuple[Region, ...]
    asked: int
    crowded: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    nearest: tuple[float, float] | None = None

    @property
    def labels(self) -> NDArray[np.uint16]:
        """Give (H, W) uint16: 0 where nothing was found, else 1 + the place in `regions`."""
        return label_map(self.regions, self.size)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The union of all regions, (H, W) uint8 of 0 and 1."""
        return np.asarray(self.labels > 0, dtype=np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Give plain values, regions with COCO RLE."""
        return {
            "size": {"height": self.size[0], "width": self.size[1]},
            "regions": [region.to_json() for region in self.regions],
            "asked": self.asked,
            "crowded": self.crowded,
            "nearest": None
            if self.nearest is None
            else dict(zip(("predicted_iou", "stability"), self.nearest, strict=True)),
            "timings": dict(self.timings),
        }


def segment_everything(
    segmenter: PromptableSegmenter,
    image: NDArray[np.generic],
    *,
    settings: EverythingSettings | None = None,
    filters: object = None,
    cache: EmbeddingCache | None = None,
    progress: Progress = silent,
) -> Everything:
    """Segment whatever there is, without a prompt.

    A grid of points is asked one by one for three masks each. Of the masks that the model is sure
    of and that are stable, greedy suppression keeps the best of those whose boxes overlap: those
    of a finer layer of crops first, then those of the higher predicted IoU (Kirillov et al., 2023,
    arXiv 2304.02643). Masks that are cut by the edge of a crop are dropped there.

    **Memory.** Whatever the grid, at once there are one crop's features, the low-resolution masks
    of at most 16 points, one mask at the size of the image, and `most_regions` regions as run
    lengths of `HELD_BYTES` together. Where more would be held, suppression runs early and the least
    sure of what is left are let go; `Everything.crowded` counts those.

    Args:
        segmenter: one that takes points.
        image: (H, W, C); windows and filters are those of the whole image, in crops too.
        settings: see there.
        filters: instead of the segmenter's own.
        cache: where embeddings are looked for and kept; by default none are kept.
        progress: shows the groups of points.

    Returns:
        Regions at the image's size, the largest first. The same for the same input.

    Raises:
        SettingsError: the segmenter takes no points.
        ImageFileError: the image is empty, of another shape, or not finite.
    """
    if "point" not in segmenter.accepts:
        raise SettingsError(
            expected(f"{segmenter.name} in everything-mode", "a model that takes points",
                     f"one that takes {' and '.join(sorted(segmenter.accepts))} alone",
                     "--box, or another --model")
        )  # fmt: skip
    started = time.perf_counter()
    chosen = (settings or EverythingSettings()).suited_to(segmenter.family)
    kept_in = EmbeddingCache(memory_bytes=0) if cache is None else cache
    search = _Search(segmenter, image, chosen, filters, kept_in)
    held = _Held(chosen)
    for region in search.regions(progress):
        held.add(region)
    found = _cleaned(held.kept(), chosen)
    timings = {"embed": search.seconds, "total": time.perf_counter() - started}
    nearest = search.nearest.scores
    return Everything(search.size, found, search.asked, held.crowded, timings, nearest)


class _Search:
    """Walks over crops and points and gives the regions that pass."""

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        image: NDArray[np.generic],
        settings: EverythingSettings,
        filters: object,
        cache: EmbeddingCache,
    ) -> None:
        self.segmenter, self.image, self.settings = segmenter, image, settings
        self.filters = segmenter.filters if filters is None else FilterChain.parse(filters)
        self.cache = cache
        self.size = (int(image.shape[0]), int(image.shape[1]))
        self.seconds = 0.0
        self.limits = (float(settings.least_iou or 0), float(settings.least_stability or 0))
        self.nearest = Nearest(*self.limits, settings.most_share)
        crops = plan_crops(self.size, layers=settings.crop_layers, overlap=settings.crop_overlap)
        self.grids = [(crop, self._grid(crop)) for crop in crops]
        self.asked = sum(len(points) for _, points in self.grids)
        self.shown = as_shown(image, self.filters) if settings.crop_layers else image

    def _grid(self, crop: Crop) -> NDArray[np.float32]:
        per_side = max(1, self.settings.points_per_side >> crop.layer)
        return grid_points((crop.tile.height, crop.tile.width), per_side=per_side)

    def regions(self, progress: Progress) -> Iterator[Region]:
        groups = [
            (crop, points[start : start + MOST_AT_ONCE])
            for crop, points in self.grids
            for start in range(0, len(points), MOST_AT_ONCE)
        ]
        at: Crop | None = None
        for crop, points in progress(groups, total=len(groups), what="everything"):
            if crop is not at:
                began = time.perf_counter()
                embedding, at = self._embed(crop), crop
                self.seconds += time.perf_counter() - began
            for found in candidates_of(
                self.segmenter,
                embedding,
                points,
                least_iou=self.limits[0],
                least_stability=self.limits[1],
                nearest=self.nearest,
            ):
                region = self._placed(crop, found.mask, found.facts)
                if region is not None:
                    yield region

    def _embed(self, crop: Crop) -> Any:
        if crop.layer == 0:
            # As it is prompted elsewhere, so that its embedding is shared.
            return self.cache.embed(self.segmenter, self.image, filters=self.filters)
        return self.cache.embed(self.segmenter, self.shown[crop.tile.window], filters=[])

    def _placed(self, crop: Crop, mask: NDArray[np.bool_], facts: dict[str, Any]) -> Region | None:
        tile = crop.tile
        if reaches_on(mask, tile, self.size):
            return None
        whole = np.zeros(self.size, dtype=np.bool_)
        whole[tile.window] = mask
        x, y = facts["point"]
        placed = facts | {"point": (x + tile.left, y + tile.top)}
        region = region_of(whole, layer=crop.layer, **placed)
        most = self.settings.most_share * whole.size
        return None if region is None or region.area > most else region


class _Held:
    """Regions found so far, within the number that the settings allow and within `HELD_BYTES`."""

    def __init__(self, settings: EverythingSettings) -> None:
        self.settings = settings
        self.crowded = 0
        self._regions: list[Region] = []
        self._bytes = 0

    def add(self, region: Region) -> None:
        self._regions.append(region)
        self._bytes += len(region.counts)
        if len(self._regions) > self.settings.most_regions or self._bytes > HELD_BYTES:
            self._thin()

    def kept(self) -> list[Region]:
        """Give what suppression leaves, the best first."""
        return _suppressed(self._regions, self.settings)

    def _thin(self) -> None:
        """Keep the best that fill at most half of either bound; at least one."""
        best = self.kept()
        sizes = np.cumsum([len(region.counts) for region in best])
        fitting = int(np.searchsorted(sizes, HELD_BYTES // 2, side="right"))
        half = max(1, min(self.settings.most_regions // 2, fitting))
        self.crowded += max(0, len(best) - half)
        self._regions = best[:half]
        self._bytes = int(sizes[len(self._regions) - 1])


def _suppressed(regions: list[Region], settings: EverythingSettings) -> list[Region]:
    boxes = np.array([region.box for region in regions]).reshape(-1, 4)
    # Predicted IoUs end at 1: a finer layer comes before every coarser one.
    scores = [2.0 * region.layer + region.predicted_iou for region in regions]
    kept = suppress(boxes, scores, most_iou=settings.most_overlap)
    return [regions[index] for index in kept]


def _cleaned(regions: list[Region], settings: EverythingSettings) -> tuple[Region, ...]:
    """Remove specks, then what says the same as another without them."""
    least, cleaned = settings.least_area, []
    for region in regions:
        mask = without_specks(region.mask, least=least)
        again = region_of(
            mask,
            predicted_iou=region.predicted_iou,
            stability=region.stability,
            point=region.point,
            layer=region.layer,
        )
        if again is not None and again.area >= least:
            cleaned.append(again)
    return tuple(sorted(_suppressed(cleaned, settings), key=lambda region: -region.area))
