"""What a promptable model says about one prompt."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor

from penumbra.inference.prediction import Prediction

STABILITY_OFFSET = 1.0
"""In logits; how far the threshold is moved either way to see whether the mask stays."""

CLASS_NAMES = ("background", "object")


@dataclass(frozen=True)
class PromptedPrediction(Prediction):
    """A `Prediction` of two classes, background and what was prompted for.

    Attributes:
        predicted_iou: the model's own estimate of the mask's IoU, in [0, 1].
        stability: IoU between the mask at logit ≥ 1 and the mask at logit ≥ -1, in [0, 1]; 0 where
            both are empty.
        candidate: which output it is: 0 the single mask, 1 to 3 one of the three that the model
            gives for an ambiguous prompt.
        logits: (h, w) float32, low-resolution logits that can be given as a mask prompt.
    """

    predicted_iou: float = 0.0
    stability: float = 0.0
    candidate: int = 0
    logits: NDArray[np.float32] | None = None


def stability_score(logits: Tensor, *, offset: float = STABILITY_OFFSET) -> Tensor:
    """Compute |z ≥ offset| / |z ≥ -offset| over the last two axes (Kirillov et al., 2023).

    Args:
        logits: (…, h, w).
        offset: of the threshold, in logits.

    Returns:
        (…) float32 in [0, 1]; 0 where no logit reaches -offset, so that an empty mask is never NaN.

    Examples:
        >>> stability_score(torch.tensor([[[2.0, 0.0]], [[-5.0, -5.0]]])).tolist()
        [0.5, 0.0]
    """
    inner = (logits >= offset).sum(dim=(-1, -2)).float()
    outer = (logits >= -offset).sum(dim=(-1, -2)).float()
    return inner / outer.clamp(min=1)


def to_image_size(
    logits: Tensor, *, resized: tuple[int, int], side: int, size: tuple[int, int]
) -> Tensor:
    """Scale low-resolution logits to the image, bilinearly and in one step.

    Args:
        logits: (N, K, h, w) over the network's whole square input.
        resized: (h, w) of the part of that square that the image fills.
        side: of the square, in the network's pixels.
        size: (H, W) of the image.

    Returns:
        (N, K, H, W) float32.
    """
    rows, columns = (
        _bilinear(n, extent * known / side, known).to(logits.device)
        for n, extent, known in zip(size, resized, logits.shape[-2:], strict=True)
    )
    return (rows @ logits.float()) @ columns.T


@functools.lru_cache(maxsize=16)
def _bilinear(n: int, end: float, known: int) -> Tensor:
    """Give the weights (n, known) that sample `known` values at n places between 0 and `end`.

    The image may end inside a pixel of the logits, which `F.interpolate` cannot say: it would round
    the size, and copies where sizes happen to be equal.
    """
    places = ((torch.arange(n, dtype=torch.float64) + 0.5) * (end / n) - 0.5).clamp(0, known - 1)
    below = places.floor().long()
    share = places - below
    weights = torch.zeros(n, known, dtype=torch.float64)
    weights.scatter_(1, below[:, None], (1 - share)[:, None])
    weights.scatter_add_(1, (below + 1).clamp(max=known - 1)[:, None], share[:, None])
    return weights.float()


def prediction_of(
    large: Tensor, low: Tensor, *, iou: float, stability: float, candidate: int
) -> PromptedPrediction:
    """Make a prediction of logits at the image's size (H, W) and their low-resolution form."""
    probability = torch.sigmoid(large)
    # −p ln p − (1 − p) ln(1 − p) with p = σ(z) is softplus(z) − z·p, which stays exact at its ends.
    entropy = (F.softplus(large) - large * probability).clamp_(min=0)
    planes = torch.stack([1 - probability, probability])
    return PromptedPrediction(
        probabilities=planes.cpu().numpy(),
        mask=(probability >= 0.5).to(torch.uint8).cpu().numpy(),
        uncertainty={"entropy": entropy.cpu().numpy()},
        class_names=CLASS_NAMES,
        sampler="prompt",
        predicted_iou=iou,
        stability=stability,
        candidate=candidate,
        logits=low.float().cpu().numpy(),
    )
