"""VGG-16: torchvision's layout, weights of it, and what the networks on it promise."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from penumbra.errors import ModelError
from penumbra.models.catalogue import build_model
from penumbra.models.presence import attach_presence, watched
from penumbra.models.vgg.encoder import VGG16Encoder, fold_channels
from penumbra.models.vgg.fcn import VGG16FCN8s, bilinear_kernel
from penumbra.models.vgg.layout import feature_layers, feature_shapes, recognise, variant_name
from penumbra.models.vgg.unet import VGG16UNet

# What torchvision.models.vgg16().features and vgg16_bn().features hold: number of the
# convolution, its output and input channels. Written out, not computed.
PLAIN = [
    (0, 64, 3), (2, 64, 64),
    (5, 128, 64), (7, 128, 128),
    (10, 256, 128), (12, 256, 256), (14, 256, 256),
    (17, 512, 256), (19, 512, 512), (21, 512, 512),
    (24, 512, 512), (26, 512, 512), (28, 512, 512),
]  # fmt: skip
NORMED = [
    (0, 64, 3), (3, 64, 64),
    (7, 128, 64), (10, 128, 128),
    (14, 256, 128), (17, 256, 256), (20, 256, 256),
    (24, 512, 256), (27, 512, 512), (30, 512, 512),
    (34, 512, 512), (37, 512, 512), (40, 512, 512),
]  # fmt: skip


def listed(rows, *, batch_norm):
    """Names and shapes of the tensors that torchvision's file has for these convolutions."""
    shapes = {}
    for number, out, inner in rows:
        shapes[f"features.{number}.weight"] = (out, inner, 3, 3)
        shapes[f"features.{number}.bias"] = (out,)
        if batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"features.{number + 1}.{name}"] = (out,)
            shapes[f"features.{number + 1}.num_batches_tracked"] = ()
    return shapes


