import itertools

import numpy as np
import pytest
import torch
from torch import nn

from penumbra.errors import ImageFileError, RunError, SettingsError
from penumbra.inference.backend import Engine, choose_device, has_fast_bf16
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet

NAMES = ("background", "thing")
PRECISIONS = ["fp32", *(["bf16"] if has_fast_bf16(torch.device("cpu")) else [])]


def image(height, width, channels=1, *, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    return (rng.random((height, width, channels)) * 255).astype(dtype)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = UNet(1, 1, width=8, depth=3)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 1, 64, 64))
    return net.eval()


def make(network, *, size=64, fit="crop", **options):
    preprocess = Preprocess(size=size, fit=fit, channels=1)
    return Predictor(network, preprocess=preprocess, class_names=NAMES, **options)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_alone_and_in_any_batch(network, precision):
    predictor = make(network, precision=precision)
    images = [image(h, w, seed=h) for h, w in [(64, 64), (50, 90), (64, 64), (130, 70), (20, 20)]]
    together = predictor(images)
    for one, whole in zip(images, together, strict=True):
        assert np.array_equal(predictor([one])[0].probabilities, whole.probabilities)
    for part in itertools.batched(images, 2) if hasattr(itertools, "batched") else [images[:3]]:
        for again, one in zip(predictor(list(part)), part, strict=True):
            assert np.array_equal(again.probabilities, predictor([one])[0].probabilities)


@pytest.mark.parametrize("fit", ["crop", "resize"])
@pytest.mark.parametrize("size", [(1, 1), (7, 200), (64, 64), (97, 33), (150, 151)])
def test_a_prediction_has_the_images_size(network, fit, size):
    prediction = make(network, fit=fit)([image(*size)])[0]
    assert prediction.probabilities.shape == (2, *size)
    assert prediction.mask.shape == prediction.uncertainty["entropy"].shape == size
    np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-5)
    assert prediction.uncertainty["entropy"].min() >= 0
    assert prediction.uncertainty["entropy"].max() <= np.log(2) + 1e-5


def test_a_per_pixel_network_is_the_same_tiled_and_whole():
    torch.manual_seed(0)
    per_pixel = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Tanh(), nn.Conv2d(8, 3, 1))
    names = ("a", "b", "c")
    picture = image(150, 210, seed=3)
    options = {"class_names": names, "precision": "fp32"}
    tiled = Predictor(per_pixel, preprocess=Preprocess(size=64), **options)
    whole = Predictor(per_pixel, preprocess=Preprocess(size=256), **options)
    np.testing.assert_allclose(
        tiled([picture])[0].probabilities, whole([picture])[0].probabilities, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_scale_and_offset_of_the_values_do_not_matter(network, dtype):
    base = image(64, 64, dtype=np.uint8)
    other = (base.astype(dtype) * 2 + 7).astype(dtype) if dtype != np.uint8 else base
    predictor = make(network, precision="fp32")
    a, b = predictor([base])[0], predictor([other])[0]
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-4)


def test_colour_for_a_grey_network(network):
    rgb = np.repeat(image(40, 40), 3, axis=2)
    predictor = make(network, precision="fp32")
    grey = predictor([rgb[..., :1]])[0].probabilities
    np.testing.assert_allclose(predictor([rgb])[0].probabilities, grey, atol=1e-3)


def test_constant_images_are_harmless(network):
    prediction = make(network)([np.full((30, 30, 1), 9, np.uint8)])[0]
    assert np.isfinite(prediction.probabilities).all()


def test_the_threshold_moves_the_mask(network):
    picture = image(64, 64)
    areas = [int(make(network, threshold=t)([picture])[0].mask.sum()) for t in (0.01, 0.5, 0.99)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[-1]


def test_fused_norms_change_nothing_but_rounding(network):
    x = torch.randn(2, 1, 64, 64)
    engine = Engine.of(network, device="cpu", precision="fp32")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in engine.module.modules())
    with torch.no_grad():
        torch.testing.assert_close(engine.logits(x), network(x), atol=1e-4, rtol=1e-4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 1), np.uint8)],
)
def test_wrong_images_are_refused(network, wrong):
    with pytest.raises(ImageFileError, match=r"Expected .* Try "):
        make(network)([wrong])


def test_nan_is_refused(network):
    with pytest.raises(ImageFileError, match="finite"):
        make(network)([np.full((4, 4, 1), np.nan, np.float32)])


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0},
        {"batch_size": 0},
        {"device": "warp9"},
        {"precision": "fp16", "device": "cpu"},
    ],
)
def test_wrong_options_are_refused(network, options):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        make(network, **options)


def test_load_needs_a_training_run(network, tmp_path):
    save_model(tmp_path, network)
    with pytest.raises(RunError, match="preprocess"):
        Predictor.load(tmp_path)
    details = {"preprocess": {"size": 64}, "class_names": list(NAMES)}
    save_model(tmp_path, network, details=details)
    loaded = Predictor.load(tmp_path, precision="fp32")
    picture = image(70, 70)
    expected = make(network, precision="fp32")([picture])[0]
    assert np.array_equal(loaded([picture])[0].probabilities, expected.probabilities)


def test_a_named_device_is_given():
    assert choose_device("cpu") == torch.device("cpu")
