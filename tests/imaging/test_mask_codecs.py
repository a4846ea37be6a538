"""Masks, run lengths, polygons and PNG: every way round gives the same mask back."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging import rle
from penumbra.imaging.files import read_mask_file
from penumbra.imaging.polygons import (
    Polygon,
    mask_to_polygons,
    polygons_from_coco,
    polygons_to_coco,
    polygons_to_mask,
    signed_area,
)
from penumbra.imaging.write import write_mask

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def slow_counts(mask: NDArray[np.bool_]) -> list[int]:
    counts, current = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != current:
                current = not current
                counts.append(0)
            counts[-1] += 1
    return counts


def slow_string(counts: list[int]) -> str:
    """The algorithm of the COCO tools, number by number and bit by bit."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            five, value = value & 31, value >> 5
            ends = value == -1 if five & 16 else value == 0
            text += chr(48 + five + (0 if ends else 32))
            if ends:
                break
    return text


def slow_pairs(mask: NDArray[np.bool_]) -> str:
    height = mask.shape[0]
    inside = [p for p in range(mask.size) if mask[p % height, p // height]]
    words: list[int] = []
    for position in inside:
        if words and words[-2] + words[-1] == position + 1:
            words[-1] += 1
        else:
            words += [position + 1, 1]
    return " ".join(map(str, words))


def slow_inside(rings: list[NDArray[np.number]], x: float, y: float) -> bool:
    """Even–odd: how many borders lie to the left of a point or pass through it."""
    odd = False
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(
            ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True
        ):
            if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                odd = not odd
    return odd


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_every_form_gives_the_mask_back(mask: NDArray[np.bool_]) -> None:
    counts = rle.counts_of(mask)
    assert counts.tolist() == slow_counts(mask)
    assert (rle.mask_of_counts(counts, mask.shape) == mask).all()
    assert rle.compress(counts) == slow_string(counts.tolist())
    for compressed in (True, False):
        assert (rle.decode_coco(rle.encode_coco(mask, compressed=compressed)) == mask).all()
    assert rle.encode_pairs(mask) == slow_pairs(mask)
    assert (rle.decode_pairs(rle.encode_pairs(mask), mask.shape) == mask).all()
    assert (polygons_to_mask(mask_to_polygons(mask), mask.shape) == mask).all()


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0, 1, 2, 255]),
    )
)
def test_png_to_run_lengths_to_polygons_and_back(mask: NDArray[np.uint8]) -> None:
    rebuilt = np.zeros_like(mask)
    for value in (1, 2, 255):
        held = rle.decode_coco(rle.encode_coco(mask == value))
        rebuilt[polygons_to_mask(mask_to_polygons(held), mask.shape)] = value
    with tempfile.TemporaryDirectory() as folder:
        write_mask(Path(folder) / "mask.png", rebuilt, n_classes=3)
        assert (read_mask_file(Path(folder) / "mask.png") == mask).all()


@settings(max_examples=120, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_any_counts_pass_through_the_string(counts: list[int]) -> None:
    numbers = np.array(counts, dtype=np.int64)
    assert rle.compress(numbers) == slow_string(counts)
    assert rle.decompress(rle.compress(numbers)).tolist() == counts


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_polygons_are_simple_and_one_per_area(mask: NDArray[np.bool_]) -> None:
    polygons = mask_to_polygons(mask)
    assert len(polygons) == ndimage.label(mask)[1]
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    for polygon in polygons:
        assert signed_area(polygon.exterior) > 0
        assert all(signed_area(hole) < 0 for hole in polygon.holes)
        for ring in polygon.rings:
            assert len(np.unique(ring, axis=0)) == len(ring)
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps == 0).sum(axis=1) == 1).all()
            assert ((steps[:, 0] == 0) != (np.roll(steps, 1, axis=0)[:, 0] == 0)).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(3, 7), st.just(2)),
            elements=st.floats(-4, 14).map(lambda v: round(v * 4) / 4),
        ),
        min_size=1,
        max_size=3,
    ),
    SIZES,
)
def test_pixels_at_any_vertices_follow_the_stated_rule(
    rings: list[NDArray[np.float64]], size: tuple[int, int]
) -> None:
    drawn = polygons_to_mask([Polygon(rings[0], tuple(rings[1:]))], size)
    slow = [
        [slow_inside(list(rings), x + 0.5, y + 0.5) for x in range(size[1])] for y in range(size[0])
    ]
    assert drawn.tolist() == slow


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 8.9), st.floats(0.1, 8.9), st.floats(0, 9), st.floats(0, 9))
def test_polygons_that_share_a_border_share_no_pixel(
    x: float, y: float, top: float, bottom: float
) -> None:
    left = np.array([(0, 0), (top, 0), (x, y), (bottom, 9), (0, 9)])
    right = np.array([(9, 0), (9, 9), (bottom, 9), (x, y), (top, 0)])
    first, second = (polygons_to_mask([Polygon(ring)], (9, 9)) for ring in (left, right))
    assert (first ^ second).all()