def foreign(depth=16, *, batch_norm=False, seed=0):
    """Tensors as torchvision's file of a variant has them, with values drawn."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in feature_shapes(depth, batch_norm=batch_norm).items():
        values = torch.randn(shape, generator=generator) * 0.05
        tensors[f"features.{name}"] = values.abs() + 0.5 if "running_var" in name else values
    return tensors


@pytest.mark.parametrize(("rows", "batch_norm"), [(PLAIN, False), (NORMED, True)])
def test_names_and_shapes_are_torchvisions(rows, batch_norm):
    state = VGG16Encoder(batch_norm=batch_norm).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == listed(
        rows, batch_norm=batch_norm
    )


def test_the_encoder_has_as_many_weights_as_published():
    # vgg16 has 138,357,544 parameters, 123,642,856 of them in its classifier.
    count = sum(p.numel() for p in VGG16Encoder().parameters())
    assert count == 138_357_544 - 123_642_856


@pytest.mark.parametrize("batch_norm", [False, True])
def test_numbers_are_torchvisions(batch_norm):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = (models.vgg16_bn if batch_norm else models.vgg16)(weights=None).eval()
    ours = VGG16UNet(3, 1, batch_norm=batch_norm).eval()
    ours.take_weights(theirs.state_dict(), origin="torchvision")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(ours.encode(x)[-1], theirs.features(x))


def test_features_are_those_of_the_chain_of_layers():
    torch.manual_seed(0)
    chain = nn.Sequential(*feature_layers(16, width=2, batch_norm=True)).eval()
    encoder = VGG16Encoder(width=2, batch_norm=True).eval()
    encoder.features.load_state_dict(chain.state_dict())
    x = torch.rand(1, 3, 64, 96)
    features = encoder(x)
    assert [tuple(f.shape[1:]) for f in features] == [
        (2, 64, 96), (4, 32, 48), (8, 16, 24), (16, 8, 12), (16, 4, 6), (16, 2, 3),
    ]  # fmt: skip
    assert torch.equal(features[-1], chain(x))
    assert torch.equal(features[0], chain[:6](x))


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_variant_is_recognised(depth, batch_norm):
    layers = nn.Sequential(*feature_layers(depth, batch_norm=batch_norm))
    shapes = {name: tuple(tensor.shape) for name, tensor in layers.state_dict().items()}
    assert recognise(shapes) == variant_name(depth, batch_norm=batch_norm)
    shapes["0.weight"] = (64, 4, 3, 3)
    assert recognise(shapes) is None


class TestWeights:
    tensors: ClassVar = foreign()

    def test_they_arrive(self):
        model = VGG16UNet(1, 1)
        taken = model.take_weights(self.tensors, origin="here")
        assert set(taken) == set(self.tensors)
        own = model.encoder.state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in self.tensors.items())

    def test_a_classifier_is_left_out_and_half_precision_is_widened(self):
        halved = {name: tensor.half() for name, tensor in self.tensors.items()}
        model = VGG16UNet(3, 2)
        taken = model.take_weights(
            halved
            | {"classifier.6.weight": torch.zeros(1000, 4096), "head.fc.bias": torch.ones(9)},
            origin="here",
        )
        assert all(name.startswith("features.") for name in taken)
        assert model.encoder.features[0].weight.dtype == torch.float32

    def test_counts_of_batches_may_be_missing(self):
        model = VGG16UNet(3, 1, batch_norm=True)
        tensors = foreign(batch_norm=True)
        model.take_weights(tensors, origin="here")
        assert torch.equal(model.encoder.features[1].running_var, tensors["features.1.running_var"])
        assert int(model.encoder.features[1].num_batches_tracked) == 0

    @pytest.mark.parametrize(
        ("depth", "batch_norm", "say"),
        [(16, True, "vgg16_bn.*batch_norm=true"), (19, False, "vgg19"), (11, True, "vgg11_bn")],
    )
    def test_another_variant_is_refused_by_name(self, depth, batch_norm, say):
        with pytest.raises(ModelError, match=f"those of vgg16, but got those of {say}"):
            VGG16UNet(3, 1).take_weights(foreign(depth, batch_norm=batch_norm), origin="here")

    @pytest.mark.parametrize(
        ("change", "say"),
        [
            ({"features.28.bias": None}, "no features.28.bias"),
            ({"features.0.weight": torch.zeros(64, 4, 3, 3)}, r"features.0.weight of shape \(64"),
            ({"features.99.bias": torch.zeros(1)}, "features.99.bias, which it does not have"),
            ({"features.0.bias": torch.full((64,), torch.nan)}, "features.0.bias in here"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_named(self, change, say):
        tensors = {k: v for k, v in (self.tensors | change).items() if v is not None}
        with pytest.raises(ModelError, match=say):
            VGG16UNet(3, 1).take_weights(tensors, origin="here")

    def test_weights_of_another_family_are_refused(self):
        with pytest.raises(ModelError, match="no tensor under features"):
            VGG16UNet(3, 1).take_weights({"layer1.0.conv1.weight": torch.zeros(1)}, origin="here")

    @pytest.mark.parametrize("arguments", [{"width": 32}, {"n_channels": 5}])
    def test_a_network_that_cannot_take_them_says_so(self, arguments):
        model = VGG16UNet(**({"n_channels": 3, "n_classes": 1} | arguments))
        with pytest.raises(ModelError, match="as wide as VGG"):
            model.take_weights(self.tensors, origin="here")

    @torch.inference_mode()
    @pytest.mark.parametrize("batch_norm", [False, True])
    def test_a_folded_network_takes_the_sum(self, batch_norm):
        tensors = foreign(batch_norm=batch_norm)
        whole = VGG16UNet(1, 1, batch_norm=batch_norm).eval()
        folded = VGG16UNet(1, 1, batch_norm=batch_norm, fold=True).eval()
        for model in (whole, folded):
            model.take_weights(tensors, origin="here")
        x = torch.randn(1, 1, 32, 32)
        for a, b in zip(whole.encode(x), folded.encode(x), strict=True):
            assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())


@pytest.mark.parametrize("name", ["vgg16-unet", "vgg16-fcn8s"])
class TestGrey:
    def test_grey_is_shown_to_three_channels(self, name):
        torch.manual_seed(0)
        grey = build_model(name, n_channels=1, n_classes=1, width=2).eval()
        colour = build_model(name, n_channels=3, n_classes=1, width=2).eval()
        colour.load_state_dict(grey.state_dict())
        x = torch.rand(2, 1, 40, 33)
        assert torch.equal(grey(x), colour(x.repeat(1, 3, 1, 1)))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_folding_keeps_the_outputs(self, name, channels):
        torch.manual_seed(0)
        model = build_model(name, n_channels=channels, n_classes=2, width=2).eval()
        folded = model.folded()
        assert folded.encoder.features[0].weight.shape == (2, 1, 3, 3)
        assert (folded.n_channels, folded.arguments["fold"]) == (1, True)
        x = torch.rand(2, 1, 40, 33)
        assert torch.allclose(folded(x), model(x.repeat(1, channels, 1, 1)), atol=1e-5)

    def test_folding_keeps_a_presence_head(self, name):
        model = build_model(name, n_channels=1, n_classes=1, width=2).eval()
        attach_presence(model)
        folded, x = model.folded(), torch.rand(2, 1, 64, 64)
        with torch.no_grad(), watched(model) as there, watched(folded) as here:
            model(x), folded(x)
            assert torch.allclose(here.take(), there.take(), atol=1e-5)

    def test_folding_twice_or_colour_is_refused(self, name):
        model = build_model(name, n_channels=1, n_classes=1, width=2, fold=True)
        with pytest.raises(ModelError, match="three input channels"):
            model.folded()
        with pytest.raises(ModelError, match="images in colour"):
            build_model(name, n_channels=3, n_classes=1, width=2, fold=True)


def test_folding_is_a_sum():
    weight = torch.arange(27.0).reshape(1, 3, 3, 3)
    assert torch.equal(fold_channels(weight)[0, 0], weight[0, 0] + weight[0, 1] + weight[0, 2])


class TestFCN8s:
    def test_doubling_begins_bilinear(self):
        up = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False)
        up.weight.data.copy_(bilinear_kernel(2))
        x = torch.rand(1, 2, 5, 7)
        wanted = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        inside = (..., slice(1, -1), slice(1, -1))
        assert torch.allclose(up(x)[inside], wanted[inside], atol=1e-6)

    @pytest.mark.parametrize(
        ("names", "shape"),
        [
            (("classifier.0", "classifier.3"), (4096, 25088)),
            (("pre_logits.fc1", "pre_logits.fc2"), (4096, 512, 7, 7)),
        ],
    )
    def test_the_papers_width_takes_the_hidden_layers(self, names, shape):
        # Views of one number, so that 119 M weights take no memory here.
        first = torch.full((1,), 0.25).expand(shape)
        second = torch.full((1,), 0.5).expand(4096, 4096, *shape[2:][:0], *(1,) * (len(shape) - 2))
        tensors = foreign() | {
            f"{names[0]}.weight": first, f"{names[0]}.bias": torch.ones(4096),
            f"{names[1]}.weight": second, f"{names[1]}.bias": torch.zeros(4096),
        }  # fmt: skip
        with torch.device("meta"):
            model = VGG16FCN8s(3, 1, hidden=4096)
        model = model.to_empty(device="cpu")
        taken = model.take_weights(tensors, origin="here")
        assert f"{names[1]}.bias" in taken
        assert model.head[0].weight.shape == (4096, 512, 7, 7)
        assert model.head[0].weight[7, 3, 2, 1].item() == 0.25
        assert model.head[3].weight[5, 9, 0, 0].item() == 0.5

    def test_a_narrower_head_leaves_them_out(self):
        extra = {"classifier.0.weight": torch.zeros(2), "classifier.0.bias": torch.zeros(2)}
        taken = VGG16FCN8s(3, 1, hidden=8).take_weights(foreign() | extra, origin="here")
        assert len(taken) == 26


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vgg16-unet", {"width": 0}),
        ("vgg16-unet", {"decoder_width": 0}),
        ("vgg16-unet", {"dropout": 1.0}),
        ("vgg16-unet", {"depth": 19}),
        ("vgg16-unet", {"norm": "layer"}),
        ("vgg16-fcn8s", {"hidden": 0}),
        ("vgg16-fcn8s", {"dropout": -0.1}),
        ("vgg16-fcn8s", {"n_classes": 0}),
    ],
)
def test_wrong_arguments_of_vgg_are_refused(name, arguments):
    with pytest.raises(ModelError, match=r"Expected .* Try "):
        build_model(name, **({"n_channels": 1, "n_classes": 1, "width": 2} | arguments))
