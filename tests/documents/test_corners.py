"""Corners are found where the card's sides meet, whatever covers, rounds or roughens them."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.data.cards import leaves, read_geometry
from penumbra.documents import RectifySettings, corners_of
from penumbra.documents.corners import true_ratio
from penumbra.documents.hidden_side import placement_doubt
from penumbra.errors import SettingsError
from penumbra.imaging.polygons import Polygon, polygons_to_mask

SIZE = (480, 640)

views = st.fixed_dictionaries(
    {
        "width": st.floats(150, 330),
        "turn": st.floats(-np.pi, np.pi),
        "tilt": st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
        "middle": st.tuples(st.floats(290, 350), st.floats(220, 260)),
    }
)


def mask_of(quad, size=SIZE):
    return polygons_to_mask([Polygon(tuple(map(tuple, quad)))], size).astype(np.float32)


def rough(mask, seed, amount=0.12):
    """Blur a mask and let its border wander by a few pixels, as a network's does."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), 6)
    soft = cv2.GaussianBlur(mask, (0, 0), 3)
    return np.clip(soft + amount * noise / noise.std() * ((soft > 0.02) & (soft < 0.98)), 0, 1)


@settings(max_examples=25, deadline=None)
@given(view=views)
def test_corners_of_a_photographed_card_are_found(scene, view):
    quad = scene.seen_quad(**view)
    found = corners_of(mask_of(quad))
    assert scene.worst_corner(found.points, quad) < 0.004


@settings(max_examples=20, deadline=None)
@given(view=views, corner=st.integers(0, 3), seed=st.integers(0, 99))
def test_a_covered_corner_and_a_rough_outline_are_survived(scene, view, corner, seed):
    quad = scene.seen_quad(**view | {"width": 250 + view["width"] / 4})
    mask = rough(mask_of(quad), seed)
    shorter = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1).min()
    cv2.circle(mask, tuple(int(v) for v in quad[corner]), int(0.35 * shorter), 0, -1)
    found = corners_of(mask)
    assert scene.worst_corner(found.points, quad) < 0.025


@settings(max_examples=20, deadline=None)
@given(view=views)
def test_four_lines_beat_the_outlines_extreme_points_at_rounded_corners(scene, view):
    quad = scene.seen_quad(**view)
    card = np.zeros((540, 856), np.uint8)
    # Rounded as ISO/IEC 7810 has it: 3.18 mm.
    cv2.rectangle(card, (32, 0), (823, 539), 1, -1)
    cv2.rectangle(card, (0, 32), (855, 507), 1, -1)
    for x in (32, 823):
        for y in (32, 507):
            cv2.circle(card, (x, y), 32, 1, -1)
    source = np.array([[0, 0], [856, 0], [856, 540], [0, 540]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(source, (quad - 0.5).astype(np.float32))
    mask = cv2.warpPerspective(card.astype(np.float32), matrix, SIZE[::-1])
    found = scene.worst_corner(corners_of(mask).points, quad)
    # The point of the mask that is nearest to a corner, the best that extreme points can do.
    inside = np.argwhere(mask >= 0.5)[:, ::-1] + 0.5
    nearest = [np.linalg.norm(inside - corner, axis=1).min() for corner in quad]
    assert found < 0.006
    assert found < max(nearest) / np.linalg.norm(quad[2] - quad[0])


def test_corners_may_lie_outside_the_frame(scene):
    quad = scene.seen_quad(width=400, turn=0.25, middle=(250, 160))
    assert quad.min() < -5
    found = corners_of(mask_of(quad))
    assert scene.worst_corner(found.points, quad) < 0.01
    assert found.points.min() < -5


@pytest.mark.parametrize(
    ("turn", "middle", "side"),
    [
        (0.05, (520, 240), "right"),
        (3.2, (120, 240), "left"),
        (-0.1, (118, 250), "left"),
        (1.55, (320, 330), "bottom"),
    ],
)
@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.2, 0.2), (-0.2, 0.1)])
def test_a_short_side_outside_the_frame_is_placed_by_the_ratio(scene, turn, middle, side, tilt):
    quad = scene.seen_quad(width=400, turn=turn, tilt=tilt, middle=middle)
    upright = RectifySettings(size=(270, 428)) if side == "bottom" else None
    found = corners_of(mask_of(quad), settings=upright)
    assert found.assumed == (side,)
    number = ("top", "right", "bottom", "left").index(side)
    doubt = placement_doubt(found.points, number, SIZE, RectifySettings().ratio)
    # Where the frame's middle lies on the side that is seen, nothing tells how the card is tilted;
    # `rectify` refuses that, and all others are placed as well as sides that are seen.
    assert scene.worst_corner(found.points, quad) < (0.04 if doubt > 0.12 else 0.003)


