"""Prompts on large images: which tile they go to, and what comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.inference.tiling import Tile, plan_tiles
from penumbra.promptable import PromptableSegmenter, Prompts
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.tiles import TiledImage, as_shown, extents, reaches_on, room_around


@pytest.fixture(scope="module")
def segmenter(tiny_sam):
    return PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 4095, (150, 200, 1)).astype(np.uint16)


def only_object(one):
    """Cut a prediction's mask down to nothing, so that it never reaches on."""
    return np.zeros_like(one.mask)


def rooms_by_loop(x0, y0, x1, y1, tile, size):
    """Walk outwards from the extent until a side that the image goes on behind."""
    room = np.inf
    if tile.left > 0 or x0 < tile.left:
        room = min(room, x0 - tile.left)
    if tile.top > 0 or y0 < tile.top:
        room = min(room, y0 - tile.top)
    if tile.left + tile.width < size[1] or x1 > tile.left + tile.width:
        room = min(room, tile.left + tile.width - x1)
    if tile.top + tile.height < size[0] or y1 > tile.top + tile.height:
        room = min(room, tile.top + tile.height - y1)
    return room


@settings(max_examples=150, deadline=None)
@given(data=st.data(), height=st.integers(20, 200), width=st.integers(20, 200))
def test_every_point_has_the_halo_around_it(data, height, width):
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    tiles = plan_tiles((height, width), tile=40, overlap=0.5).tiles
    rooms = [room_around((x, y, x, y), tile, (height, width)) for tile in tiles]
    # Tiles lie at whole pixels: half a pixel of the halo of 10 may be lost.
    assert max(rooms) >= 9.5
    again = [rooms_by_loop(x, y, x, y, tile, (height, width)) for tile in tiles]
    assert rooms == again


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_box_smaller_than_the_overlap_is_whole_in_its_tile(data):
    size = (data.draw(st.integers(40, 160)), data.draw(st.integers(40, 160)))
    x, y = data.draw(st.integers(0, size[1] - 19)), data.draw(st.integers(0, size[0] - 19))
    tiles = plan_tiles(size, tile=40, overlap=0.5).tiles
    assert max(room_around((x, y, x + 19, y + 19), tile, size) for tile in tiles) >= 0


def test_extents_hold_all_that_a_prompt_names():
    mask = np.zeros((2, 30, 40), np.float32)
    mask[0, 5:9, 20:31] = 1
    both = Prompts.of(
        boxes=[[1, 2, 3, 4], [10, 10, 20, 20]], points=[[[2, 3]], [[30, 12]]],
        mask=mask, size=(30, 40),
    )  # fmt: skip
    assert extents(both) == [(1, 2, 31, 9), (10, 10, 30, 20)]
    padded = Prompts.of(points=[[[8, 9], [0, 0]]], labels=[[1, -1]], size=(30, 40))
    assert extents(padded) == [(8, 9, 8, 9)]
    nothing = Prompts.of(mask=np.zeros((30, 40)), size=(30, 40))
    assert extents(nothing) == [(0, 0, 40, 30)]
    logits = Prompts.of(mask=np.full((8, 8), -3.0), size=(30, 40), low=8)
    with pytest.raises(SettingsError, match="low-resolution logits"):
        extents(logits)


def test_a_tile_answers_as_its_crop_does(segmenter, image):
    tiled = TiledImage(segmenter, image, tile=64, halo=0.25)
    box = [70.0, 66.0, 90.0, 84.0]
    tile = tiled.tile_for(tuple(box))
    shown = as_shown(image, segmenter.filters)
    cache = EmbeddingCache()
    crop = cache.embed(segmenter, shown[tile.window])
    moved = np.array(box) - [tile.left, tile.top, tile.left, tile.top]
    for choice in (0, 1, 2, 3):
        inner = segmenter.predict(crop, boxes=moved, choice=choice)[0]
        (found,) = tiled.predict(boxes=box, choice=choice)
        if reaches_on(inner.mask, tile, tiled.size):
            whole = cache.embed(segmenter, image)
            expected = segmenter.predict(whole, boxes=box, choice=choice)[0]
            assert (found.probabilities == expected.probabilities).all()
            continue
        assert found.mask.shape == image.shape[:2]
        assert (found.probabilities[(slice(None), *tile.window)] == inner.probabilities).all()
        outside = np.ones(image.shape[:2], bool)
        outside[tile.window] = False
        assert not found.mask[outside].any()
        assert (found.probabilities[0][outside] == 1).all()
        assert np.allclose(found.probabilities.sum(axis=0), 1)
        assert not found.uncertainty["entropy"][outside].any()
        assert found.logits is None


