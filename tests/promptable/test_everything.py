"""Everything-mode on images whose regions are known, and its bound on memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from penumbra.cli.segment import segment
from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging.filters import FilterChain
from penumbra.imaging.rle import decode_coco
from penumbra.promptable import Embedding, PromptableSegmenter
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.decoding import Decoded, alike
from penumbra.promptable.embedding import embedding_key
from penumbra.promptable.everything import EverythingSettings, segment_everything
from penumbra.promptable.families import family_named
from penumbra.promptable.grid import grid_points


class SameGrey:
    """A segmenter that answers a point by all that has the grey of that point.

    Of its three masks the first is that, the second is unsure, the third is sure but empty.
    """

    name = "same-grey"
    family = family_named("sam")
    accepts = frozenset(("box", "point", "mask"))
    filters = FilterChain()
    size, low = 64, 64

    def __init__(self):
        self.embedded = []

    def embedding_key(self, image, *, filters=None):
        return embedding_key(image, filters=str(filters))

    def embed(self, image, *, filters=None):
        self.embedded.append(image.shape[:2])
        scale = self.size / max(image.shape[:2])
        height, width = (max(1, round(n * scale)) for n in image.shape[:2])
        grey = Image.fromarray(image[..., 0]).resize((width, height), Image.Resampling.NEAREST)
        features = torch.full((1, 1, 64, 64), -1.0)
        features[0, 0, :height, :width] = torch.from_numpy(np.array(grey, dtype=np.float32))
        key = self.embedding_key(image, filters=filters)
        return Embedding(features, image.shape[:2], (height, width), key, "same-grey")

    def decode(self, embedding, prompts, *, choice):
        assert choice == "all"
        plane = embedding.features[0, 0]
        scale = [n / size for n, size in zip(embedding.resized, embedding.size, strict=True)]
        for numbers in alike(prompts):
            xy = prompts.points[numbers, 0]
            greys = plane[(xy[:, 1] * scale[0]).astype(int), (xy[:, 0] * scale[1]).astype(int)]
            own = torch.where(plane == greys[:, None, None], 8.0, -8.0)
            logits = torch.stack([own, -own, torch.full_like(own, -8.0)], dim=1)
            iou = torch.tensor([[0.95, 0.3, 0.95]]).expand(len(numbers), 3)
            yield numbers, Decoded(logits, iou, torch.tensor([[1, 2, 3]]).expand(len(numbers), 3))


def squares(size, *placed):
    """An image (H, W, 1) with squares (x, y, side, grey), and the mask of each."""
    image = np.zeros((*size, 1), np.uint8)
    masks = []
    for x, y, side, grey in placed:
        image[y : y + side, x : x + side] = grey
        masks.append(np.pad(np.ones((side, side), bool), ((y, size[0] - y - side),
                                                          (x, size[1] - x - side))))  # fmt: skip
    return image, masks


def settings(**changes):
    return EverythingSettings(points_per_side=8, least_area=0, **changes)


def test_it_finds_each_region_once_and_the_background():
    image, masks = squares((64, 64), (8, 8, 16, 90), (36, 30, 20, 180))
    found = segment_everything(SameGrey(), image, settings=settings())
    assert found.asked == 64
    assert [region.area for region in found.regions] == [64 * 64 - 256 - 400, 400, 256]
    assert (found.regions[1].mask == masks[1]).all()
    assert (found.regions[2].mask == masks[0]).all()
    assert found.regions[2].box == (8, 8, 24, 24)
    labels = found.labels
    assert ((labels == 3) == masks[0]).all()
    assert found.mask.all()
    document = found.to_json()
    assert (decode_coco(document["regions"][1]["segmentation"]) == masks[1]).all()
    x, y = document["regions"][1]["point"]
    assert masks[1][int(y), int(x)]


def test_what_is_unsure_unstable_or_says_nothing_is_left_out():
    image, _ = squares((64, 64), (8, 8, 16, 90))
    assert len(segment_everything(SameGrey(), image, settings=settings()).regions) == 2
    unsure = settings(least_iou=0.96)
    nothing = segment_everything(SameGrey(), image, settings=unsure)
    assert not nothing.regions
    # Stability cannot be better than 1; the masks that are empty do not count.
    assert nothing.nearest == pytest.approx((0.95, 1.0))
    assert nothing.to_json()["nearest"]["predicted_iou"] == pytest.approx(0.95)
    large = settings(most_share=0.5)
    (region,) = segment_everything(SameGrey(), image, settings=large).regions
    assert region.area == 256
    all_of_it = segment_everything(SameGrey(), image * 0, settings=settings())
    assert not all_of_it.regions
    assert all_of_it.nearest is None
    assert not all_of_it.mask.any()


def test_specks_go():
    image, masks = squares((64, 64), (8, 8, 24, 90), (40, 40, 20, 180))
    image[12:14, 12:14] = 180  # a hole in the first square, and an island of the second
    cleaned = segment_everything(
        SameGrey(), image, settings=EverythingSettings(points_per_side=8, least_area=5)
    )
    assert (cleaned.regions[1].mask == masks[0]).all()
    assert (cleaned.regions[2].mask == masks[1]).all()
    as_it_is = segment_everything(SameGrey(), image, settings=settings())
    assert as_it_is.regions[1].area == 24 * 24 - 4


def best_iou(found, mask):
    return max((region.mask & mask).sum() / (region.mask | mask).sum() for region in found.regions)


def test_crops_see_what_is_small_and_drop_what_they_cut():
    # 256 pixels on an input of 64: squares of 8 pixels are two samples wide in the whole image,
    # and almost six in crops of a third of its side.
    small = [(21 + 37 * i, 201 - 23 * i, 8, 60 + 20 * i) for i in range(5)]
    image, masks = squares((256, 256), *small, (60, 40, 90, 250))
    segmenter = SameGrey()
    chosen = EverythingSettings(points_per_side=48, least_area=0, crop_layers=2, most_share=0.3)
    found = segment_everything(segmenter, image, settings=chosen)
    assert len(segmenter.embedded) == 1 + 4 + 16
    assert found.asked == 3 * 48**2
    whole = chosen.model_copy(update={"crop_layers": 0})
    without = segment_everything(segmenter, image, settings=whole)
    worst = min(best_iou(found, mask) for mask in masks[:-1])
    assert worst > max(0.6, min(best_iou(without, mask) for mask in masks[:-1]))
    # The large square is cut by every crop of the last layer, and is found whole all the same.
    assert best_iou(found, masks[-1]) > 0.95
    assert all(0 <= x < 256 and 0 <= y < 256 for x, y in (r.point for r in found.regions))


def test_the_same_region_from_several_crops_is_given_once():
    image, _ = squares((128, 128), (56, 56, 16, 200))
    chosen = EverythingSettings(
        points_per_side=32, crop_layers=1, crop_overlap=0.5, most_share=0.5, least_area=0
    )
    (region,) = segment_everything(SameGrey(), image, settings=chosen).regions
    assert region.layer == 1


def test_more_regions_than_are_held_cost_the_least_sure_alone(tiny_sam):
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 1), dtype=np.uint8)
    loose = {"least_iou": 0, "least_stability": 0, "most_overlap": 1, "least_area": 0}
    every = EverythingSettings(points_per_side=6, most_share=1, **loose)
    free = segment_everything(segmenter, image, settings=every)
    assert free.crowded == 0
    tight = every.model_copy(update={"most_regions": 20})
    bounded = segment_everything(segmenter, image, settings=tight)
    assert len(bounded.regions) <= 20
    assert bounded.crowded >= len(free.regions) - 20
    best = sorted((region.predicted_iou for region in free.regions), reverse=True)[:10]
    assert sorted((region.predicted_iou for region in bounded.regions), reverse=True)[:10] == best


def test_ragged_masks_are_held_up_to_a_number_of_bytes(monkeypatch):
    from penumbra.promptable import everything

    monkeypatch.setattr(everything, "HELD_BYTES", 200)
    image = np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(8, 0).repeat(8, 1)[..., None]
    found = segment_everything(SameGrey(), image, settings=settings())
    assert found.crowded > 0
    assert 0 < sum(len(region.counts) for region in found.regions) <= 200
    assert found.crowded + len(found.regions) == 64


def test_it_is_the_same_each_time_and_shares_the_embedding(tiny_sam):
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    image = np.random.default_rng(1).integers(0, 4000, (50, 70, 1)).astype(np.uint16)
    cache = EmbeddingCache()
    loose = settings(least_iou=0.2, least_stability=0.2)
    first = segment_everything(segmenter, image, settings=loose, cache=cache)
    again = segment_everything(segmenter, image, settings=loose, cache=cache)
    assert first.regions
    assert first.regions == again.regions
    cache.embed(segmenter, image)
    assert (cache.counts.computed, cache.counts.memory) == (1, 2)


def test_bad_input_says_so(tiny_sam):
    boxes_only = SameGrey()
    boxes_only.accepts = frozenset(("box",))
    with pytest.raises(SettingsError, match="takes points"):
        segment_everything(boxes_only, np.zeros((8, 8, 1), np.uint8))
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, device="cpu")
    with pytest.raises(ImageFileError, match="finite"):
        segment_everything(segmenter, np.full((8, 8, 1), np.nan, np.float32))
    with pytest.raises(ValidationError):
        EverythingSettings(points_per_side=0)
    with pytest.raises(ValidationError):
        EverythingSettings(pionts_per_side=9)


def test_a_narrow_image_is_no_error():
    image = np.zeros((1, 9, 1), np.uint8)
    image[0, 4:] = 200
    chosen = EverythingSettings(points_per_side=4, crop_layers=2, least_area=0)
    found = segment_everything(SameGrey(), image, settings=chosen)
    assert {region.area for region in found.regions} <= set(range(1, 10))


PEAK = """
import resource, sys
import numpy as np, torch
from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.everything import EverythingSettings, segment_everything

