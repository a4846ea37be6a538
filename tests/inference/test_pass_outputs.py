"""What several passes leave on the disk, read back by other programs' eyes."""

import dataclasses
import json
import math

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageSequence

from penumbra.errors import FileNameError
from penumbra.imaging.write import read_unit_map
from penumbra.inference.outputs import write_prediction
from penumbra.inference.prediction import Prediction, Samples, entropy
from penumbra.inference.uncertainty import PassSums, decompose


def make_prediction(n_classes=2, passes=6, size=(24, 31), **more):
    logits = np.random.default_rng(0).normal(0, 3, (passes, n_classes, *size))
    shares = np.exp(logits)
    planes = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    sums = PassSums()
    for p in planes:
        sums.add(torch.from_numpy(p))
    mean = sums.mean.numpy()
    found = decompose(
        mean, sums.expected_entropy.numpy(), passes=passes, variance=sums.variance.numpy()
    )
    settings = {"sampler": f"noise:{passes}", "passes": passes} | more
    return planes, Prediction(
        probabilities=mean,
        mask=mean.argmax(axis=0).astype(np.uint8),
        uncertainty=found.maps,
        class_uncertainty=found.class_maps,
        **settings,
    )


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 255, (24, 31, 3)).astype(np.uint8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_passes_add_maps_that_can_be_read_back(tmp_path, image, n_classes):
    _, prediction = make_prediction(n_classes)
    document = write_prediction(tmp_path, "a", image, prediction)
    for key in ("mutual_information", "expected_entropy", "variance"):
        scale = document["scale"][key]["maximum"]
        assert scale == (1.0 if key == "variance" else pytest.approx(math.log(n_classes)))
        back = read_unit_map(tmp_path / document["files"][key], scale=scale)
        np.testing.assert_allclose(back, prediction.uncertainty[key], atol=scale / 65535)
    assert "samples" not in document["files"]
    assert sum(1 for _ in tmp_path.iterdir()) == 5 + (n_classes if n_classes > 2 else 1) + 3
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == document


def test_a_single_pass_adds_no_file_and_says_how_many_passes_there_were(tmp_path, image):
    _, prediction = make_prediction()
    single = dataclasses.replace(
        prediction,
        uncertainty={"entropy": entropy(prediction.probabilities)},
        sampler="deterministic",
        passes=1,
    )
    document = write_prediction(tmp_path, "a", image, single)
    assert set(document["files"]) == {"mask", "probability", "uncertainty", "overlay", "heatmap"}
    assert set(document["scale"]) == {"probability", "uncertainty"}
    assert (document["sampler"], document["passes"]) == ("deterministic", 1)
    assert "disagreement" not in document


def test_samples_are_pages_that_any_reader_of_tiff_sees(tmp_path, image):
    planes, prediction = make_prediction(3)
    kept = dataclasses.replace(prediction, samples=Samples(planes[:4], (24, 31)))
    document = write_prediction(tmp_path, "a", image, kept)
    path = tmp_path / document["files"]["samples"]
    assert path.name == "a_samples.tif"
    pages = tifffile.imread(path)
    assert pages.shape == (4, 24, 31)
    assert pages.dtype == np.uint16
    np.testing.assert_allclose(pages / 65535, 1 - planes[:4, 0], atol=1 / 65535)
    with Image.open(path) as opened:
        by_pillow = [np.asarray(page) for page in ImageSequence.Iterator(opened)]
    np.testing.assert_array_equal(np.stack(by_pillow), pages)
    before = path.read_bytes()
    write_prediction(tmp_path, "a", image, kept)
    assert path.read_bytes() == before


def test_samples_of_a_smaller_working_size_are_written_at_the_image_s(tmp_path, image):
    _, prediction = make_prediction()
    small = Samples(np.full((1, 2, 8, 8), 0.25, dtype=np.float32), (24, 31))
    write_prediction(tmp_path, "a", image, dataclasses.replace(prediction, samples=small))
    page = tifffile.imread(tmp_path / "a_samples.tif")
    assert page.shape == (24, 31)
    np.testing.assert_allclose(page / 65535, 0.75, atol=1 / 65535)


def test_the_json_holds_scores_intervals_and_the_flag(tmp_path, image):
    _, prediction = make_prediction(
        scores={"soft_dice": 0.25, "mean_entropy": 0.1},
        area_intervals={"foreground": (10.0, 20.5, 744.0)},
        flagged=True,
    )
    document = write_prediction(tmp_path, "a", image, prediction)
    assert document["sampler"] == "noise:6"
    assert document["passes"] == 6
    assert document["scores"] == {"soft_dice": 0.25, "mean_entropy": 0.1}
    assert document["flagged"] is True
    interval = {"low": 10.0, "estimate": 20.5, "high": 744.0, "unit": "pixel", "bounded": True}
    assert document["area_intervals"] == {"foreground": interval}
    maps = prediction.uncertainty
    share = maps["mutual_information"].mean() / maps["entropy"].mean()
    assert document["disagreement"]["share_of_entropy"] == pytest.approx(share, rel=1e-5)
    error = maps["standard_error"].mean()
    assert document["disagreement"]["standard_error"] == pytest.approx(error, rel=1e-5)


def test_an_uncalibrated_prediction_has_no_interval_and_no_flag(tmp_path, image):
    document = write_prediction(tmp_path, "a", image, make_prediction()[1])
    assert document["flagged"] is None
    assert document["area_intervals"] == {}


def test_passes_that_never_doubt_have_no_share_of_disagreement(tmp_path, image):
    planes = np.zeros((2, 24, 31), dtype=np.float32)
    planes[0] = 1
    nothing = np.zeros((24, 31), dtype=np.float32)
    maps = dict.fromkeys(("entropy", "mutual_information", "expected_entropy"), nothing)
    sure = Prediction(planes, np.zeros((24, 31), np.uint8), maps, passes=2)
    document = write_prediction(tmp_path, "a", image, sure)
    assert document["disagreement"]["share_of_entropy"] == 0
    assert document["disagreement"]["standard_error"] is None


def test_a_stem_too_long_for_the_longest_name_leaves_nothing(tmp_path, image):
    _, prediction = make_prediction()
    stem = "x" * (255 - len("_mutual_information.png") + 1)
    with pytest.raises(FileNameError):
        write_prediction(tmp_path, stem, image, prediction)
    assert list(tmp_path.iterdir()) == []


def test_opposite_passes_reach_the_scale_of_the_variance(tmp_path, image):
    certain = np.zeros((2, 2, 24, 31), dtype=np.float32)
    certain[0, 0] = certain[1, 1] = 1
    sums = PassSums()
    for p in certain:
        sums.add(torch.from_numpy(p))
    mean = sums.mean.numpy()
    found = decompose(mean, sums.expected_entropy.numpy(), passes=2, variance=sums.variance.numpy())
    prediction = Prediction(mean, np.zeros((24, 31), np.uint8), found.maps, passes=2)
    document = write_prediction(tmp_path, "a", image, prediction)
    for key in ("variance", "mutual_information"):
        with Image.open(tmp_path / document["files"][key]) as opened:
            assert (np.asarray(opened) == 65535).all()
