"""One inherited tester for every architecture; a new model's test is a subclass."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from penumbra.errors import ModelError
from penumbra.inference.exported.mask_pass import MaskPass
from penumbra.inference.exported.tracing import Sizes, trace
from penumbra.models.catalogue import ARCHITECTURES, architecture_of, build_model
from penumbra.models.storage import load_model, save_model
from penumbra.models.unet.unet import UNet
from penumbra.noise.attach import noise_aware


def settle(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Let batch norms see images, as training would: MobileNet's features vanish before that."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(images)
    model.eval()


class ModelTester:
    """What every architecture must do."""

    name: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
    channels: ClassVar[int] = 1
    shapes: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1), (3, 1), (1, 2), (3, 5))

    def build(self, *, n_channels: int | None = None, n_classes: int = 1) -> torch.nn.Module:
        torch.manual_seed(0)
        channels = self.channels if n_channels is None else n_channels
        return build_model(
            self.name, n_channels=channels, n_classes=n_classes, **self.arguments
        ).eval()

    def images(self, count: int, *size: int) -> torch.Tensor:
        return torch.rand(count, self.channels, *size)

    @pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1), (5, 64), (100, 17)])
    def test_any_size_keeps_its_size(self, size):
        x = self.images(2, *size)
        assert self.build()(x).shape == (2, 1, *size)

    def test_channels_and_classes(self):
        for channels, classes in self.shapes:
            model = self.build(n_channels=channels, n_classes=classes)
            assert model(torch.rand(1, channels, 32, 32)).shape == (1, classes, 32, 32)

    def test_every_weight_learns(self):
        model = self.build().train()
        model(self.images(2, 32, 32)).square().mean().backward()
        silent = [
            name
            for name, weight in model.named_parameters()
            if weight.grad is None or not torch.isfinite(weight.grad).all()
        ]
        assert silent == []

    def test_an_image_does_not_change_with_its_batch(self):
        model, x = self.build(), self.images(4, 32, 32)
        # Equal bits are the predictor's promise (tests/inference); libraries choose by batch size.
        assert torch.allclose(torch.cat([model(x[:3]), model(x[3:])]), model(x), atol=1e-5)

    def test_save_and_load_give_the_same_bits(self, tmp_path: Path):
        model, x = self.build(), self.images(1, 40, 24)
        save_model(tmp_path, model)
        loaded, document = load_model(tmp_path)
        assert document["architecture"] == self.name
        assert torch.equal(loaded(x), model(x))

    def test_from_pretrained(self, tmp_path: Path):
        model, x = self.build(), self.images(1, 32, 32)
        model.save_pretrained(tmp_path)
        assert torch.equal(type(model).from_pretrained(tmp_path)(x), model(x))

    @pytest.mark.parametrize("sites", ["skips", "encoder"])
    def test_noise_comes_and_goes(self, sites):
        model, x = self.build(), self.images(1, 64, 64)
        settle(model, self.images(4, 64, 64))
        with torch.inference_mode(), noise_aware(model, sites, example=x) as noisy:
            noisy.measure([x])
            assert torch.equal(noisy(x), model(x))
            one = noisy(x, "monte_carlo", seed=1, sample=0)
            assert one.shape == (1, 1, 64, 64)
            assert not torch.equal(one, noisy(x, "monte_carlo", seed=1, sample=1))

    def test_export(self):
        model, x = self.build(), self.images(1, 32, 32)
        exported = torch.export.export(model, (x,)).module()
        assert torch.allclose(exported(x), model(x), atol=1e-5)

    def test_export_with_free_sizes(self, tmp_path: Path):
        module = MaskPass(self.build(n_classes=self.shapes[-1][1]), channels=self.channels)
        module.eval().requires_grad_(requires_grad=False)
        sizes = Sizes(module.multiple)
        program = trace(module, channels=self.channels, sizes=sizes)
        torch.export.save(program, tmp_path / "network.pt2")
        read = torch.export.load(tmp_path / "network.pt2").module()
        x = self.images(3, 3 * module.multiple, 2 * module.multiple)
        assert torch.allclose(read(x), module(x), atol=1e-5)


class TestUNet(ModelTester):
    name = "unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 4, "depth": 3}


class TestGroupNormUNet(ModelTester):
    name = "unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 6, "depth": 2, "norm": "group"}


class TestInstanceNormUNet(ModelTester):
    name = "unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 4, "depth": 2, "norm": "instance"}


class TestNoiseAwareUNet(ModelTester):
    name = "noise-unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 4, "depth": 2}


class TestSSNUNet(ModelTester):
    name = "ssn-unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 4, "depth": 2, "rank": 3}

    def test_every_weight_learns(self):
        model = self.build().train()
        samples = model.sample_logits(torch.rand(2, 1, 32, 32), torch.tensor([1, 2]), 0, 2)
        samples.square().mean().backward()
        assert all(torch.isfinite(w.grad).all() and w.grad.any() for w in model.parameters())


class TestVGG16UNet(ModelTester):
    name = "vgg16-unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 2, "decoder_width": 2}


class TestVGG16BatchNormUNet(ModelTester):
    name = "vgg16-unet"
    arguments: ClassVar[dict[str, Any]] = {"width": 2, "decoder_width": 2, "batch_norm": True}


class TestVGG16FCN8s(ModelTester):
    name = "vgg16-fcn8s"
    arguments: ClassVar[dict[str, Any]] = {"width": 2, "hidden": 4}


class WrappedTester(ModelTester):
    """What every module of another package must do; one of each family is enough."""

    name = "wrap"
    package: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _installed(self):
        # torchvision and segmentation-models-pytorch are in benchmarks/foreign_models.sh alone.
        pytest.importorskip(self.package)

    def keywords(self, n_channels: int, n_classes: int) -> dict[str, Any]:
        raise NotImplementedError

    def build(self, *, n_channels: int | None = None, n_classes: int = 1) -> torch.nn.Module:
        torch.manual_seed(0)
        channels = self.channels if n_channels is None else n_channels
        keywords = self.keywords(channels, n_classes)
        return build_model(
            "wrap", n_channels=channels, n_classes=n_classes, keywords=keywords, **self.arguments
        ).eval()


class TestMonaiUNet(WrappedTester):
    package = "monai"
    arguments: ClassVar[dict[str, Any]] = {"target": "monai.networks.nets.UNet", "multiple": 16}

    def keywords(self, n_channels: int, n_classes: int) -> dict[str, Any]:
        sizes = {"channels": (4, 8, 8), "strides": (2, 2)}
        return {"spatial_dims": 2, "in_channels": n_channels, "out_channels": n_classes, **sizes}


class TestSegformer(WrappedTester):
    package = "transformers"
    arguments: ClassVar[dict[str, Any]] = {
        "target": "transformers.SegformerForSemanticSegmentation",
        "build": "config",
        "output": "logits",
        "stride": 4,
    }

    def keywords(self, n_channels: int, n_classes: int) -> dict[str, Any]:
        return {
            "num_channels": n_channels, "num_labels": n_classes, "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2],
            "mlp_ratios": [2, 2, 2, 2], "decoder_hidden_size": 16,
        }  # fmt: skip


class TestSegmentationModelsPytorch(WrappedTester):
    package = "segmentation_models_pytorch"
    arguments: ClassVar[dict[str, Any]] = {"target": "segmentation_models_pytorch.Unet"}

    def keywords(self, n_channels: int, n_classes: int) -> dict[str, Any]:
        return {
            "encoder_name": "resnet18", "encoder_weights": None, "in_channels": n_channels,
            "classes": n_classes, "decoder_channels": [16, 16, 8, 8, 8],
        }  # fmt: skip


class TestTorchvision(WrappedTester):
    package = "torchvision"
    arguments: ClassVar[dict[str, Any]] = {
        "target": "torchvision.models.segmentation.lraspp_mobilenet_v3_large",
        "output": "out",
    }
    # Its encoders see colour alone; grey images are repeated before them by image.channels: 3.
    channels: ClassVar[int] = 3
    shapes: ClassVar[tuple[tuple[int, int], ...]] = ((3, 1), (3, 2), (3, 5))

    def keywords(self, _n_channels: int, n_classes: int) -> dict[str, Any]:
        return {"weights": None, "weights_backbone": None, "num_classes": n_classes}


def test_the_classic_widths_are_the_default():
    model = UNet(3, 2)
    assert model.channels == (64, 128, 256, 512, 1024)
    # The classic network has 31.04 M weights with biases; ours has norms instead of biases.
    assert 31.0e6 < sum(p.numel() for p in model.parameters()) < 31.1e6


def test_every_architecture_is_tested():
    tested = {tester.name for tester in ModelTester.__subclasses__()}
    assert tested == {row.name for row in ARCHITECTURES}


@pytest.mark.parametrize(
    "arguments",
    [{"width": 0}, {"depth": 0}, {"depth": 9}, {"norm": "layer"}, {"dropout": 1.0}, {"wdth": 3}],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ModelError, match=r"Expected .* Try "):
        build_model("unet", n_channels=1, n_classes=1, **arguments)


def test_an_unknown_model_lists_the_known():
    with pytest.raises(ModelError, match=", ".join(row.name for row in ARCHITECTURES)):
        build_model("unett", n_channels=1, n_classes=1)


def test_a_network_of_elsewhere_has_no_name():
    class Mine(UNet):
        pass

    with pytest.raises(ModelError, match="Wrapped"):
        architecture_of(Mine(1, 1, width=2))
