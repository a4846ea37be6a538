"""Variation of a batch: geometry by Kornia for image and mask alike, then intensity.

Every draw comes from one explicit generator, seeded by the run's seed and the step. Kornia's own
random layers draw from torch's global state, so only its deterministic functions are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import warp_affine
from torch import Tensor

from penumbra.data.source import Symmetry
from penumbra.training.experiment import AugmentationSettings


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


@dataclass(frozen=True)
class Augmentation:
    """A plan of how batches are varied.

    Attributes:
        settings: how far.
        symmetry: which flips and turns, already resolved from ``auto``.
    """

    settings: AugmentationSettings
    symmetry: Symmetry

    def __call__(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Vary a batch.

        Args:
            images: (N, C, H, W) float32, normalised.
            masks: (N, H, W) uint8; the same geometry moves them, classes are never mixed.
            generator: where all draws come from.

        Returns:
            Images and masks of the same shapes and types.
        """
        height, width = images.shape[-2:]
        matrix = self.matrices(images.shape[0], (height, width), generator).to(images.device)
        images = warp_affine(
            images, matrix, (height, width), mode="bilinear", padding_mode="reflection"
        )
        moved = warp_affine(
            masks.unsqueeze(1).float(), matrix, (height, width), mode="nearest",
            padding_mode="reflection",
        )  # fmt: skip
        return self._intensity(images, generator), moved.squeeze(1).to(masks.dtype)

    def matrices(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw (N, 2, 3) float32 affine maps in pixels, source to destination."""
        s = self.settings
        height, width = size
        # Always the same number of draws, so that one setting does not shift the others' values.
        flips = torch.rand(n, 2, generator=generator) < 0.5
        turns = torch.randint(0, 4, (n,), generator=generator)
        angle = _uniform(n, -s.rotation, s.rotation, generator) * math.pi / 180
        scale = torch.exp(_uniform(n, -1, 1, generator) * math.log1p(s.scale))
        shift = _uniform(2 * n, -s.shift, s.shift, generator).view(n, 2)
        flip_x = torch.ones(n)
        if self.symmetry != "none":
            flip_x = torch.where(flips[:, 0], -1.0, 1.0)
        if self.symmetry == "dihedral":
            # A quarter turn of an oblong crop would pull in its mirror image; half turns only.
            steps = turns if height == width else 2 * (turns // 2)
            angle = angle + steps * (math.pi / 2)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        linear = torch.stack([cos * flip_x, -sin, sin * flip_x, cos], dim=1).view(n, 2, 2)
        centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
        offset = centre - linear @ centre + shift * torch.tensor([width, height])
        return torch.cat([linear, offset.unsqueeze(2)], dim=2)

    def _intensity(self, images: Tensor, generator: torch.Generator) -> Tensor:
        s, n = self.settings, images.shape[0]

        def column(values: Tensor) -> Tensor:
            return values.view(n, 1, 1, 1).to(images.device)

        exponent = torch.exp(_uniform(n, -1, 1, generator) * math.log(s.gamma))
        contrast = 1 + _uniform(n, -s.contrast, s.contrast, generator)
        brightness = _uniform(n, -s.brightness, s.brightness, generator)
        deviation = _uniform(n, 0, s.noise, generator)
        sigma = _uniform(n, 0, 1, generator)
        if s.gamma > 1:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            spread = (high - low).clamp_min(1e-6)
            images = ((images - low) / spread).pow(column(exponent)) * spread + low
        images = images * column(contrast) + column(brightness)
        if s.blur > 0:
            amount = (2 * sigma - 1).clamp_min(0) * s.blur + 1e-3
            size = 2 * math.ceil(2 * s.blur) + 1
            images = gaussian_blur2d(images, (size, size), amount.view(n, 1).repeat(1, 2))
        if s.noise > 0:
            white = torch.randn(images.shape, generator=generator).to(images.device)
            images = images + column(deviation) * white
        return images
