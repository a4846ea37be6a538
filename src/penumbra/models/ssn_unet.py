"""A U-Net that gives a distribution of logits: a Stochastic Segmentation Network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.models.unet.blocks import Norm, pad_to_multiple
from penumbra.models.unet.unet import UNet
from penumbra.noise.draws import join_keys, normal
from penumbra.noise.fields import draw
from penumbra.noise.patterns import Pattern

_LEAST_VARIANCE = 1e-5
_FIRST_LOG_VARIANCE = -3.0
_LARGEST_LOG_VARIANCE = 10.0
_FIRST_SCALE = 0.1
_FACTORS, _DIAGONAL = 0x666163, 0x646961
_WHITE = Pattern(name="gaussian")


@dataclass(frozen=True)
class LowRankNormal:
    """Logits η = μ + Σ_r P_r · ε_r + √D · ε, normal with covariance P Pᵀ + D over all pixels.

    Attributes:
        mean: (N, K, H, W) μ.
        factors: (N, R, K, H, W) P; ε_r is one number for the whole image.
        variance: (N, K, H, W) D > 0; ε is a number for every pixel and class.
    """

    mean: Tensor
    factors: Tensor
    variance: Tensor

    def float(self) -> LowRankNormal:
        """Give the same in float32."""
        return LowRankNormal(self.mean.float(), self.factors.float(), self.variance.float())

    def sample(
        self, keys: Tensor, *, first: int, count: int, origins: Tensor | None = None
    ) -> Tensor:
        """Draw logits, differentiable in the distribution.

        Args:
            keys: (N,) int64, one per image.
            first: number of the first sample; a sample is a function of its number.
            count: how many samples.
            origins: (N, 2) where windows lie in their images; windows of one image then agree.

        Returns:
            (N, count, K, H, W).
        """
        n, rank = self.factors.shape[:2]
        keys = keys.to(self.mean.device)
        numbers = torch.arange(first, first + count, device=keys.device)
        drawn = join_keys(keys.repeat_interleave(count), numbers.repeat(n))
        weights = normal(join_keys(drawn, _FACTORS), (rank,)).view(n, count, rank)
        shared = torch.einsum("nsr,nrkhw->nskhw", weights.to(self.mean.dtype), self.factors)
        classes, height, width = self.mean.shape[1:]
        places = None if origins is None else origins.repeat_interleave(count, dim=0)
        white = draw(
            _WHITE, join_keys(drawn, _DIAGONAL), classes, (height, width), origins=places
        ).view(n, count, classes, height, width)
        own = self.variance.sqrt().unsqueeze(1) * white.to(self.mean.dtype)
        return self.mean.unsqueeze(1) + shared + own


class SSNUNet(UNet):
    """The U-Net with a normal distribution of logits (Monteiro et al. 2020, arXiv 2006.06015).

    A second last convolution gives factors and log-variance of a low-rank normal distribution
    beside the mean. The network itself gives the mean, so that it stands wherever a U-Net does;
    with the loss ``ssn`` the whole distribution is trained.

    Args:
        n_channels: image channels.
        n_classes: logits K; 1 = binary.
        rank: R, factors that are shared by all pixels.
        width: channels of the first level.
        depth: number of halvings.
        norm: ``"batch"``, ``"group"`` or ``"instance"``.
        dropout: probability of dropping a feature map.

    Raises:
        ModelError: an argument is out of its range.

    Examples:
        >>> network = SSNUNet(1, 2, rank=3, width=4, depth=2).eval()
        >>> network.sample_logits(torch.rand(1, 1, 16, 20), torch.tensor([7]), 0, 5).shape
        torch.Size([1, 5, 2, 16, 20])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        rank: int = 10,
        width: int = 64,
        depth: int = 4,
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        if rank < 1 or n_classes < 1:
            got = f"{rank} and {n_classes}"
            raise ModelError(expected("`rank` and `n_classes`", "at least 1", got, "rank=10"))
        super().__init__(
            n_channels, n_classes, width=width, depth=depth, norm=norm, dropout=dropout
        )
        self.rank = rank
        self.spread = nn.Conv2d(width, n_classes * (rank + 1), 1)
        with torch.no_grad():
            # Training begins near the plain U-Net: the noise grows where it is of use.
            self.spread.weight *= _FIRST_SCALE
            bias = torch.zeros(n_classes * (rank + 1))
            bias[-n_classes:] = _FIRST_LOG_VARIANCE
            self.spread.bias = nn.Parameter(bias)

    def distribution(self, x: Tensor) -> LowRankNormal:
        """Compute the distribution of logits for images (N, C, H, W), at their size."""
        height, width = x.shape[-2:]
        features = self.encode(pad_to_multiple(x, self.multiple))
        last = features[-1]
        for up, skip in zip(self.up, features[-2::-1], strict=True):
            last = up(last, skip)
        last = last[..., :height, :width]
        spread = self.spread(last).unflatten(1, (self.rank + 1, self.n_classes))
        return LowRankNormal(
            self.outc(last),
            spread[:, :-1],
            spread[:, -1].float().clamp(max=_LARGEST_LOG_VARIANCE).exp() + _LEAST_VARIANCE,
        )

    def sample_logits(
        self,
        x: Tensor,
        keys: Tensor,
        first: int,
        count: int,
        *,
        origins: Tensor | None = None,
    ) -> Tensor:
        """Draw logits (N, count, K, H, W), float32, for images (N, C, H, W).

        Args:
            x: the images.
            keys: (N,) int64, one per image.
            first: number of the first sample.
            count: how many.
            origins: (N, 2) where windows lie in their images, in pixels.
        """
        distribution = self.distribution(x).float()
        return distribution.sample(keys, first=first, count=count, origins=origins)
