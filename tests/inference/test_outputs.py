"""What `write_prediction` leaves on the disk, read back by other programs' eyes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penumbra.errors import SettingsError, StorageError
from penumbra.inference.outputs import class_labels, file_parts, write_prediction
from penumbra.inference.prediction import Prediction, entropy


def make_prediction(n_classes, *, shape=(24, 31), names=(), seed=0, with_entropy=True):
    logits = np.random.default_rng(seed).normal(0, 3, (n_classes, *shape))
    shares = np.exp(logits)
    probabilities = (shares / shares.sum(axis=0)).astype(np.float32)
    return Prediction(
        probabilities=probabilities,
        mask=probabilities.argmax(axis=0).astype(np.uint8),
        uncertainty={"entropy": entropy(probabilities)} if with_entropy else {},
        seed=7,
        timings={"network": 0.25},
        class_names=names,
    )


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 255, (24, 31, 3)).astype(np.uint8)


def read16(path):
    with Image.open(path) as opened:
        assert opened.mode.startswith("I;16") or opened.mode == "I"
        return np.asarray(opened).astype(np.float64) / 65535


def test_two_classes_give_exactly_the_agreed_files(tmp_path, image):
    prediction = make_prediction(2)
    document = write_prediction(tmp_path / "new" / "folder", "scan.01", image, prediction)
    out = tmp_path / "new" / "folder"
    assert sorted(path.name for path in out.iterdir()) == [
        "scan.01.json",
        "scan.01_heatmap.png",
        "scan.01_mask.png",
        "scan.01_overlay.png",
        "scan.01_probability.png",
        "scan.01_uncertainty.png",
    ]
    assert json.loads((out / "scan.01.json").read_text(encoding="utf-8")) == document
    with Image.open(out / "scan.01_mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), prediction.mask)
    probability = read16(out / "scan.01_probability.png")
    np.testing.assert_allclose(probability, prediction.foreground, atol=1 / 65535)
    doubt = read16(out / "scan.01_uncertainty.png") * document["scale"]["uncertainty"]["maximum"]
    np.testing.assert_allclose(doubt, prediction.uncertainty["entropy"], atol=2e-5)
    for name in ("overlay", "heatmap"):
        with Image.open(out / document["files"][name]) as shown:
            assert (shown.mode, shown.size) == ("RGB", (31, 24))


def test_the_json_says_what_is_in_the_maps(tmp_path, image):
    prediction = make_prediction(2, names=("ground", "nerve"))
    document = write_prediction(tmp_path, "a", image, prediction, extra={"run": "runs/first"})
    doubt = prediction.uncertainty["entropy"]
    assert document["size"] == {"height": 24, "width": 31}
    assert document["class_names"] == ["ground", "nerve"]
    assert document["seed"] == 7
    assert document["timings"] == {"network": 0.25}
    assert document["run"] == "runs/first"
    assert document["area_pixels"]["nerve"] == int((prediction.mask == 1).sum())
    assert sum(document["area_pixels"].values()) == 24 * 31
    assert document["uncertainty"]["mean"] == pytest.approx(doubt.mean(), rel=1e-5)
    assert document["uncertainty"]["max"] == pytest.approx(doubt.max(), rel=1e-5)
    assert document["scale"]["uncertainty"]["maximum"] == pytest.approx(math.log(2))
    share = np.mean(np.abs(prediction.foreground - 0.5) < 0.5 - 0.1100279)
    assert document["uncertainty"]["doubt_share"] == pytest.approx(share)


def test_more_classes_give_one_probability_file_each(tmp_path, image):
    names = ("sky", "road / lane", "Car", "car")
    prediction = make_prediction(4, names=names)
    files = write_prediction(tmp_path, "a", image, prediction)["files"]["probability"]
    assert list(files) == list(names)
    assert len({name.casefold() for name in files.values()}) == 4
    for index, name in enumerate(names):
        np.testing.assert_allclose(
            read16(tmp_path / files[name]), prediction.probabilities[index], atol=1 / 65535
        )


def test_eleven_classes_scale_doubt_by_their_own_logarithm(tmp_path, image):
    document = write_prediction(tmp_path, "a", image, make_prediction(11))
    assert document["scale"]["uncertainty"]["maximum"] == pytest.approx(math.log(11))
    assert document["class_names"][0] == "background"
    assert len(document["files"]["probability"]) == 11


def test_doubt_is_worked_out_where_the_sampler_gave_none(tmp_path, image):
    bare = write_prediction(tmp_path, "a", image, make_prediction(2, with_entropy=False))
    full = write_prediction(tmp_path, "b", image, make_prediction(2))
    assert bare["uncertainty"] == full["uncertainty"]


@pytest.mark.parametrize("stem", ["", "a/b", "../a", "a\\b", ".."])
def test_a_stem_that_leaves_the_folder_is_refused(tmp_path, image, stem):
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="`stem`"):
        write_prediction(out, stem, image, make_prediction(2))
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_another_size_is_refused_before_anything_is_written(tmp_path, image):
    with pytest.raises(SettingsError, match="Expected `mask` to be of the image's size"):
        write_prediction(tmp_path, "a", image[:-1], make_prediction(2))
    assert list(tmp_path.iterdir()) == []


def test_extra_entries_may_not_hide_ours(tmp_path, image):
    with pytest.raises(SettingsError, match="seed"):
        write_prediction(tmp_path, "a", image, make_prediction(2), extra={"seed": 1})


def test_class_names_must_fit(tmp_path, image):
    with pytest.raises(SettingsError, match="3 names, but got 2"):
        write_prediction(tmp_path, "a", image, make_prediction(3, names=("x", "y")))


def test_when_a_file_cannot_be_written_no_json_claims_that_it_was(tmp_path, image):
    write_prediction(tmp_path, "a", image, make_prediction(2))
    (tmp_path / "a_heatmap.png").unlink()
    (tmp_path / "a_heatmap.png").mkdir()
    with pytest.raises(StorageError):
        write_prediction(tmp_path, "a", image, make_prediction(2, seed=5))
    assert not (tmp_path / "a.json").exists()
    assert not list(tmp_path.glob(".*.part*"))


def test_names_are_made_up_only_where_none_are_known():
    assert class_labels((), 2) == ("background", "foreground")
    assert class_labels(("a", "b"), 2) == ("a", "b")


@given(st.lists(st.text(max_size=12), max_size=12))
def test_parts_of_file_names_are_distinct_and_harmless(names):
    parts = file_parts(names)
    assert len({part.casefold() for part in parts}) == len(names)
    assert all(part and not set(part) & set('/\\:*?"<>|. \0') for part in parts)
