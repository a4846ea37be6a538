"""Phantoms: deterministic, calibrated, and written whole or not at all."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.data.phantom import KINDS, make_phantom, phantom_sample
from penumbra.errors import SettingsError, StorageError


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_bits(kind):
    first, second = (phantom_sample(kind, size=64, seed=5, index=3) for _ in range(2))
    for name in ("image", "mask", "truth", "readers"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    other = phantom_sample(kind, size=64, seed=6, index=3)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 65, 128])
def test_shapes_types_and_ranges(kind, size):
    sample = phantom_sample(kind, size=size, seed=1, index=2, n_readers=5)
    assert sample.image.shape == (size, size, 3 if kind == "card" else 1)
    assert sample.image.dtype == sample.mask.dtype == sample.readers.dtype == np.uint8
    assert sample.truth.dtype == np.float32
    assert sample.truth.shape == sample.mask.shape == (size, size)
    assert sample.readers.shape == (5, size, size)
    assert sample.truth.min() >= 0
    assert sample.truth.max() <= 1
    assert set(np.unique(sample.readers)) <= {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_unbiased_readers_agree_with_the_truth(kind):
    """The mean of many draws must tend to the stated probability, pixel by pixel."""
    draws = 3000
    for index in (0, 4, 9):
        sample = phantom_sample(
            kind, size=32, seed=2, index=index, n_readers=draws, reader_bias=0.0
        )
        error = sample.readers.mean(axis=0) - sample.truth
        sigma = np.sqrt(sample.truth * (1 - sample.truth) / draws)
        assert np.all(np.abs(error) <= 5 * sigma + 1e-3)
        assert abs(error.mean()) < 0.003


def test_masks_of_many_images_are_calibrated():
    """Over many images, pixels of probability p are foreground with frequency p."""
    samples = [phantom_sample("xray", size=32, seed=4, index=i) for i in range(150)]
    truth = np.stack([s.truth for s in samples]).ravel()
    mask = np.stack([s.mask for s in samples]).ravel()
    for low in (0.1, 0.3, 0.5, 0.7):
        chosen = (truth >= low) & (truth < low + 0.2)
        assert abs(mask[chosen].mean() - truth[chosen].mean()) < 0.06


def test_biased_readers_keep_their_habit():
    areas = np.stack(
        [
            phantom_sample("card", size=48, seed=0, index=i, reader_bias=1.5).readers.sum(
                axis=(1, 2)
            )
            for i in range(60)
        ]
    ).mean(axis=0)
    again = np.stack(
        [
            phantom_sample("card", size=48, seed=0, index=i, reader_bias=1.5).readers.sum(
                axis=(1, 2)
            )
            for i in range(60, 120)
        ]
    ).mean(axis=0)
    np.testing.assert_array_equal(np.argsort(areas), np.argsort(again))
    assert areas.max() / areas.min() > 1.05


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("ultrasound", 0.08, 0.23), ("xray", 0.08, 0.23), ("card", 0, 0)]
)
def test_some_images_hold_nothing(kind, low, high):
    empty = [
        not phantom_sample(kind, size=16, index=i, n_readers=0).truth.any() for i in range(300)
    ]
    assert low <= np.mean(empty) <= high


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_one_group_share_their_anatomy(kind):
    """Two images of one patient differ less, on average, than images of two patients."""
    images = [phantom_sample(kind, size=48, seed=7, index=i) for i in range(40)]
    assert [s.group for s in images[:4]] == [images[0].group] * 4
    assert images[4].group != images[0].group
    pixels = np.stack([s.image.mean(axis=2) for s in images]).reshape(10, 4, -1)
    within = np.abs(pixels[:, 0] - pixels[:, 1]).mean()
    between = np.abs(pixels[:-1, 0] - pixels[1:, 0]).mean()
    assert within < between


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(16, 70),
    seed=st.integers(0, 2**31),
    index=st.integers(0, 10**6),
)
def test_the_truth_is_sharp_where_nobody_doubts(kind, size, seed, index):
    sample = phantom_sample(kind, size=size, seed=seed, index=index)
    assert np.isfinite(sample.truth).all()
    assert not sample.readers[:, sample.truth == 0].any()
    assert sample.readers[:, sample.truth == 1].all()


@pytest.mark.parametrize(
    "wrong", [{"kind": "mri"}, {"size": 8}, {"seed": -1}, {"index": -1}, {"n_readers": -1}]
)
def test_arguments_outside_their_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=r"^Expected .* but got .* Try .*\.$"):
        phantom_sample(**{"kind": "card", **wrong})


def test_a_set_is_written_in_the_folder_layout(tmp_path: Path):
    out = make_phantom(tmp_path / "set", count=7, size=32, seed=3)
    stems = sorted(p.stem for p in (out / "images").iterdir())
    assert len(stems) == 7
    for name in ("masks", "truth"):
        assert sorted(p.stem for p in (out / name).iterdir()) == stems
    assert len(list((out / "readers").iterdir())) == 4 * 7
    sample = phantom_sample("ultrasound", size=32, seed=3, index=1)
    read = {
        name: cv2.imread(str(out / name / "ultrasound_00001.png"), cv2.IMREAD_UNCHANGED)
        for name in ("images", "masks", "truth")
    }
    np.testing.assert_array_equal(read["images"], sample.image[..., 0])
    np.testing.assert_array_equal(read["masks"], sample.mask * 255)
    assert read["truth"].dtype == np.uint16
    np.testing.assert_allclose(read["truth"] / 65535, sample.truth, atol=1 / 65535)
    colour = cv2.imread(str(out / "images" / "card_00000.png"))[..., ::-1]
    np.testing.assert_array_equal(colour, phantom_sample("card", size=32, seed=3).image)
    rows = (out / "groups.csv").read_text().splitlines()
    assert rows[0] == "id,group"
    assert sorted(row.split(",")[0] for row in rows[1:]) == stems
    assert json.loads((out / "phantom.json").read_text())["seed"] == 3


def test_a_phantom_set_is_replaced_and_other_files_stay(tmp_path: Path):
    out = make_phantom(tmp_path / "set", count=5, size=16)
    (out / "notes.txt").write_text("mine")
    make_phantom(out, count=2, size=16, kinds=("card",))
    assert sorted(p.name for p in (out / "images").iterdir()) == [
        "card_00000.png",
        "card_00001.png",
    ]
    assert (out / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("move", range(12))
def test_a_kill_while_a_set_is_replaced_never_mixes_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: int
):
    def files(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "notes.txt"
        }

    wanted = {"count": 2, "size": 16, "kinds": ("card",)}
    sets = [files(make_phantom(tmp_path / f"{seed}", seed=seed, **wanted)) for seed in (1, 2)]
    out = make_phantom(tmp_path / "set", seed=1, **wanted)
    (out / "notes.txt").write_text("mine")
    moves, original = iter(range(99)), Path.replace

    def killed(self: Path, target: Path) -> Path:
        if next(moves) == move:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        make_phantom(out, seed=2, **wanted)
    monkeypatch.undo()
    left = files(out)
    left.pop(".phantom.part")
    if any(name.startswith("images/") for name in left):
        assert any(left.items() <= whole.items() for whole in sets)
    if "phantom.json" in left:
        assert left in sets
    assert files(make_phantom(out, seed=2, **wanted)) == sets[1]
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="left alone"):
        make_phantom(tmp_path, count=1, size=16)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a folder"):
        make_phantom(tmp_path / "file", count=1, size=16)
    with pytest.raises(StorageError, match="writable"):
        make_phantom(tmp_path / "file" / "deeper", count=1, size=16)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"kinds": ()}, {"kinds": ("mri",)}])
def test_a_wrong_request_writes_nothing(tmp_path: Path, wrong):
    with pytest.raises(SettingsError, match="Expected"):
        make_phantom(tmp_path / "set", **{"count": 1, "size": 16, **wrong})
    assert not (tmp_path / "set").exists()
