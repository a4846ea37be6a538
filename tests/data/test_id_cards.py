"""Generated photographs of cards: what is drawn agrees with what is told about it."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.data.cards import Draw, make_id_cards, photograph, read_corners
from penumbra.data.cards.words import machine_line, value
from penumbra.data.layouts import open_source
from penumbra.errors import SettingsError, SourceError, StorageError

FRAME = (90, 160)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cards(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cards") / "set"
    make_id_cards(out, count=12, frame=FRAME, seed=3, templates=5, upside_down=0.5)
    return out


def test_the_set_opens_as_a_folder_with_groups(cards):
    source = open_source(f"folder:{cards}")
    assert len(source) == 12
    assert source.findings == ()
    assert {record.group for record in source.records} == {f"cards_{n:04d}" for n in range(5)}
    assert source[0].image.shape == (160, 90, 3)
    assert json.loads((cards / "id_cards.json").read_text())["frame"] == [90, 160]


def test_corners_agree_with_masks_wherever_they_lie(cards):
    truths = read_corners(cards)
    for sample in open_source(f"folder:{cards}"):
        truth = truths[sample.id]
        # An independent rasteriser: OpenCV fills a canvas that is larger than the frame on all
        # sides, eight times as fine, and what lies in the frame is cut out.
        fine, edge = 8, 200
        canvas = np.zeros(((160 + 2 * edge) * fine, (90 + 2 * edge) * fine), np.uint8)
        cv2.fillPoly(canvas, [np.rint((truth.corners + edge) * fine).astype(np.int32)], 1)
        inner = canvas[edge * fine : -edge * fine, edge * fine : -edge * fine]
        filled = inner.reshape(160, fine, 90, fine).mean(axis=(1, 3)) >= 0.5
        mask = sample.mask > 0
        assert (filled & mask).sum() / (filled | mask).sum() > 0.97
        assert truth.size == mask.shape


def test_a_card_is_seen_where_its_corners_say():
    """Straightened by the told corners, a photograph shows the card that was drawn."""
    photo = photograph(Draw(seed=0, index=4, template=0, background=4, frame=(320, 569)))
    size = (253, 160)
    ends = np.array([(0, 0), (size[0], 0), size, (0, size[1])], np.float32) - np.float32(0.5)
    others = photograph(Draw(seed=0, index=4, template=7, background=4, frame=(320, 569)))
    assert np.array_equal(photo.corners, others.corners)
    crops = []
    for made in (photo, others):
        back = cv2.getPerspectiveTransform((made.corners - 0.5).astype(np.float32), ends)
        crops.append(cv2.warpPerspective(made.image, back, size).astype(float))
    from penumbra.data.cards.draws import stream
    from penumbra.data.cards.face import card_face, template

    face = card_face(template(0, 0), stream(0, "person", 4))
    drawn = cv2.resize(face, size, interpolation=cv2.INTER_AREA).astype(float)
    alike = [np.corrcoef(crop.ravel(), drawn.ravel())[0, 1] for crop in crops]
    assert alike[0] > 0.8
    assert alike[0] > alike[1] + 0.15


def test_outside_the_quadrilateral_the_template_changes_nothing_far_away():
    one, other = (
        photograph(Draw(seed=0, index=4, template=t, background=4, frame=(160, 284)))
        for t in (0, 7)
    )
    far = cv2.dilate(one.mask, np.ones((25, 25), np.uint8)) == 0
    assert far.sum() > 1000
    # Grain is the same draw; light and blur are the same too.
    assert np.array_equal(one.image[far], other.image[far])
    assert not np.array_equal(one.image, other.image)


def test_fingers_and_things_cover_some_cards_but_leave_their_masks_whole():
    photos = [
        photograph(Draw(seed=1, index=i, template=0, background=i, frame=FRAME)) for i in range(40)
    ]
    covered = np.array([photo.covered for photo in photos])
    assert 0.15 < (covered > 0.005).mean() < 0.65
    assert covered.max() < 0.6
    for photo in photos:
        whole = photo.mask.sum() / (1 - photo.outside)
        x, y = photo.corners.T
        area = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
        assert whole == pytest.approx(area, rel=0.08, abs=40)


def test_the_same_bytes_for_any_number_of_processes_and_any_count(cards, tmp_path):
    make_id_cards(tmp_path / "two", count=12, frame=FRAME, seed=3, templates=5, upside_down=0.5,
                  jobs=2)  # fmt: skip
    assert contents(tmp_path / "two") == contents(cards)
    make_id_cards(tmp_path / "few", count=3, frame=FRAME, seed=3, templates=5, upside_down=0.5)
    few, all_ = contents(tmp_path / "few"), contents(cards)
    images = [name for name in few if name.startswith(("images", "masks"))]
    assert len(images) == 6
    assert all(few[name] == all_[name] for name in images)


def test_another_seed_has_other_pictures(cards, tmp_path):
    make_id_cards(tmp_path / "set", count=3, frame=FRAME, seed=4, templates=5)
    before, after = contents(cards), contents(tmp_path / "set")
    assert all(before[n] != after[n] for n in after if n.startswith("images"))


@pytest.mark.parametrize("photos", [0, 2, 3, 7])
def test_groups_share_no_template_and_no_ground(tmp_path, photos):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(photos):
        cv2.imwrite(str(folder / f"p{number}.png"), rng.integers(0, 255, (40, 30, 3), np.uint8))
    backgrounds = folder if photos else None
    make_id_cards(tmp_path / "set", count=16, frame=(64, 64), templates=4, backgrounds=backgrounds)
    truths = read_corners(tmp_path / "set").values()
    for what in ("template", "background"):
        owners: dict[int, set[str]] = {}
        for truth in truths:
            owners.setdefault(getattr(truth, what), set()).add(truth.group)
        assert all(len(groups) == 1 for groups in owners.values())
    if photos:
        assert {truth.background for truth in truths} == set(range(photos))


def test_upside_down_cards_have_their_corners_where_they_read(cards):
    truths = read_corners(cards).values()
    assert {truth.upside_down for truth in truths} == {False, True}
    for truth in truths:
        below = truth.corners[3, 1] > truth.corners[0, 1]
        assert below != truth.upside_down


def test_a_photograph_of_the_user_is_what_the_card_lies_on(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    blue = np.zeros((200, 120, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV stores blue first
    cv2.imwrite(str(folder / "blue.png"), blue)
    cv2.imwrite(str(folder / "grey16.png"), np.full((50, 50), 30000, np.uint16))
    (folder / "torn.png").write_bytes((folder / "blue.png").read_bytes()[:60])
    made = make_id_cards(tmp_path / "set", count=2, frame=FRAME, backgrounds=folder, templates=2)
    assert [finding.samples for finding in made.photos.findings] == [("torn.png",)]
    sample = open_source(f"folder:{tmp_path / 'set'}")[0]
    red, _, blue_mean = sample.image[sample.mask == 0].mean(axis=0)
    assert blue_mean > red + 40
    written = (tmp_path / "set" / "id_cards.json").read_text()
    assert json.loads(written)["backgrounds"] == ["blue.png", "grey16.png"]


def test_an_earlier_set_is_replaced_and_other_files_are_left_alone(tmp_path):
    make_id_cards(tmp_path / "set", count=3, frame=(64, 64))
    (tmp_path / "set" / "notes.txt").write_text("mine")
    make_id_cards(tmp_path / "set", count=1, frame=(64, 64))
    assert len(list((tmp_path / "set" / "images").iterdir())) == 1
    assert (tmp_path / "set" / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").write_text("years")
    with pytest.raises(StorageError, match="left alone"):
        make_id_cards(tmp_path / "other", count=1, frame=(64, 64))
    with pytest.raises(StorageError, match="a file"):
        make_id_cards(tmp_path / "set" / "notes.txt", count=1, frame=(64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "set"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"frame": (10, 400)},
        {"frame": (64, 10**6)},
        {"seed": -1},
        {"templates": 0},
        {"upside_down": 1.5},
        {"upside_down": float("nan")},
        {"jobs": 0},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(SettingsError, match=r"Expected .* to be from"):
        make_id_cards(tmp_path / "set", **{"count": 1, "frame": (64, 64), **wrong})
    assert not list(tmp_path.iterdir())


def test_backgrounds_that_are_none_are_refused(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        make_id_cards(tmp_path / "set", count=1, backgrounds=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no image"):
        make_id_cards(tmp_path / "set", count=1, backgrounds=tmp_path / "empty")
    (tmp_path / "empty" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SourceError, match="cannot be read"):
        make_id_cards(tmp_path / "set", count=1, backgrounds=tmp_path / "empty")


def test_a_table_with_a_hole_is_refused(cards, tmp_path):
    with (cards / "corners.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    rows[3][6] = "nan"
    with (tmp_path / "corners.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    with pytest.raises(SourceError, match="finite"):
        read_corners(tmp_path)
    with pytest.raises(SourceError):
        read_corners(tmp_path / "nowhere")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.integers(0, 9))
def test_entries_are_printable_and_lines_for_machines_are_whole(seed, kind):
    rng = np.random.default_rng(seed)
    text = value(rng, kind)
    assert text
    assert text.isascii()
    assert text.isprintable()
    line = machine_line(rng, 44)
    assert len(line) == 44
    assert "<" in line
