"""VGG-16 without its classifier, as an encoder of six levels, and what networks of it share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.presence import head_of, restore_presence
from penumbra.models.storage import StoredModel
from penumbra.models.unet.blocks import pad_to_multiple
from penumbra.models.vgg.layout import (
    VGG_WIDTH,
    feature_layers,
    feature_shapes,
    recognise,
    stage_channels,
    variant_name,
)
from penumbra.pages.words import count

_DEPTH = 16
_PREFIX = "features."


class VGG16Encoder(nn.Module):
    """The convolutions of VGG-16 under torchvision's names, ``features.0`` to ``features.30``.

    Args:
        in_channels: of the first convolution.
        width: channels of the first stage; 64 is VGG's own.
        batch_norm: whether a batch normalisation follows each convolution (``vgg16_bn``).
    """

    def __init__(
        self, in_channels: int = 3, *, width: int = VGG_WIDTH, batch_norm: bool = False
    ) -> None:
        super().__init__()
        layers = feature_layers(_DEPTH, in_channels=in_channels, width=width, batch_norm=batch_norm)
        self.features = nn.Sequential(*layers)
        self.pools = tuple(i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the layers with weights, by stage, those next to the image first."""
        weighty = [i for i, layer in enumerate(self.features) if any(True for _ in layer.buffers())
                   or any(True for _ in layer.parameters())]  # fmt: skip
        starts = (-1, *self.pools)
        return tuple(
            tuple(i for i in weighty if start < i < end)
            for start, end in zip(starts, self.pools, strict=False)
        )

    def collect(self, x: Tensor, places: Sequence[int]) -> list[Tensor]:
        """Give the outputs of the layers with these numbers, up to the last of them."""
        found: list[Tensor] = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in places:
                found.append(x)
            if place == max(places):
                break
        return found

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give what goes into each of the five poolings, finest first, and what the last gives."""
        return self.collect(x, (*(pool - 1 for pool in self.pools), self.pools[-1]))


class VGGNetwork(StoredModel):
    """What the networks with a VGG-16 encoder share: channels, sizes, weights from elsewhere.

    Args:
        n_channels: image channels. Grey images (1) are shown to all three input channels of the
            first convolution, as pretrained weights expect them.
        n_classes: logits K; 1 = binary.
        width: channels of the first stage; 64 is VGG's own.
        batch_norm: whether the encoder is ``vgg16_bn``.
        fold: whether the first convolution has one input channel, whose weights are the sum over
            the three: for grey images the same outputs up to rounding, a little faster.

    Raises:
        ModelError: an argument is out of its range.
    """

    multiple = 32

    def __init__(
        self, n_channels: int, n_classes: int, *, width: int, batch_norm: bool, fold: bool
    ) -> None:
        super().__init__()
        for name, value in {
            "n_channels": n_channels,
            "n_classes": n_classes,
            "width": width,
        }.items():
            if value < 1:
                raise ModelError(expected(f"`{name}`", "at least 1", value, "a positive number"))
        if fold and n_channels != 1:
            raise ModelError(
                expected("`fold`", "off for images in colour", f"{n_channels} channels",
                         "image.channels=1, or leaving `fold` out")
            )  # fmt: skip
        self.n_channels, self.n_classes = n_channels, n_classes
        self.width, self.batch_norm = width, batch_norm
        self._repeats = n_channels == 1 and not fold
        stem = 3 if self._repeats else n_channels
        self.encoder = VGG16Encoder(stem, width=width, batch_norm=batch_norm)
        self.stages = stage_channels(width)

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are the encoder's features, finest first."""
        pools = self.encoder.pools
        return tuple(f"encoder.features.{place}" for place in (*(p - 1 for p in pools), pools[-1]))

    @property
    def encoder_levels(self) -> tuple[tuple[str, ...], ...]:
        """Submodules that hold the encoder's weights, stage by stage from the image."""
        return tuple(
            tuple(f"encoder.features.{place}" for place in level) for level in self.encoder.levels
        )

    @abstractmethod
    def encode(self, x: Tensor) -> list[Tensor]:
        """Give the features on their way to the decoder; sides of `x` divide by 32."""

    @abstractmethod
    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits for the features."""

    def shown(self, x: Tensor) -> Tensor:
        """Give images as the first convolution takes them: grey three times over."""
        return x.expand(-1, 3, -1, -1) if self._repeats else x

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, K, H, W) at the size of `x` (N, C, H, W)."""
        height, width = x.shape[-2:]
        logits = self.decode(self.encode(pad_to_multiple(x, self.multiple)))
        return logits[..., :height, :width]

    def take_weights(self, tensors: Mapping[str, Tensor], *, origin: str) -> tuple[str, ...]:
        """Take over the encoder of a VGG-16 by torchvision's or timm's names.

        Args:
            tensors: ``features.0.weight`` and so on; what belongs to a classifier is not looked at.
            origin: where they are from, for the errors.

        Returns:
            The names that were taken.

        Raises:
            ModelError: they are those of another variant or network, a shape differs, a value is
                not finite, or this network's encoder is not as wide as VGG's.
        """
        own = self.encoder.features.state_dict()
        given = {k.removeprefix(_PREFIX): v for k, v in tensors.items() if k.startswith(_PREFIX)}
        self._check_variant({name: tuple(t.shape) for name, t in given.items()}, origin)
        taken = {name: tensor.float() for name, tensor in given.items() if name in own}
        for name, tensor in taken.items():
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    expected(f"{_PREFIX}{name} in {origin}", "finite", "values that are not",
                             "a fresh copy of the file")
                )  # fmt: skip
        if own["0.weight"].shape[1] == 1:
            taken["0.weight"] = fold_channels(taken["0.weight"])
        # Older files do not count batches; the count decides nothing here.
        self.encoder.features.load_state_dict({**own, **taken})
        return tuple(f"{_PREFIX}{name}" for name in taken)

    def _check_variant(self, shapes: Mapping[str, tuple[int, ...]], origin: str) -> None:
        wanted = variant_name(_DEPTH, batch_norm=self.batch_norm)
        stem = self.encoder.features.state_dict()["0.weight"].shape[1]
        if self.width != VGG_WIDTH or stem not in (1, 3):
            raise ModelError(
                expected("a network for weights from elsewhere", "as wide as VGG, with images of 1 "
                         "or 3 channels",
                         f"width {self.width}, {count(self.n_channels, 'channel')}",
                         "leaving `width` out of model.arguments, or model.weights")
            )  # fmt: skip
        found = recognise(shapes)
        if found == wanted:
            return
        if found is not None:
            switch = found in ("vgg16", "vgg16_bn")
            raise ModelError(
                expected(f"the weights in {origin}", f"those of {wanted}", f"those of {found}",
                         f"model.arguments.batch_norm={'true' if found == 'vgg16_bn' else 'false'}"
                         if switch else f"the weights of {wanted}")
            )  # fmt: skip
        layout = feature_shapes(_DEPTH, batch_norm=self.batch_norm)
        raise ModelError(
            expected(f"the weights in {origin}", f"those of {wanted}, named as torchvision or timm "
                     "name them", _first_difference(shapes, layout),
                     f"the file of torchvision's {wanted}, or hub:timm/{wanted}.tv_in1k")
        )  # fmt: skip

    def folded(self) -> VGGNetwork:
        """Give this network for grey images alone, its first convolution folded to one channel.

        Raises:
            ModelError: its first convolution does not have three input channels.
        """
        state: dict[str, Any] = dict(self.state_dict())
        first = "encoder.features.0.weight"
        state[first] = fold_channels(state[first])
        made = type(self)(**(self.arguments | {"n_channels": 1, "fold": True}))
        head = head_of(self)
        if head is not None:
            restore_presence(made, head.to_json())
        made.load_state_dict(state)
        return made.train(self.training)


def fold_channels(weight: Tensor) -> Tensor:
    """Sum the weights of a first convolution (O, 3, k, k) over its inputs, to (O, 1, k, k).

    Since Σ_c w_c ∗ x = (Σ_c w_c) ∗ x, the outputs for a grey image are those for the same image
    repeated three times, up to rounding.

    Raises:
        ModelError: there are not three input channels.

    Examples:
        >>> fold_channels(torch.ones(8, 3, 3, 3)).shape
        torch.Size([8, 1, 3, 3])
    """
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise ModelError(
            expected("the first convolution", "one of three input channels", tuple(weight.shape),
                     "leaving it as it is")
        )  # fmt: skip
    return weight.sum(dim=1, keepdim=True)


def _first_difference(
    shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> str:
    if not shapes:
        return f"no tensor under {_PREFIX}* at all"
    for name, shape in wanted.items():
        if name not in shapes:
            return f"no {_PREFIX}{name}"
        if shapes[name] != shape:
            return f"{_PREFIX}{name} of shape {shapes[name]} instead of {shape}"
    more = next(name for name in shapes if name not in wanted)
    return f"{_PREFIX}{more}, which it does not have"
