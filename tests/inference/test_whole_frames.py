"""Frames taken whole: cropped or padded to multiples, never scaled, and brought back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from penumbra.calibration.held_out import collect
from penumbra.data.sample import IGNORE, Record
from penumbra.data.source import Source
from penumbra.errors import SettingsError
from penumbra.inference.frames import kept_window, pad_to_multiple_of, to_frame
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess, mask_to_working, to_working
from penumbra.models.catalogue import build_model

SIDES = st.integers(1, 150)
MULTIPLES = st.sampled_from([1, 2, 16, 32])


class Seen(nn.Module):
    """A network that keeps what it was shown; its logit is the pixel itself."""

    n_classes = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, int]] = []

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.shapes.append(tuple(x.shape[-2:]))
        return self.weight * x[:, :1]


def predictor(network, **settings):
    preprocess = Preprocess(**({"fit": "whole", "size": 608} | settings))
    return Predictor(
        network, preprocess=preprocess, class_names=("background", "nerve"), precision="fp32"
    )


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)


@given(SIDES, SIDES, MULTIPLES)
def test_cropping_keeps_the_middle(height, width, multiple):
    window = kept_window((height, width), multiple=multiple, edges="crop")
    for span, side in zip(window, (height, width), strict=True):
        kept = span.stop - span.start
        assert kept % multiple == 0 or kept == side < multiple
        assert 0 <= side - kept < multiple
        assert 0 <= (side - span.stop) - span.start <= 1


@given(SIDES, SIDES, MULTIPLES)
def test_padding_repeats_the_border_and_can_be_taken_away(height, width, multiple):
    planes = np.arange(height * width, dtype=np.float32).reshape(1, height, width)
    padded = pad_to_multiple_of(planes, multiple)
    assert padded.shape[1] % multiple == padded.shape[2] % multiple == 0
    assert padded.shape[1] - height < multiple
    assert np.array_equal(padded[:, :height, :width], planes)
    assert (padded[:, height:, :width] == planes[:, -1:]).all()


@given(SIDES, SIDES, MULTIPLES)
def test_a_frame_comes_back_at_its_size_with_the_nearest_pixel_in_the_rim(height, width, multiple):
    planes = np.random.default_rng(0).random((2, height, width), dtype=np.float32)
    window = kept_window((height, width), multiple=multiple, edges="crop")
    back = to_frame(planes[:, window[0], window[1]], (height, width), window)
    assert back.shape == planes.shape
    assert np.array_equal(back[:, window[0], window[1]], planes[:, window[0], window[1]])
    assert (back[:, : window[0].start] == back[:, window[0].start][:, None]).all()


@pytest.mark.parametrize(("edges", "seen"), [("crop", (416, 576)), ("pad", (448, 608))])
def test_the_nerve_frame_is_seen_as_the_settings_say(edges, seen):
    network, image = Seen(), picture(420, 580)
    prediction = predictor(network, edges=edges)([image])[0]
    assert set(network.shapes) == {seen}
    assert prediction.mask.shape == (420, 580)
    assert prediction.probabilities.shape == (2, 420, 580)
    inside = image[2:418, 2:578, 0] if edges == "crop" else image[..., 0]
    bright = inside.astype(np.float64) >= inside.mean(dtype=np.float64)
    mask = prediction.mask[2:418, 2:578] if edges == "crop" else prediction.mask
    assert np.array_equal(mask.astype(bool), bright)


@pytest.mark.parametrize("edges", ["crop", "pad"])
def test_a_mask_goes_the_way_of_its_image(edges):
    preprocess = Preprocess(fit="whole", size=64, edges=edges)
    image = picture(70, 45)
    mask = (image[..., 0] > 128).astype(np.uint8)
    working = to_working(image, preprocess)
    assert np.array_equal(working.pixels[..., 0] > 128, mask_to_working(mask, preprocess) == 1)
    assert working.pixels.shape[:2] == ((64, 32) if edges == "crop" else (70, 45))
    assert working.original_size == (70, 45)


@pytest.mark.parametrize("edges", ["crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (31, 200), (33, 65), (64, 96)])
@pytest.mark.parametrize("name", ["vgg16-unet", "vgg16-fcn8s"])
def test_any_size_keeps_its_size_with_vgg(edges, size, name):
    torch.manual_seed(0)
    network = build_model(name, n_channels=1, n_classes=1, width=2)
    prediction = predictor(network, edges=edges, size=96)([picture(*size)])[0]
    assert prediction.mask.shape == size
    assert np.allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("edges", ["crop", "pad"])
@pytest.mark.parametrize("sampler", ["dropout:3", "augmentation"])
def test_passes_and_batches_of_whole_frames(edges, sampler):
    torch.manual_seed(0)
    network = build_model("vgg16-unet", n_channels=1, n_classes=1, width=2, batch_norm=True)
    made = Predictor(
        network, preprocess=Preprocess(fit="whole", size=96, edges=edges), sampler=sampler,
        class_names=("background", "nerve"), precision="fp32", symmetry="horizontal",
    )  # fmt: skip
    images = [picture(70, 90, 1), picture(40, 33, 2)]
    both = made(images, keep_samples=2)
    alone = made(images[1:], keep_samples=2)[0]
    assert np.array_equal(both[1].probabilities, alone.probabilities)
    assert both[0].samples is not None
    assert both[0].uncertainty["entropy"].shape == (70, 90)
    assert both[0].areas.sum(axis=-1) == pytest.approx(70 * 90, rel=1e-3)


def test_longer_images_than_size_are_seen_in_parts():
    network = Seen()
    prediction = predictor(network, size=64)([picture(100, 50)])[0]
    assert prediction.mask.shape == (100, 50)
    assert max(max(shape) for shape in network.shapes) == 64


@pytest.mark.parametrize("edges", ["crop", "pad"])
def test_held_out_tiles_have_the_truth_beside_them(edges):
    image = picture(70, 45)
    mask = (image[..., 0] > 128).astype(np.uint8)
    source = Source(
        layout="folder",
        root=Path(),
        records=(Record("a", "a", Path("a.png"), (Path("m.png"),)),),
        class_names=("background", "nerve"),
        read_image=lambda _path: image,
        read_mask=lambda _record, _size: mask,
    )
    held = collect(source, Preprocess(fit="whole", size=96, edges=edges), seed=0)
    for tile in held.tiles:
        assert tile.truth.shape[-2:] == tile.x.shape[-2:]
        beyond = int((tile.truth == IGNORE).sum())
        assert beyond == (96 * 64 - 70 * 45 if edges == "pad" else 0)


@pytest.mark.parametrize("size", [(180, 96), (96, 180), (32, 32), (7, 300)])
def test_scaled_frames_are_padded_to_their_own_multiples(size):
    network = Seen()
    made = predictor(network, fit="scale", size=64, multiple=16)
    prediction = made([picture(*size)])[0]
    scaled = [max(1, round(side * 64 / max(size))) for side in size]
    assert set(network.shapes) == {tuple(16 * -(-side // 16) for side in scaled)}
    assert prediction.mask.shape == size
    assert prediction.probabilities.shape == (2, *size)


def test_scaled_squares_are_what_resized_ones_are():
    torch.manual_seed(0)
    network = build_model("unet", n_channels=1, n_classes=1, width=4, depth=2)
    image = picture(90, 90)
    scaled, resized = (
        predictor(network, fit=fit, size=64)([image])[0].probabilities
        for fit in ("scale", "resize")
    )
    assert np.array_equal(scaled, resized)


@pytest.mark.parametrize("fit", ["whole", "scale"])
def test_a_size_that_does_not_divide_is_refused(fit):
    with pytest.raises(SettingsError, match=r"multiple of 32.* Try 608"):
        Preprocess(fit=fit, size=580)


def test_older_runs_are_read_as_before():
    assert Preprocess.model_validate({"size": 64, "fit": "crop", "channels": 1}) == Preprocess(
        size=64
    )
