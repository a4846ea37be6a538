"""Where cards lie in their frames: read from real files, or drawn from their description."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.data.cards import Geometry, described, leaves, read_geometry, share_outside
from penumbra.data.cards.quads import Frames, parts_of, quads_of
from penumbra.errors import SourceError
from penumbra.imaging.polygons import Polygon, polygons_to_mask

FRAME = (640.0, 1138.0)
BOX = [[100, 500], [900, 520], [910, 1100], [90, 1090]]


def coco(quads, size=(1080, 1920)) -> dict:
    images = [{"id": n, "width": size[0], "height": size[1]} for n in range(len(quads))]
    annotations = [
        {"image_id": n, "segmentation": [list(np.ravel(quad).tolist())]}
        for n, quad in enumerate(quads)
    ]
    return {"images": images, "annotations": annotations}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-40, 40), min_size=8, max_size=8),
    st.floats(-1, 1),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_parts_give_the_corners_back(jitter, angle, shift):
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    box = np.array([(-250, -150), (250, -150), (250, 150), (-250, 150)])
    quad = (box + np.reshape(jitter, (4, 2))) @ turn + shift
    again = quads_of(parts_of(quad[None], FRAME), FRAME)[0]
    assert np.allclose(again, quad, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-80, 80), st.floats(-80, 80), st.floats(-0.6, 0.6))
def test_the_share_outside_is_that_of_the_pixels(right, down, angle):
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = np.array([(-40, -25), (40, -25), (40, 25), (-40, 25)]) @ turn + (50 + right, 60 + down)
    whole = polygons_to_mask([Polygon(quad + 200)], (520, 500)) > 0
    inside = whole[200:320, 200:300].sum() / whole.sum()
    assert share_outside(quad, (100, 120)) == pytest.approx(1 - inside, abs=0.02)


def test_described_frames_are_left_as_often_as_the_description_says():
    rng = np.random.default_rng(0)
    quads = [described().draw(rng, FRAME) for _ in range(1500)]
    assert np.mean([leaves(q, FRAME) for q in quads]) == pytest.approx(
        described().leaving, abs=0.04
    )
    assert max(share_outside(quad, FRAME) for quad in quads) < 1
    for quad in quads:
        edges = np.roll(quad, -1, axis=0) - quad
        after = np.roll(edges, -1, axis=0)
        assert (edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0] > 0).all()


def test_a_description_is_like_what_it_describes():
    rng = np.random.default_rng(5)
    base = described()
    quads = np.array([base.draw(rng, FRAME) for _ in range(800)])
    again = Frames.from_json(json.loads(json.dumps(Frames.of(quads, FRAME, "drawn").to_json())))
    drawn = np.array([again.draw(rng, FRAME) for _ in range(800)])
    one, other = parts_of(quads, FRAME), parts_of(drawn, FRAME)
    for column in range(8):
        spread = np.quantile(one[:, column], 0.95) - np.quantile(one[:, column], 0.05)
        for level in (0.25, 0.5, 0.75):
            gap = np.quantile(one[:, column], level) - np.quantile(other[:, column], level)
            assert abs(gap) < 0.15 * spread


def test_quadrilaterals_are_read_from_coco_and_scaled(tmp_path):
    file = tmp_path / "quads.json"
    file.write_text(json.dumps(coco([BOX])))
    geometry = read_geometry(file)
    drawn = geometry.draw(np.random.default_rng(0), (540, 960))
    assert np.allclose(drawn, np.array(BOX) / 2)
    # A frame of another ratio keeps the card's shape.
    square = geometry.draw(np.random.default_rng(0), (540, 540))
    assert np.allclose(square - square.mean(axis=0), drawn - drawn.mean(axis=0))


def test_quadrilaterals_are_read_from_midv_files_at_any_depth(tmp_path):
    for number in range(3):
        folder = tmp_path / f"doc{number}" / "ground_truth" / "CA"
        folder.mkdir(parents=True)
        (folder / "CA_01.json").write_text(json.dumps({"quad": BOX}))
    geometry = read_geometry(tmp_path)
    assert len(geometry.quads) == 3
    assert np.allclose(geometry.draw(np.random.default_rng(0), (1080, 1920)), BOX)


def test_broken_quadrilaterals_are_passed_over(tmp_path):
    document = coco([BOX, BOX[::-1], [[5000, 0], [6000, 0], [6000, 500], [5000, 500]]])
    document["annotations"] += [
        {"image_id": 0, "segmentation": [[1, 2, 3]]},
        {"image_id": 99, "segmentation": [list(np.ravel(BOX).tolist())]},
        {"image_id": [0], "segmentation": [list(np.ravel(BOX).tolist())]},
        {"image_id": 0, "segmentation": [[float("nan")] * 8]},
        {"image_id": 0, "segmentation": {"counts": "x"}},
        "nonsense",
    ]
    file = tmp_path / "quads.json"
    file.write_text(json.dumps(document))
    assert len(read_geometry(file).quads) == 1


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"quad": [[1, 2]]}', "[" * 100_000])
def test_files_without_a_quadrilateral_are_refused(tmp_path, text):
    file = tmp_path / "quads.json"
    file.write_text(text)
    with pytest.raises(SourceError, match="Expected"):
        read_geometry(file)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="geometry"):
        read_geometry(tmp_path / "nowhere.json")
    with pytest.raises(SourceError, match="0 JSON files"):
        read_geometry(tmp_path)


@pytest.mark.real_data
def test_real_frames_are_left_as_often_as_in_their_file_and_in_the_description(real_data):
    geometry = read_geometry(real_data / "midv500" / "midv500_coco.json")
    assert len(geometry.quads) == 600
    real = np.mean([leaves(quad, frame) for quad, frame in geometry.quads])
    assert described().leaving == pytest.approx(real, abs=1e-3)
    rng = np.random.default_rng(1)
    for source in (geometry, Geometry()):
        quads = [source.draw(rng, (640, 1138)) for _ in range(1500)]
        assert np.mean([leaves(q, FRAME) for q in quads]) == pytest.approx(real, abs=0.04)
        mean = np.mean([share_outside(q, FRAME) for q in quads])
        truth = np.mean([share_outside(quad, frame) for quad, frame in geometry.quads])
        assert mean == pytest.approx(truth, abs=0.02)
    assert len(read_geometry(real_data / "midv500" / "data").quads) == 90


@pytest.mark.real_data
def test_the_description_holds_no_real_quadrilateral(real_data):
    """Its quantiles come from many frames each, and a draw never is one of them."""
    geometry = read_geometry(real_data / "midv500" / "midv500_coco.json")
    real = np.array([quad for quad, _ in geometry.quads])
    rng = np.random.default_rng(2)
    drawn = np.array([described().draw(rng, (1080.0, 1920.0)) for _ in range(300)])
    nearest = np.abs(drawn[:, None] - real[None]).max(axis=(2, 3)).min(axis=1)
    assert nearest.min() > 0.05
    assert np.median(nearest) > 5