class Contained:
    """The tiny model, with masks that stay away from the sides of what was embedded."""

    def __init__(self, segmenter):
        self.inner = segmenter
        self.embedded = []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def embed(self, image, *, filters=None):
        self.embedded.append(image.shape[:2])
        return self.inner.embed(image, filters=filters)

    def predict_prompts(self, embedding, prompts, *, choice):
        from dataclasses import replace

        found = self.inner.predict_prompts(embedding, prompts, choice=choice)
        return [replace(one, mask=only_object(one)) for one in found]


def test_only_tiles_that_are_asked_are_embedded_and_once(segmenter, image):
    asked = Contained(segmenter)
    tiled = TiledImage(asked, image, tile=64, halo=0.25)
    assert len(tiled.plan.tiles) > 12
    assert asked.embedded == []
    tiled.predict(points=[[[20, 20]], [[22, 25]], [[180, 140]]])
    assert asked.embedded == [(64, 64), (64, 64)]
    tiled.predict(boxes=[[10, 12, 30, 40]])
    assert len(asked.embedded) == 2


def test_what_is_larger_than_a_tile_is_asked_of_the_whole(segmenter, image):
    asked = Contained(segmenter)
    tiled = TiledImage(asked, image, tile=64, halo=0.25)
    tiled.predict(boxes=[10, 10, 120, 90])
    assert asked.embedded == [(150, 200)]
    tiled.predict(points=[[5, 5], [190, 140]])
    assert asked.embedded == [(150, 200)]


def test_a_mask_that_reaches_on_is_asked_of_the_whole(segmenter, image):
    class Spreading(Contained):
        def predict_prompts(self, embedding, prompts, *, choice):
            from dataclasses import replace

            found = self.inner.predict_prompts(embedding, prompts, choice=choice)
            return [replace(one, mask=np.ones_like(one.mask)) for one in found]

    asked = Spreading(segmenter)
    (found,) = TiledImage(asked, image, tile=64).predict(points=[[100, 70]])
    assert asked.embedded == [(64, 64), (150, 200)]
    assert found.mask.all()


def test_a_small_image_is_one_tile_and_the_same_as_without(segmenter):
    image = np.random.default_rng(5).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    cache = EmbeddingCache()
    prompts = {"points": [[20, 30], [5, 5]], "labels": [1, 0]}
    (tiled,) = TiledImage(segmenter, image, cache=cache).predict(**prompts)
    (plain,) = segmenter.predict(cache.embed(segmenter, image), **prompts)
    assert (tiled.probabilities == plain.probabilities).all()
    assert (tiled.logits == plain.logits).all()
    assert cache.counts.computed == 1


def test_mask_prompts_are_cut_and_three_answers_come_back(segmenter, image):
    mask = np.zeros(image.shape[:2], np.float32)
    mask[60:80, 100:120] = 1
    found = TiledImage(segmenter, image, tile=64).predict(
        mask=mask, points=[[110, 70]], choice="all"
    )
    assert len(found) == 3
    assert all(one.mask.shape == image.shape[:2] for one in found)


def test_windows_are_those_of_the_whole_image(segmenter):
    image = np.zeros((150, 200, 1), np.uint16)
    image[:, 100:] = 4000
    image[10:20, 10:20] = 40  # hardly visible in the whole, white in a tile's own window
    shown = as_shown(image, segmenter.filters)
    assert shown[15, 15] < 5


def test_settings_out_of_range_are_refused(segmenter, image):
    with pytest.raises(SettingsError, match="halo"):
        TiledImage(segmenter, image, halo=0.5)
    with pytest.raises(SettingsError, match="tiles"):
        TiledImage(segmenter, image, tile=-1)
    assert reaches_on(np.eye(3), Tile(0, 0, 3, 3), (3, 4))


def test_any_of_all_masks_that_is_cut_sends_the_prompt_to_the_whole(segmenter, image):
    class SecondIsCut(Contained):
        def predict_prompts(self, embedding, prompts, *, choice):
            from dataclasses import replace

            first, second, *others = super().predict_prompts(embedding, prompts, choice=choice)
            return [first, replace(second, mask=np.ones_like(second.mask)), *others]

    cut = SecondIsCut(segmenter)
    found = TiledImage(cut, image, tile=64).predict(points=[[100, 80]], choice="all")
    assert len(found) == 3
    assert cut.embedded == [(64, 64), (150, 200)]
    assert found[1].mask.all()
