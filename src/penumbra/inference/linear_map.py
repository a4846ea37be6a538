"""Linear maps of decoder features: what a pixel's surroundings say, at the cost of a few products.

Each level's 1×1 map runs at that level's own resolution; only its R results are enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.errors import RunError, expected
from penumbra.inference.calibration import LinearMap
from penumbra.inference.doubt import Level


@dataclass(frozen=True)
class MapTensors:
    """A `LinearMap` as tensors, with the standardisation folded into weights and bias.

    Attributes:
        weight: per level (R, C).
        bias: (R,).
    """

    weight: tuple[Tensor, ...]
    bias: Tensor

    @classmethod
    def of(cls, linear: LinearMap) -> MapTensors:
        """Fold mean and standard deviation in, in double precision.

        Raises:
            RunError: the numbers of levels, rows or channels do not agree.
        """
        levels = (linear.weight, linear.mean, linear.std)
        if any(len(level) != len(linear.taps) for level in levels):
            raise _wrong(f"{[len(level) for level in levels]} levels of weight, mean and std")
        weights, bias = [], torch.tensor(linear.bias, dtype=torch.float64)
        for rows, mean, std in zip(*levels, strict=True):
            if len(rows) != len(linear.bias) or {len(row) for row in rows} - {len(mean)}:
                raise _wrong(f"{len(rows)} rows for {len(linear.bias)} biases")
            if len(std) != len(mean) or not all(s > 0 for s in std):
                raise _wrong("standard deviations that are missing or not positive")
            weight = torch.tensor(rows, dtype=torch.float64) / torch.tensor(std)
            bias = bias - weight @ torch.tensor(mean, dtype=torch.float64)
            weights.append(weight.float())
        return cls(tuple(weights), bias.float())

    def __call__(self, levels: Sequence[Level], size: tuple[int, int]) -> Tensor:
        """Compute the maps of a batch.

        Args:
            levels: features of any floating type, in the order of `weight`.
            size: (H, W) of the logits; features of a padded input reach beyond it and are cut.

        Returns:
            (N, R, H, W) float32.
        """
        by_grid: dict[tuple[int, int, int], Tensor] = {}
        for weight, level in zip(self.weight, levels, strict=True):
            features = level.features.float()
            if features.shape[1] != weight.shape[1]:
                raise _wrong(f"one of {weight.shape[1]} channels for {features.shape[1]}")
            mapped = F.conv2d(features, weight.to(features.device)[:, :, None, None])
            # Levels on one grid are enlarged together.
            grid = (level.stride, mapped.shape[-2], mapped.shape[-1])
            by_grid[grid] = by_grid[grid] + mapped if grid in by_grid else mapped
        total = self.bias.to(levels[0].features.device)[None, :, None, None]
        for grid, mapped in by_grid.items():
            total = total + enlarge(mapped, grid[0], size)
        return total


def _wrong(found: str) -> RunError:
    return RunError(
        expected("a linear map of the calibration", "whole", found, "`penumbra calibrate` again")
    )


def with_strides(features: Sequence[Tensor], size: tuple[int, int]) -> tuple[Level, ...]:
    """Find how many pixels of logits of this size each level's features span: powers of two.

    The finest level is measured against the logits, the others against the finest, since a
    network that pads its input within shows its coarse levels larger than the image.
    """
    if not features:
        return ()
    finest = max(features, key=lambda level: level.shape[-1])
    ratio = max(size[0] / finest.shape[-2], size[1] / finest.shape[-1])
    base = 2 ** max(0, math.ceil(math.log2(ratio) - 0.05))
    return tuple(
        Level(level, base * 2 ** round(math.log2(finest.shape[-1] / level.shape[-1])))
        for level in features
    )


def enlarge(mapped: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Enlarge (N, R, h, w) bilinearly by `stride` and cut or, at a lost border, repeat to size."""
    if stride > 1:
        mapped = F.interpolate(mapped, scale_factor=stride, mode="bilinear", align_corners=False)
    bottom, right = (
        max(0, want - have) for want, have in zip(size, mapped.shape[-2:], strict=True)
    )
    if bottom or right:
        mapped = F.pad(mapped, (0, right, 0, bottom), mode="replicate")
    return mapped[..., : size[0], : size[1]]
