"""The plain FCN-8s: VGG-16, a classifier made of convolutions, scores of three resolutions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.vgg.encoder import VGGNetwork
from penumbra.models.vgg.layout import VGG_WIDTH

_HIDDEN = 4096
_CLASSIFIERS = (("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2"))


class ScoreFusion(nn.Module):
    """Double the size of scores by a learnt kernel and add the scores of a finer pooling."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, n_classes, 1)
        self.up = nn.ConvTranspose2d(n_classes, n_classes, 4, stride=2, padding=1, bias=False)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.up.weight.copy_(bilinear_kernel(n_classes))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Join scores (N, K, H/2, W/2) with features (N, C, H, W) to scores (N, K, H, W)."""
        joined: Tensor = self.up(deep) + self.score(skip)
        return joined


def bilinear_kernel(n_classes: int) -> Tensor:
    """Give the kernel (K, K, 4, 4) of a transposed convolution that doubles a size bilinearly.

    Examples:
        >>> bilinear_kernel(1)[0, 0, 0]
        tensor([0.0625, 0.1875, 0.1875, 0.0625])
    """
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return torch.eye(n_classes)[:, :, None, None] * torch.outer(ramp, ramp)


class VGG16FCN8s(VGGNetwork):
    """The FCN-8s of Long, Shelhamer and Darrell (2015, arXiv 1411.4038) on VGG-16.

    VGG's two hidden layers become convolutions (7×7 and 1×1). Their scores, at 1/32 of the size,
    are doubled and joined with scores of the fourth pooling, doubled and joined with those of the
    third, and enlarged eight times. Learnt enlargements begin as bilinear ones, scores of poolings
    at zero; the last enlargement is bilinear and stays so. Images are padded by their border to
    multiples of 32 where the paper pads by 100 zeros.

    Args:
        n_channels: image channels; grey images are repeated for the three that VGG takes.
        n_classes: logits K; 1 = binary (sigmoid), ≥ 2 = softmax.
        width: channels of the first stage; 64 is VGG's own, fewer take no weights from elsewhere.
        batch_norm: whether the encoder is ``vgg16_bn``.
        fold: whether the first convolution has one input channel; see `VGGNetwork`.
        hidden: channels of the classifier; 4096 is the paper's (120 M weights), and then takes
            over the hidden layers of weights from elsewhere too.
        dropout: probability of dropping a feature map of the classifier.

    Shape:
        (N, n_channels, H, W) to (N, n_classes, H, W), for any H, W ≥ 1.

    Raises:
        ModelError: an argument is out of its range.

    Examples:
        >>> VGG16FCN8s(1, 1, width=2, hidden=4)(torch.zeros(2, 1, 50, 33)).shape
        torch.Size([2, 1, 50, 33])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        width: int = VGG_WIDTH,
        batch_norm: bool = False,
        fold: bool = False,
        hidden: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(n_channels, n_classes, width=width, batch_norm=batch_norm, fold=fold)
        if hidden < 1:
            raise ModelError(expected("`hidden`", "at least 1", hidden, "512, or the paper's 4096"))
        if not 0 <= dropout < 1:
            raise ModelError(expected("`dropout`", "in [0, 1)", dropout, "0.5"))
        self.hidden = hidden
        self.channels = self.stages[2:]
        self.head = nn.Sequential(
            nn.Conv2d(self.stages[-1], hidden, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        for layer in (self.head[0], self.head[3]):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
        self.score = nn.Conv2d(hidden, n_classes, 1)
        self.fuse4 = ScoreFusion(self.stages[3], n_classes)
        self.fuse3 = ScoreFusion(self.stages[2], n_classes)

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of what `encode` gives: poolings three and four, then the fifth."""
        return ("skip1", "skip2", "bottleneck")

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are the decoder's features, coarsest first."""
        return ("head", "fuse4", "fuse3")

    def encode(self, x: Tensor) -> list[Tensor]:
        """Give the outputs of the last three poolings, at 1/8, 1/16 and 1/32 of the size."""
        return self.encoder.collect(self.shown(x), self.encoder.pools[2:])

    def decode(self, features: list[Tensor]) -> Tensor:
        """Give the logits for the features that `encode` gave."""
        third, fourth, fifth = features
        scores = self.score(self.head(fifth))
        scores = self.fuse3(self.fuse4(scores, fourth), third)
        return F.interpolate(scores, scale_factor=8.0, mode="bilinear", align_corners=False)

    def take_weights(self, tensors: Mapping[str, Tensor], *, origin: str) -> tuple[str, ...]:
        """Take over the encoder, and the hidden layers where this network's are as wide.

        See `VGGNetwork.take_weights`. A fully connected layer over 7×7 features is a 7×7
        convolution with the same numbers, so torchvision's (4096, 25088) becomes
        (4096, 512, 7, 7).
        """
        taken = super().take_weights(tensors, origin=origin)
        if self.hidden != _HIDDEN:
            return taken
        for pair in _CLASSIFIERS:
            if all(f"{name}.weight" in tensors and f"{name}.bias" in tensors for name in pair):
                names = [f"{name}.{kind}" for name in pair for kind in ("weight", "bias")]
                own = self.head.state_dict()
                made = {}
                for key, name in zip(own, names, strict=True):
                    made[key] = _reshaped(tensors[name], own[key], name=name, origin=origin)
                self.head.load_state_dict(made)
                return (*taken, *names)
        return taken


def _reshaped(tensor: Tensor, own: Tensor, *, name: str, origin: str) -> Tensor:
    if tensor.numel() != own.numel() or not bool(torch.isfinite(tensor).all()):
        raise ModelError(
            expected(f"{name} in {origin}", f"{tuple(own.shape)} finite numbers",
                     tuple(tensor.shape), "model.arguments.hidden=512, which leaves it out")
        )  # fmt: skip
    return tensor.float().reshape(own.shape)
