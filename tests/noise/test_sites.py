from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from monai.networks.nets import BasicUNet, FlexibleUNet
from monai.networks.nets import UNet as MonaiUNet
from torch import nn
from torch.nn import functional

from penumbra.errors import SettingsError
from penumbra.models.unet.unet import UNet
from penumbra.models.wrap import Wrapped
from penumbra.noise.find import find_sites, find_taps
from penumbra.noise.places import Place, features_of, with_features
from penumbra.noise.sites import Sites

BASIC = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "features": (4, 4, 8, 8, 8, 4),
}


def conv(channels, out, stride=1):
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


class ListEncoder(nn.Module):
    """Gives the image and a feature per level, as segmentation-models-pytorch has it."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv(1, 4, 2)
        self.layer1 = conv(4, 6, 2)
        self.layer2 = conv(6, 8, 2)

    def forward(self, x):
        self.runs = getattr(self, "runs", 0) + 1
        features = [x]
        for level in (self.conv1, self.layer1, self.layer2):
            features.append(level(features[-1]))
        return features


class ListDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([conv(8 + 6, 6), conv(6 + 4, 4), conv(4, 4)])

    def forward(self, features):
        # Written into on purpose: a kept encoder output must not be spoiled by it.
        x, *skips = (feature.mul_(0.5) for feature in features[:0:-1])
        for block, skip in zip(self.blocks, [*skips, None], strict=True):
            x = functional.interpolate(x, scale_factor=2.0)
            x = block(x if skip is None else torch.cat([x, skip], dim=1))
        return x


class ListUNet(nn.Module):
    """Laid out as the models of segmentation-models-pytorch are."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = ListEncoder(), ListDecoder()
        self.segmentation_head = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x):
        return self.segmentation_head(self.decoder(self.encoder(x)))


