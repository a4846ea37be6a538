"""VGG networks under the house's verbs: predicted in tiles, calibrated, asked for their doubt."""

import numpy as np
import pytest
import torch

from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.catalogue import build_model
from penumbra.noise.find import find_sites, find_taps
from penumbra.noise.sites import Sites, Splits

SIZES = {"vgg16-unet": (1, 2, 4, 8, 16, 32), "vgg16-fcn8s": (8, 16, 32)}


def network(name, **arguments):
    torch.manual_seed(0)
    # Scores of poolings begin at zero; drawn ones let every path be seen.
    model = build_model(name, n_channels=1, n_classes=1, width=2, **arguments).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1 and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", sorted(SIZES))
class TestSites:
    def test_skips_are_what_the_decoder_receives(self, name):
        model, x = network(name), torch.rand(1, 1, 64, 96)
        assert isinstance(model, Splits)
        assert find_sites(model, "skips") == model.site_names
        features = model.encode(x)
        assert [96 // f.shape[-1] for f in features] == list(SIZES[name])
        assert [f.shape[1] for f in features] == list(model.channels)
        assert torch.equal(model.decode(features), model(x))

    def test_each_site_reaches_the_logits(self, name):
        model, x = network(name), torch.rand(1, 1, 64, 64)
        plain = model(x)
        for site in (*model.site_names, *model.encoder_names):
            sites = Sites(model, (site,))
            noisy, _ = sites.run(sites.encode(x), lambda h, _name, _stride: h + 1.0)
            sites.remove()
            assert not torch.equal(noisy, plain), site
        assert torch.equal(model(x), plain)

    def test_the_encoder_runs_once_for_many_passes(self, name):
        model = network(name)
        sites = Sites(model, model.site_names)
        assert sites.encodes_once
        sites.remove()

    def test_taps_are_the_decoders_features(self, name):
        model, x = network(name), torch.rand(1, 1, 64, 64)
        taps = find_taps(model)
        sites = Sites(model, (), taps=taps)
        _, found = sites.run(sites.encode(x))
        sites.remove()
        widths = [f.shape[-1] for f in found]
        assert widths == sorted(widths)
        assert len(widths) == len(taps)

    def test_noise_in_the_encoder_is_seen_by_its_next_level(self, name):
        model, x = network(name), torch.rand(1, 1, 64, 64)
        sites = Sites(model, model.encoder_names[:1])
        before = model.encode(x)[-1]
        seen = []
        keep = model.encoder.features[-1].register_forward_hook(lambda *a: seen.append(a[2]))
        sites.run(sites.encode(x), lambda h, _name, _stride: h + 1.0)
        keep.remove()
        sites.remove()
        assert not torch.equal(seen[-1], before)


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("sampler", ["deterministic", "dropout:3", "multiplicative:2"])
def test_large_images_are_predicted_in_tiles(name, sampler):
    predictor = Predictor(
        network(name), preprocess=Preprocess(size=64), class_names=("background", "nerve"),
        sampler=sampler, precision="fp32",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, size, dtype=np.uint8) for size in ((90, 130, 1), (64, 64, 1))]
    together, alone = predictor(images), predictor(images[:1])
    assert together[0].mask.shape == (90, 130)
    assert np.array_equal(together[0].probabilities, alone[0].probabilities)
    if sampler != "deterministic":
        assert float(together[0].uncertainty["mutual_information"].max()) > 0


def test_batch_norms_are_folded_away_without_changing_the_answer():
    from penumbra.inference.backend import Engine

    model = network("vgg16-unet", batch_norm=True)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2.0)
    engine = Engine.of(model, device="cpu", precision="fp32")
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in engine.module.modules())
    x = torch.rand(1, 1, 64, 64)
    assert torch.allclose(engine.logits(x), model(x), atol=1e-4)