def test_a_long_side_outside_the_frame_is_not_guessed(scene):
    quad = scene.seen_quad(width=400, middle=(320, 370))
    assert quad[2:, 1].min() > 485
    assert corners_of(mask_of(quad)) is None


def test_probabilities_place_a_border_between_pixels():
    y, x = np.mgrid[0:100, 0:160] + 0.5
    low, high = np.array([20.3, 30.8]), np.array([130.6, 77.2])
    away = np.minimum.reduce([x - low[0], high[0] - x, y - low[1], high[1] - y])
    found = corners_of(np.clip(0.5 + away / 4, 0, 1)).points
    expected = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_holes_are_filled(scene):
    quad = scene.seen_quad(turn=0.3)
    mask = mask_of(quad)
    holed = mask.copy()
    cv2.circle(holed, (320, 240), 40, 0, -1)
    cv2.circle(holed, (260, 220), 9, 0, -1)
    np.testing.assert_array_equal(corners_of(holed).points, corners_of(mask).points)


@pytest.mark.parametrize("degrees", [-80, -40, -5, 0, 5, 40, 80])
def test_the_first_corner_starts_the_long_side_that_is_on_top(scene, degrees):
    quad = scene.seen_quad(turn=np.deg2rad(degrees))
    found = corners_of(mask_of(quad))
    np.testing.assert_allclose(found.points, quad, atol=1.0)
    assert found.rotations == (0, 180)
    assert found.ratio == pytest.approx(85.60 / 53.98, rel=0.02)


def test_an_upright_size_puts_the_short_side_on_top(scene):
    quad = scene.seen_quad(turn=np.deg2rad(85), tilt=(0.2, 0.1))
    found = corners_of(mask_of(quad), settings=RectifySettings(size=(270, 428)))
    assert found.ratio == pytest.approx(53.98 / 85.60, rel=0.02)
    assert found.points[0, 1] < found.points[3, 1]


def test_nobody_can_say_which_way_a_square_lies():
    mask = np.zeros((200, 200))
    mask[50:150, 40:140] = 1
    assert corners_of(mask).rotations == (0, 90, 180, 270)


@given(view=views)
def test_the_ratio_is_that_of_the_card_and_not_of_its_picture(scene, view):
    quad = scene.seen_quad(**view)
    assert true_ratio(quad, SIZE) == pytest.approx(85.60 / 53.98, rel=1e-6)


@pytest.mark.parametrize("mask", [np.zeros((40, 40)), np.eye(40), np.pad([[1.0]], 30)])
def test_what_is_no_card_has_no_corners(mask):
    assert corners_of(mask) is None


@pytest.mark.parametrize("mask", [np.zeros(4), np.full((9, 9), 2), np.full((9, 9), np.nan)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(SettingsError, match=r"Expected `mask` to be .* Try "):
        corners_of(mask)


@pytest.mark.real_data
def test_corners_of_a_real_card_come_back_from_its_mask(real_data, scene):
    folder = real_data / "midv500" / "data" / "43_tur_id" / "ground_truth" / "CA"
    quad = np.array(json.loads((folder / "CA43_01.json").read_text())["quad"], float)
    found = corners_of(mask_of(quad, (1920, 1080)))
    away = np.linalg.norm(found.points - quad, axis=1)
    assert away.max() < 0.005 * np.linalg.norm(quad[2] - quad[0])


@pytest.mark.real_data
def test_quads_of_real_photographs_come_back_where_their_sides_are_seen(real_data, scene):
    document = json.loads((real_data / "midv500" / "midv500_coco.json").read_text())
    quads = [np.reshape(each["segmentation"][0], (4, 2)) for each in document["annotations"]]
    whole = [q for q in quads if q.min() > 3 and (q < np.array([1080, 1920]) - 3).all()]
    assert len(whole) > 300
    for quad in whole[::12]:
        found = corners_of(mask_of(quad, (1920, 1080)))
        assert scene.worst_corner(found.points, quad) < 0.005
        assert max(found.ratio, 1 / found.ratio) == pytest.approx(1.586, rel=0.2)


@pytest.mark.real_data
def test_the_ratio_of_every_whole_real_card_is_found(real_data):
    known = read_geometry(real_data / "midv500" / "midv500_coco.json").quads
    whole = [(quad, size) for quad, size in known if not leaves(quad, size)]
    assert len(whole) > 300
    found = np.array([true_ratio(quad, (int(size[1]), int(size[0]))) for quad, size in whole])
    assert np.abs(found / (85.60 / 53.98) - 1).max() <= 0.04