class ModelOutput(OrderedDict):
    """A mapping whose entries are attributes too, as transformers has it."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Stage(nn.Module):
    """Patches, then tokens (N, L, C) that are mixed, then maps again."""

    def __init__(self, channels, out, stride, reduction):
        super().__init__()
        self.patch = nn.Conv2d(channels, out, stride, stride)
        self.mix = nn.Linear(out, out)
        self.reduce = nn.Conv2d(out, out, reduction, reduction)

    def forward(self, x):
        maps = self.patch(x)
        # Attention looks at a copy that is as coarse as the last stage.
        looked_at = self.reduce(maps).mean((2, 3), keepdim=True)
        tokens = self.mix((maps + looked_at).flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(maps.shape)


class SegFormerLike(nn.Module):
    """Hidden states of an encoder, fused at a quarter of the size by a head."""

    def __init__(self):
        super().__init__()
        self.segformer = nn.Module()
        stages = nn.ModuleList([Stage(1, 4, 4, 4), Stage(4, 6, 2, 2), Stage(6, 8, 2, 1)])
        self.segformer = SegFormerEncoder(stages)
        self.decode_head = SegFormerHead()

    def forward(self, pixel_values):
        outputs = self.segformer(pixel_values, output_hidden_states=True)
        return ModelOutput(logits=self.decode_head(outputs.hidden_states))


class SegFormerEncoder(nn.Module):
    def __init__(self, stages):
        super().__init__()
        self.stages = stages

    def forward(self, x, output_hidden_states=False):
        states = []
        for stage in self.stages:
            x = stage(x)
            states.append(x)
        return ModelOutput(last_hidden_state=x, hidden_states=tuple(states))


class SegFormerHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.fuse = nn.Conv2d(18, 6, 1)
        self.act = nn.ReLU()
        self.classifier = nn.Conv2d(6, 1, 1)

    def forward(self, states):
        size = states[0].shape[-2:]
        up = [functional.interpolate(state, size=size) for state in states]
        return self.classifier(self.act(self.fuse(torch.cat(up, dim=1))))


def vgg():
    layers = [conv(1, 4), nn.MaxPool2d(2), conv(4, 8), nn.MaxPool2d(2), conv(8, 8)]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=4), nn.Conv2d(8, 1, 1))


def monai_unet():
    sizes = {"channels": (4, 8, 8), "strides": (2, 2)}
    return MonaiUNet(spatial_dims=2, in_channels=1, out_channels=1, **sizes)


NETWORKS = {
    "unet": (lambda: UNet(1, 1, width=4, depth=2), ("skip1", "skip2", "bottleneck")),
    "list": (ListUNet, ("encoder[1]", "encoder[2]", "encoder[3]")),
    "segformer": (SegFormerLike, ("segformer[0]", "segformer[1]", "segformer[2]")),
    "basic": (
        lambda: BasicUNet(**BASIC),
        ("upcat_1(1)", "upcat_2(1)", "upcat_3(1)", "upcat_4(1)", "upcat_4(0)"),
    ),
    "wrapped": (
        lambda: Wrapped(1, 1, target="monai.networks.nets.BasicUNet", keywords=BASIC),
        tuple(f"module.upcat_{k}" for k in ("1(1)", "2(1)", "3(1)", "4(1)", "4(0)")),
    ),
    "vgg": (vgg, ("0", "2", "4")),
    "flexible": (
        lambda: FlexibleUNet(
            in_channels=1, out_channels=1, backbone="resnet10", decoder_channels=(8, 8, 4, 4, 4)
        ),
        tuple(f"encoder[{k}]" for k in range(5)),
    ),
}
SHARED = {"unet", "list", "segformer", "flexible"}


def build(name):
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def logits_of(output):
    return output if isinstance(output, torch.Tensor) else output["logits"]


@pytest.mark.parametrize("name", NETWORKS)
def test_skips_are_found(name):
    network = build(name).train()
    assert find_sites(network) == NETWORKS[name][1]
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_sites_are_reached_and_left_alone(name):
    network, x = build(name), torch.rand(2, 1, 64, 96)
    plain = logits_of(network(x))
    names = find_sites(network)
    sites, seen = Sites(network, names), {}

    def double(h, site, stride):
        seen[site] = (h.shape[-1], stride)
        return 2 * h

    encoded = sites.encode(x)
    doubled = [logits_of(sites.run(encoded, double)[0]) for _ in range(2)]
    assert torch.equal(*doubled)
    assert not torch.allclose(doubled[0], plain)
    assert torch.equal(logits_of(sites.run(encoded)[0]), plain)
    assert torch.equal(logits_of(network(x)), plain)
    assert set(seen) == set(names)
    assert all(width * stride == 96 for width, stride in seen.values())
    sites.remove()
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    )
    assert torch.equal(logits_of(network(x)), plain)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_encoder_whose_features_are_the_sites_runs_once(name):
    network = build(name)
    sites = Sites(network, find_sites(network))
    assert sites.encodes_once is (name in SHARED)


def test_the_kept_encoder_gives_what_the_whole_network_gives():
    network, x = build("list"), torch.rand(2, 1, 32, 32)
    sites = Sites(network, find_sites(network))
    with torch.inference_mode():
        plain = network(x)
        network.encoder.runs = 0
        encoded = sites.encode(x)
        outputs = [sites.run(encoded)[0] for _ in range(3)]
    assert network.encoder.runs == 1
    assert all(torch.equal(output, plain) for output in outputs)
    assert "forward" not in vars(network.encoder)


def test_a_pass_that_fails_leaves_the_network_whole():
    network, x = build("list"), torch.rand(1, 1, 32, 32)
    plain = network(x)
    sites = Sites(network, find_sites(network))

    def fail(h, site, stride):
        raise SettingsError(site)

    with pytest.raises(SettingsError, match=r"encoder\[1\]"):
        sites.run(sites.encode(x), fail)
    sites.remove()
    assert torch.equal(network(x), plain)


@pytest.mark.parametrize("name", NETWORKS)
def test_sites_in_the_encoder_have_every_resolution_once(name):
    network = build(name)
    names = find_sites(network, "encoder")
    widths = []
    sites = Sites(network, names)
    sites.run(sites.encode(torch.rand(1, 1, 64, 64)), lambda h, *_: widths.append(h.shape[-1]) or h)
    assert len(names) >= 3
    assert widths == sorted(set(widths), reverse=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_taps_come_coarsest_first_and_can_be_kept(name):
    network = build(name)
    taps = find_taps(network)
    sites = Sites(network, find_sites(network), taps=taps)
    _, features = sites.run(sites.encode(torch.rand(1, 1, 64, 64)))
    widths = [feature.shape[-1] for feature in features]
    assert widths == sorted(set(widths))
    assert widths[-1] == (16 if name == "segformer" else 64)


def test_a_residual_blocks_inside_is_no_level():
    class Block(nn.Module):
        def __init__(self, channels, out):
            super().__init__()
            self.squeeze, self.down = nn.Conv2d(channels, out, 1), nn.Conv2d(out, out, 3, 2, 1)
            self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(out, out, 1)

        def forward(self, x):
            y = self.down(self.squeeze(x))
            return y * torch.sigmoid(self.gate(self.pool(y)))

    network = nn.Sequential(
        OrderedDict(
            stem=conv(1, 4), layer1=Block(4, 6), layer2=Block(6, 8), head=nn.Conv2d(8, 1, 1)
        )
    )
    assert find_sites(network) == ("stem", "layer1", "layer2")


def test_monais_unet_falls_back_to_its_encoder():
    assert find_sites(monai_unet()) == find_sites(monai_unet(), "encoder")


def test_a_network_without_levels_lists_its_outputs():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    with pytest.raises(SettingsError, match=r"0 4×128×128, 1 4×128×128"):
        find_sites(network)


def test_an_example_that_does_not_fit_says_so():
    with pytest.raises(SettingsError, match="example="):
        find_sites(vgg(), example=torch.zeros(1, 3, 32, 32))
    with pytest.raises(SettingsError, match="skips"):
        find_sites(vgg(), "decoder")


@pytest.mark.parametrize(
    ("site", "match"),
    [("nowhere", "one of"), ("encoder[9]", "4 of them"), ("encoder", "NCHW|N, C, H, W"),
     ("decoder.blocks.0[1]", "one value"), ("decoder(0)", "N, C, H, W"), ("decoder(3)", "1 of"),
     ("", "one of")],
)  # fmt: skip
def test_a_site_that_is_none_says_what_to_do(site, match):
    network, x = build("list"), torch.rand(1, 1, 32, 32)

    def run():
        sites = Sites(network, (site,))
        sites.run(sites.encode(x), lambda h, *_: h)

    with pytest.raises(SettingsError, match=match):
        run()


Pair = namedtuple("Pair", ["fine", "coarse"])


@pytest.mark.parametrize(
    "output",
    [
        [1, 2],
        (1, 2),
        Pair(1, 2),
        {"a": 1, "b": 2},
        ModelOutput(hidden_states=(1, 2), logits=5),
        SimpleNamespace(feature_maps=[1, 2]),
    ],
)
def test_features_are_listed_and_put_back(output):
    assert features_of(output) == [1, 2]
    changed = with_features(output, [3, 4])
    assert type(changed) is type(output)
    assert features_of(changed) == [3, 4]
    assert features_of(output) == [1, 2]


def test_names_of_places():
    assert Place.parse("down.0") == Place("down.0", "down.0")
    assert Place.parse("a.b[12]") == Place("a.b[12]", "a.b", item=12)
    assert Place.parse("up(0)") == Place("up(0)", "up", argument=0)
    assert features_of(torch.zeros(1)) is None
