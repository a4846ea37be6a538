"""Filters on the way into a network: of the whole image, before tiles, the same in any batch."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from penumbra.errors import ImageFileError, RunError, SettingsError
from penumbra.imaging.filters import FilterChain
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess, to_working
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet

NAMES = ("background", "thing")
CHAIN = FilterChain.parse(["clahe", {"sobel": {"mode": "blend", "weight": 0.3}}])
STACK = FilterChain.parse({"sobel": {"mode": "channels"}})


def image(height, width, *, channels=1, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    return (rng.random((height, width, channels)) * 255).astype(dtype)


def network(channels=1):
    torch.manual_seed(0)
    return UNet(channels, 1, width=4, depth=2).eval()


def make(model, **preprocess):
    settings = {"size": 32, "channels": 1} | preprocess
    return Predictor(model, preprocess=Preprocess(**settings), class_names=NAMES, precision="fp32")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_network_sees_what_the_chain_gives(dtype):
    model, picture = network(), image(50, 70, dtype=dtype)
    inside = make(model, filters=CHAIN)([picture])[0]
    outside = make(model)([CHAIN.apply(picture)])[0]
    bare = make(model)([picture])[0]
    np.testing.assert_array_equal(inside.probabilities, outside.probabilities)
    assert np.abs(inside.probabilities - bare.probabilities).max() > 1e-4


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_filtered_images_give_the_same_bits_alone_and_in_any_batch(fit):
    predictor = make(network(), filters=CHAIN, fit=fit)
    images = [image(h, w, seed=h) for h, w in [(32, 32), (50, 90), (32, 32), (9, 40)]]
    together = predictor(images)
    for one, whole in zip(images, together, strict=True):
        np.testing.assert_array_equal(predictor([one])[0].probabilities, whole.probabilities)
        assert whole.probabilities.shape == (2, *one.shape[:2])


def test_the_whole_image_is_filtered_before_tiles_are_cut():
    torch.manual_seed(0)
    per_pixel = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Tanh(), nn.Conv2d(8, 1, 1))
    picture = image(90, 110, seed=3)
    # A bright corner decides percentiles and scale: tiles filtered for themselves would differ.
    picture[:20, :20] = 255
    for chain in ("window", "sobel", "clahe", "canny"):
        tiled, whole = (
            make(per_pixel, size=size, filters=FilterChain.parse(chain))([picture])[0]
            for size in (32, 256)
        )
        np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-6)


def test_scaled_images_are_filtered_at_the_size_of_the_network():
    picture = image(90, 110)
    working = to_working(picture, Preprocess(size=32, fit="resize", filters=CHAIN))
    plain = to_working(picture, Preprocess(size=32, fit="resize"))
    np.testing.assert_array_equal(working.pixels, CHAIN.apply(plain.pixels))
    assert working.original_size == (90, 110)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_has_three_channels_whatever_the_image_has(channels):
    picture = image(40, 50, channels=channels)
    working = to_working(picture, Preprocess(size=32, channels=3, filters=STACK))
    assert working.pixels.shape == (40, 50, 3)
    prediction = make(network(3), channels=3, filters=STACK)([picture])[0]
    assert np.isfinite(prediction.probabilities).all()


def test_filters_that_do_not_suit_a_network_are_refused():
    with pytest.raises(SettingsError, match="takes no prompts"):
        Preprocess(filters=FilterChain.parse({"sobel": {"mode": "prompt"}}))
    with pytest.raises(SettingsError, match="3 with a filter of mode: channels, but got 1"):
        Preprocess(channels=1, filters=STACK)


def test_nan_is_refused_by_name():
    bad = np.full((40, 40, 1), np.nan, np.float32)
    with pytest.raises(ImageFileError, match="finite"):
        make(network(), filters=CHAIN)([bad])


def saved(folder, preprocess):
    save_model(folder, network(), details={"preprocess": preprocess, "class_names": list(NAMES)})


def test_filters_travel_with_the_weights_and_old_runs_have_none(tmp_path):
    written = Preprocess(size=32, filters=CHAIN).model_dump(mode="json")
    saved(tmp_path / "new", written)
    old = {key: value for key, value in written.items() if key != "filters"}
    saved(tmp_path / "old", old)
    picture = image(40, 60)
    new = Predictor.load(tmp_path / "new", precision="fp32")
    assert new.preprocess.filters == CHAIN
    before = Predictor.load(tmp_path / "old", precision="fp32")
    assert not before.preprocess.filters
    np.testing.assert_array_equal(
        new([picture])[0].probabilities, before([CHAIN.apply(picture)])[0].probabilities
    )


def test_members_of_an_ensemble_must_share_their_filters(tmp_path):
    for name, chain in (("one", CHAIN), ("two", FilterChain())):
        saved(tmp_path / name, Preprocess(size=32, filters=chain).model_dump(mode="json"))
    with pytest.raises(SettingsError, match="preprocessing of"):
        Predictor.load(tmp_path / "one", members=[tmp_path / "two"], sampler="ensemble")


@pytest.mark.parametrize("filters", [["sobell"], [{"sobel": {"mode": "prompt"}}], 7])
def test_a_run_of_filters_that_are_not_known_is_refused(tmp_path, filters):
    saved(tmp_path, {"size": 32, "fit": "crop", "channels": 1, "filters": filters})
    assert json.loads((tmp_path / "model.json").read_text())["preprocess"]["filters"] == filters
    with pytest.raises(RunError, match=r"model\.json"):
        Predictor.load(tmp_path)
