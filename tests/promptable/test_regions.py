"""Regions keep their mask; specks go by rules that scikit-image applies too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from penumbra.errors import SettingsError
from penumbra.imaging.rle import decode_coco
from penumbra.promptable.grid import grid_points, plan_crops
from penumbra.promptable.regions import label_map, region_of, tight_box, without_specks

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def region(mask, **changes):
    facts = {"predicted_iou": 0.9, "stability": 0.8, "point": (1.0, 2.0)} | changes
    return region_of(mask, **facts)


def cleaned_by_loops(mask, least):
    holes = label(np.pad(~mask, 1, constant_values=True), connectivity=1, background=0)
    outside, mask = holes[0, 0], mask.copy()
    for one in set(np.unique(holes)) - {0, outside}:
        part = holes[1:-1, 1:-1] == one
        if part.sum() < least:
            mask |= part
    islands = label(mask, connectivity=2)
    sizes = {one: int((islands == one).sum()) for one in np.unique(islands) if one}
    largest = max(sizes.values(), default=0)
    first = next((one for one, size in sizes.items() if size == largest), 0)
    keep = [one for one, size in sizes.items() if size >= least or one == first]
    return np.isin(islands, keep)


@settings(max_examples=150, deadline=None)
@given(mask=MASKS, least=st.integers(0, 9))
def test_specks_go_as_a_plain_loop_says(mask, least):
    result = without_specks(mask, least=least)
    if least <= 1:
        assert (result == mask).all()
        return
    reference = cleaned_by_loops(mask, least)
    # Which of several largest islands stays, where all are too small, is the labelling's order.
    assert result.sum() == reference.sum()
    assert result.any() == mask.any()
    if (np.bincount(label(reference, connectivity=2).ravel())[1:] >= least).any():
        assert (result == reference).all()


def test_a_hole_at_the_border_is_none():
    mask = np.ones((5, 5), bool)
    mask[0, 2] = False
    mask[3, 3] = False
    result = without_specks(mask, least=4)
    assert not result[0, 2]
    assert result[3, 3]


@settings(max_examples=100, deadline=None)
@given(mask=MASKS)
def test_a_region_keeps_its_mask(mask):
    found = region(mask)
    if found is None:
        assert not mask.any()
        return
    assert (found.mask == mask).all()
    assert found.area == mask.sum()
    x0, y0, x1, y1 = found.box
    assert (mask[y0:y1, x0:x1].sum(), tight_box(mask)) == (mask.sum(), found.box)
    assert mask[y0].any()
    assert mask[:, x1 - 1].any()
    assert (decode_coco(found.to_json()["segmentation"]) == mask).all()


def test_labels_lay_parts_over_wholes():
    whole, part = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    part[1:3, 1:3] = True
    labels = label_map([region(part), region(whole)], (4, 6))
    assert labels.dtype == np.uint16
    assert ((labels == 1) == part).all()
    assert ((labels == 2) == ~part).all()
    with pytest.raises(SettingsError, match="of size"):
        label_map([region(whole)], (6, 4))


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 0.5),
)
def test_every_layer_of_crops_covers_the_image(height, width, layers, overlap):
    crops = plan_crops((height, width), layers=layers, overlap=overlap)
    assert crops[0].tile.window == (slice(0, height), slice(0, width))
    for layer in range(layers + 1):
        seen = np.zeros((height, width), bool)
        windows = [crop.tile for crop in crops if crop.layer == layer]
        assert len(set(windows)) == len(windows) <= 4**layer
        for tile in windows:
            assert tile.top + tile.height <= height
            assert tile.left + tile.width <= width
            seen[tile.window] = True
        assert seen.all()


@pytest.mark.parametrize("per_side", [1, 3, 8])
def test_the_grid_spreads_evenly(per_side):
    points = grid_points((30, 60), per_side=per_side)
    assert points.shape == (per_side**2, 2)
    # Whole numbers are the centres of pixels, so the middle of 30 × 60 lies between two of them.
    assert points.mean(axis=0).tolist() == pytest.approx([29.5, 14.5])
    assert (points > 0).all()
    assert (points < [60, 30]).all()
