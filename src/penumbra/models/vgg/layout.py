"""How the convolutions of the VGG networks are laid out and named (arXiv 1409.1556, table 1)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

CONVOLUTIONS: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions of each of the five stages, by the depth that a variant is named after."""

VGG_WIDTH = 64
"""Channels of the first stage in the published networks."""

_GROWTH = (1, 2, 4, 8, 8)
_COUNTER = "num_batches_tracked"

Shapes = Mapping[str, tuple[int, ...]]


def stage_channels(width: int = VGG_WIDTH) -> tuple[int, ...]:
    """Give the channels of the five stages.

    Examples:
        >>> stage_channels()
        (64, 128, 256, 512, 512)
    """
    return tuple(width * growth for growth in _GROWTH)


def feature_layers(
    depth: int, *, in_channels: int = 3, width: int = VGG_WIDTH, batch_norm: bool = False
) -> list[nn.Module]:
    """Build the layers of torchvision's ``vgg16().features``, in its order and so its numbering.

    Each stage is its 3×3 convolutions, each followed by batch normalisation where wanted and a
    ReLU, and a max pooling that halves the size. Convolutions begin as torchvision's do: normal
    with variance 2 / (9 · out channels), offsets zero; a plain VGG learns nothing from less.
    """
    layers: list[nn.Module] = []
    last = in_channels
    for count, channels in zip(CONVOLUTIONS[depth], stage_channels(width), strict=True):
        for _ in range(count):
            convolution = nn.Conv2d(last, channels, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            norm = [nn.BatchNorm2d(channels)] if batch_norm else []
            layers += [convolution, *norm, nn.ReLU(inplace=True)]
            last = channels
        layers.append(nn.MaxPool2d(2))
    return layers


def feature_shapes(depth: int, *, batch_norm: bool = False) -> dict[str, tuple[int, ...]]:
    """Name the tensors of a variant's ``features`` and their shapes, counters left out.

    Examples:
        >>> list(feature_shapes(16).items())[:3]
        [('0.weight', (64, 3, 3, 3)), ('0.bias', (64,)), ('2.weight', (64, 64, 3, 3))]
    """
    shapes: dict[str, tuple[int, ...]] = {}
    place, last = 0, 3
    for count, channels in zip(CONVOLUTIONS[depth], stage_channels(), strict=True):
        for _ in range(count):
            shapes[f"{place}.weight"] = (channels, last, 3, 3)
            shapes[f"{place}.bias"] = (channels,)
            if batch_norm:
                for name in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"{place + 1}.{name}"] = (channels,)
            place, last = place + 2 + batch_norm, channels
        place += 1
    return shapes


def recognise(shapes: Shapes) -> str | None:
    """Name the variant that has these ``features``, or give ``None``.

    Args:
        shapes: without the prefix ``features.``; counters of batches do not matter.

    Examples:
        >>> recognise(feature_shapes(19, batch_norm=True))
        'vgg19_bn'
    """
    known = {name: shape for name, shape in shapes.items() if not name.endswith(_COUNTER)}
    for depth in CONVOLUTIONS:
        for batch_norm in (False, True):
            if known == feature_shapes(depth, batch_norm=batch_norm):
                return variant_name(depth, batch_norm=batch_norm)
    return None


def variant_name(depth: int, *, batch_norm: bool) -> str:
    """Give torchvision's name of a variant, such as ``vgg16_bn``."""
    return f"vgg{depth}" + ("_bn" if batch_norm else "")