torch.set_num_threads(1)
segmenter = PromptableSegmenter.from_pretrained(sys.argv[1], precision="float32", device="cpu")
image = np.random.default_rng(0).integers(0, 255, (256, 320, 1), dtype=np.uint8)
for per_side in (4, 32):
    chosen = EverythingSettings(points_per_side=per_side, least_iou=0, least_stability=0,
                                most_overlap=0.9, least_area=0, most_share=1, most_regions=64)
    found = segment_everything(segmenter, image, settings=chosen)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(found.asked, len(found.regions), peak)
"""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="reads the peak as Linux tells it")
def test_memory_is_bounded_whatever_the_grid(tiny_sam):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tiny_sam)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    (asked, _, before), (asked_more, held, after) = (
        map(int, line.split()) for line in done.stdout.splitlines()
    )
    assert (asked, asked_more) == (16, 1024)
    assert held <= 64
    # All masks at once would be 3,072 float32 planes of 256 × 320: 960 MiB at the image's size,
    # and 12 MiB of logits. What is there is one group of points and one plane.
    assert after - before < 24, f"{before} MiB for 16 points, {after} MiB for 1,024"


def test_the_grid_is_asked_in_whole(tiny_sam):
    segmenter = SameGrey()
    image = np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(8, 0).repeat(8, 1)[..., None]
    found = segment_everything(segmenter, image, settings=settings(most_overlap=1))
    asked = {tuple(point) for point in grid_points((64, 64), per_side=8).tolist()}
    assert {region.point for region in found.regions} == asked


@pytest.mark.parametrize(("family", "limits"), [("sam", (0.88, 0.95)), ("small", (0.5, 0.6))])
def test_limits_that_nobody_chose_are_the_familys_and_help_says_them(family, limits):
    suited = EverythingSettings().suited_to(family_named(family))
    assert (suited.least_iou, suited.least_stability) == limits
    chosen = EverythingSettings(least_iou=0).suited_to(family_named(family))
    assert (chosen.least_iou, chosen.least_stability) == (0, limits[1])
    for name, limit in zip(("least_iou", "least_stability"), limits, strict=True):
        assert f"{limit:g}" in str(segment.__annotations__[name])