def test_the_strings_that_the_coco_tools_write() -> None:
    pytest.importorskip("pycocotools")
    from pycocotools import mask as tools

    mask = np.random.default_rng(5).random((37, 53)) < 0.3
    theirs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle.encode_coco(mask) == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    assert (rle.decode_coco(theirs) == mask).all()


def test_a_large_mask_of_noise_survives() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(1).random((300, 400)), 1) > 0.5
    assert (polygons_to_mask(mask_to_polygons(mask), mask.shape) == mask).all()
    assert (rle.decode_coco(rle.encode_coco(mask)) == mask).all()


def test_coco_lists_are_read_and_written() -> None:
    mask = np.zeros((6, 7), dtype=np.uint8)
    mask[1:3, 2:6] = mask[4:, :1] = 1
    flat = polygons_to_coco(mask_to_polygons(mask))
    assert flat == [[2, 1, 6, 1, 6, 3, 2, 3], [0, 4, 1, 4, 1, 6, 0, 6]]
    assert (polygons_to_mask(polygons_from_coco(flat), (6, 7)) == mask).all()
    with pytest.raises(SettingsError, match="holes"):
        polygons_to_coco(mask_to_polygons([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"size": [2, 2]},
        {"size": [2, 2, 1], "counts": [4]},
        {"size": ["2", "2"], "counts": [4]},
        {"size": [0, 2], "counts": [0]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": [2.0, 2.0]},
        {"size": [2, 2], "counts": [[1], [1, 2]]},
        {"size": [2, 2], "counts": [0] * 99 + [4]},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": "T"},
        {"size": [2, 2], "counts": "4 "},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "oooooooooo0"},
        {"size": [2, 2], "counts": "4" * 1000},
        {"size": [2, 2], "counts": None},
        [2, 2],
    ],
)
def test_bad_coco_rle_is_refused(bad: object) -> None:
    with pytest.raises(ImageFileError, match="Expected"):
        rle.decode_coco(bad)  # type: ignore[arg-type]


def test_a_coco_rle_of_another_size_is_refused() -> None:
    with pytest.raises(ImageFileError, match="that of its image"):
        rle.decode_coco({"size": [2, 2], "counts": [4]}, size=(2, 3))


@pytest.mark.parametrize(
    "text",
    ["1", "a 1", "0 1", "1 0", "4 2", "1 2 2 1", "3 1 1 1", "-1 2", "١ ١", "1.0 2", "1 " * 200],
)
def test_bad_pairs_are_refused(text: str) -> None:
    with pytest.raises(ImageFileError, match="Expected"):
        rle.decode_pairs(text, (2, 2))


@pytest.mark.parametrize(
    "ring",
    [
        [(0, 0), (1, 1)],
        [(0, 0), (1, np.nan), (2, 2)],
        [(0, 0), (1, np.inf), (2, 2)],
        [(0, 0), (1e9, 0), (2, 2)],
    ],
)
def test_bad_rings_are_refused(ring: list[tuple[float, float]]) -> None:
    with pytest.raises(ImageFileError, match="Expected"):
        polygons_to_mask([Polygon(np.array(ring))], (3, 3))


def test_a_polygon_of_endless_borders_is_refused() -> None:
    zigzag = np.array([(0.5, 0), (0.6, 50)] * 40_000)
    with pytest.raises(ImageFileError, match="borders"):
        polygons_to_mask([Polygon(zigzag)], (50, 50))


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 1)), np.array([[0, 255]]), np.array([[0.5]])])
def test_masks_of_more_than_two_values_are_refused(mask: NDArray[np.generic]) -> None:
    for encode in (rle.encode_coco, rle.encode_pairs, mask_to_polygons):
        with pytest.raises(SettingsError, match="Expected `mask`"):
            encode(mask)
