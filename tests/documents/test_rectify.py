"""A straight crop is complete and the right way round, or there is none and the reason is said."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.documents import Rectified, RectifySettings, Refused, rectify, rectify_all
from penumbra.documents.quality import RAMPS, quality_of
from penumbra.documents.warp import homography
from penumbra.errors import SettingsError

SIZE = (480, 640)


def soft(mask):
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)


def crop_of(scene, quad, *, mask=None, image=None, **options):
    drawn, true = scene.photograph(quad, SIZE)
    likely = soft(true if mask is None else mask)
    shown = drawn if image is None else image
    chosen = RectifySettings(**options)
    return rectify(shown, scene.prediction_of(likely), settings=chosen)


def reasons_of(found):
    assert isinstance(found, Refused)
    assert found.reasons
    return " ".join(found.reasons)


@settings(max_examples=15, deadline=None)
@given(turn=st.floats(-1.2, 1.2), tilt=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)))
def test_a_crop_shows_the_card_as_it_was_printed(scene, turn, tilt):
    found = crop_of(scene, scene.seen_quad(turn=turn, tilt=tilt), size=(428, 270))
    assert isinstance(found, Rectified)
    away = np.abs(found.image.astype(float) - scene.printed_card())
    blocks = cv2.resize(away.mean(axis=2), (16, 10), interpolation=cv2.INTER_AREA)
    assert np.median(blocks) < 25
    # The coloured corners tell which way round it is.
    assert found.image[20:50, 20:80].mean(axis=(0, 1)).argmax() == 0
    assert found.image[-50:-20, -80:-20].mean(axis=(0, 1)).argmax() == 2


def test_the_homography_takes_corners_to_corners(scene):
    quad = scene.seen_quad(turn=0.4, tilt=(0.3, 0.2))
    at = np.column_stack([quad, np.ones(4)]) @ homography(quad, (856, 540)).T
    expected = [[0, 0], [856, 0], [856, 540], [0, 540]]
    np.testing.assert_allclose(at[:, :2] / at[:, 2:], expected, atol=1e-6)
    theirs = cv2.getPerspectiveTransform(quad.astype(np.float32), np.array(expected, np.float32))
    np.testing.assert_allclose(homography(quad, (856, 540)), theirs, rtol=1e-3, atol=1e-6)


def test_without_a_size_the_crop_has_the_ratio_of_id1(scene):
    found = crop_of(scene, scene.seen_quad(turn=0.3))
    height, width = found.uncertainty.shape
    assert width / height == pytest.approx(85.60 / 53.98, abs=0.01)
    assert width == pytest.approx(300, abs=3)
    assert found.image.shape == (height, width, 3)


@pytest.mark.parametrize("size", [(64, 40), (1000, 500), (270, 428)])
def test_a_size_is_kept(scene, size):
    found = crop_of(scene, scene.seen_quad(), size=size)
    assert found.uncertainty.shape == size[::-1]


@pytest.mark.parametrize(
    ("dtype", "most"),
    [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0), (np.float32, 255), (np.float32, 4e4)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_keeps_the_photographs_type(scene, dtype, most, channels):
    quad = scene.seen_quad()
    image = scene.photograph(quad, SIZE)[0][..., :channels]
    found = crop_of(scene, quad, image=(image / 255 * most).astype(dtype))
    assert found.image.dtype == dtype
    assert found.image.shape[2] == channels


def test_doubt_is_warped_with_the_card(scene):
    quad = scene.seen_quad(turn=0.5)
    image, mask = scene.photograph(quad, SIZE)
    likely = soft(mask)
    x, y = quad.mean(axis=0).astype(int)
    likely[y - 6 : y + 6, x - 6 : x + 6] = 0.7
    found = rectify(image, scene.prediction_of(likely))
    height, width = found.uncertainty.shape
    assert found.uncertainty[height // 2, width // 2] == pytest.approx(0.6109, abs=0.01)
    assert found.uncertainty[height // 4, width // 4] < 0.01


def test_what_the_photograph_does_not_show_is_black_and_in_doubt(scene):
    quad = scene.seen_quad(width=300, turn=0.3, middle=(158, 260))
    assert quad.min() < -3
    found = crop_of(scene, quad)
    assert isinstance(found, Rectified)
    hidden = found.uncertainty == np.float32(np.log(2))
    assert 0.001 < hidden.mean() < 0.3
    assert (found.image[hidden] == 0).all()
    assert found.quality.measured["inside"] < 1


def test_an_empty_mask_is_refused(scene):
    image = np.full((*SIZE, 3), 90, np.uint8)
    found = rectify(image, scene.prediction_of(np.full(SIZE, 0.2)))
    assert "no card is in the frame" in reasons_of(found)
    assert "0.20" in reasons_of(found)


def test_specks_are_refused(scene):
    mask = np.zeros(SIZE, np.float32)
    mask[3::40, 5::40] = 1
    image = np.full((*SIZE, 3), 90, np.uint8)
    assert "too small" in reasons_of(rectify(image, scene.prediction_of(mask)))


def test_a_black_image_is_refused(scene):
    quad = scene.seen_quad()
    found = crop_of(scene, quad, image=np.zeros((*SIZE, 3), np.uint8))
    assert "blurred" in reasons_of(found)


def test_a_blurred_card_is_refused(scene):
    quad = scene.seen_quad()
    image = cv2.GaussianBlur(scene.photograph(quad, SIZE)[0], (0, 0), 7)
    assert "blurred" in reasons_of(crop_of(scene, quad, image=image))


def test_glare_is_refused(scene):
    quad = scene.seen_quad()
    image = scene.photograph(quad, SIZE)[0]
    cv2.circle(image, (330, 240), 80, (255, 255, 255), -1)
    assert "glare" in reasons_of(crop_of(scene, quad, image=image))


def test_a_border_in_doubt_is_refused(scene):
    quad = scene.seen_quad()
    image, mask = scene.photograph(quad, SIZE)
    unsure = 0.3 + 0.4 * mask.astype(np.float32)
    assert "in doubt" in reasons_of(rectify(image, scene.prediction_of(unsure)))


def test_half_a_card_is_refused(scene):
    found = crop_of(scene, scene.seen_quad(width=400, middle=(20, 240)))
    assert reasons_of(found)


def bent(kind):
    mask = np.zeros(SIZE, np.uint8)
    if kind == "ellipse":
        cv2.ellipse(mask, (320, 240), (190, 120), 20, 0, 360, 1, -1)
    elif kind == "triangle":
        cv2.fillConvexPoly(mask, np.array([[100, 400], [320, 60], [560, 380]]), 1)
    elif kind == "crescent":
        cv2.ellipse(mask, (320, 240), (190, 120), 0, 0, 360, 1, -1)
        cv2.ellipse(mask, (320, 150), (190, 100), 0, 0, 360, 0, -1)
    elif kind == "barrel":
        along = np.linspace(-1, 1, 60)
        top = np.stack([320 + 190 * along, 120 - 50 * (1 - along**2)], axis=1)
        below = np.stack([320 - 190 * along, 360 + 50 * (1 - along**2)], axis=1)
        cv2.fillPoly(mask, [np.concatenate([top, below]).astype(np.int32)], 1)
    elif kind == "hexagon":
        turns = np.arange(6) * np.pi / 3
        points = np.stack([320 + 200 * np.cos(turns), 240 + 150 * np.sin(turns)], axis=1)
        cv2.fillConvexPoly(mask, points.astype(np.int32), 1)
    elif kind == "two touching":
        mask[150:300, 70:310] = mask[150:300, 308:548] = 1
    return mask


@pytest.mark.parametrize(
    "kind", ["ellipse", "triangle", "crescent", "barrel", "hexagon", "two touching"]
)
def test_what_is_no_card_is_refused(scene, kind):
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    found = rectify(image, scene.prediction_of(soft(bent(kind))))
    reasons_of(found)
    assert found.quality is None or found.quality.score < 0.5


def two_cards(scene):
    first = scene.seen_quad(width=260, turn=0.2, middle=(180, 200))
    second = scene.seen_quad(width=200, turn=-0.3, middle=(480, 330))
    image, mask = scene.photograph(first, SIZE)
    other, its = scene.photograph(second, SIZE)
    return (first, second), np.where(its[..., None] > 0, other, image), mask | its


def test_of_two_cards_the_larger_is_cropped(scene):
    (first, _), image, mask = two_cards(scene)
    found = rectify(image, scene.prediction_of(soft(mask)))
    assert scene.worst_corner(found.corners.points, first) < 0.01
    assert found.further == found.to_json()["further_cards"] == 1


def test_an_image_that_the_presence_rule_emptied_has_no_card(scene):
    quad = scene.seen_quad()
    image, mask = scene.photograph(quad, SIZE)
    emptied = dataclasses.replace(scene.prediction_of(mask), emptied=True)
    assert "presence rule" in reasons_of(rectify(image, emptied))


@pytest.mark.parametrize(("column", "refused"), [(118, True), (121, True), (158, False)])
def test_a_side_that_nothing_places_is_not_guessed(scene, column, refused):
    # The side that is seen passes the frame's middle by 0, 3 and 40 pixels.
    quad = scene.seen_quad(width=400, turn=-0.1, middle=(column, 250))
    found = crop_of(scene, quad, assume_sides=True)
    assert found.corners.assumed == ("left",)
    assert found.quality.parts["placement"] == (0 if refused else 1)
    if refused:
        assert "cannot be told" in reasons_of(found)
    else:
        assert isinstance(found, Rectified)
        assert scene.worst_corner(found.corners.points, quad) < 0.01


def test_a_card_without_a_side_is_refused_unless_asked_for(scene):
    quad = scene.seen_quad(width=400, turn=-0.1, middle=(158, 250))
    refused = crop_of(scene, quad)
    assert isinstance(refused, Refused)
    assert "left side is outside the frame" in reasons_of(refused)
    assert refused.corners.assumed == ("left",)
    assert refused.assumable
    assert isinstance(crop_of(scene, quad, assume_sides=True), Rectified)
    # No promise where the other sides do not tell enough, or the crop would not be good enough.
    beyond = crop_of(scene, quad, limit=1.0)
    assert isinstance(crop_of(scene, quad, limit=1.0, assume_sides=True), Refused)
    assert "left side is outside the frame" in reasons_of(beyond)
    assert not beyond.assumable


def test_all_cards_are_cropped_where_all_are_asked_for(scene):
    quads, image, mask = two_cards(scene)
    found = rectify_all(image, scene.prediction_of(soft(mask)))
    assert len(found) == 2
    assert [card.further for card in found] == [0, 0]
    for card, quad in zip(found, quads, strict=True):
        assert scene.worst_corner(card.corners.points, quad) < 0.01


def test_another_size_of_image_is_an_error(scene):
    with pytest.raises(SettingsError, match="Expected `image` to be of shape"):
        rectify(np.zeros((4, 4, 3), np.uint8), scene.prediction_of(np.zeros((5, 5))))


def test_the_score_is_the_least_part_and_each_part_stays_in_its_range():
    worst = {name: ramp.worst for name, ramp in RAMPS.items()}
    best = {name: ramp.best for name, ramp in RAMPS.items()}
    assert quality_of(best).score == 1
    for name, ramp in RAMPS.items():
        one = quality_of(best | {name: (ramp.worst + ramp.best) / 2})
        assert one.score == pytest.approx(0.5)
        assert len(one.reasons(0.6)) == 1
        beyond = quality_of(worst | {name: 2 * ramp.worst - ramp.best})
        assert beyond.parts[name] == 0


def test_json_says_what_was_found_and_what_is_not_known(scene):
    found = crop_of(scene, scene.seen_quad())
    document = found.to_json()
    assert list(document["corners"]) == ["top_left", "top_right", "bottom_right", "bottom_left"]
    assert document["rotation"] == {"known": False, "candidates": [0, 180]}
    assert document["quality"]["score"] == found.quality.score
    refused = crop_of(scene, scene.seen_quad(), limit=1.0, mask=bent("hexagon")).to_json()
    assert refused["refused"]
    assert refused["reasons"]
