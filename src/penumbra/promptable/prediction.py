"""What a promptable model says about one prompt."""

from __future__ import annotations

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
        (N, K, H, W) float32 on the CPU.
    """
    # The image may end inside a pixel of the logits, which functions that resize cannot say.
    ends = [extent * known / side for extent, known in zip(resized, logits.shape[-2:], strict=True)]
    below, share = _places(size[1], ends[1], logits.shape[-1])
    columns = torch.zeros(size[1], logits.shape[-1])
    columns.scatter_(1, below[:, None], 1 - share[:, None])
    columns.scatter_add_(1, (below + 1).clamp(max=logits.shape[-1] - 1)[:, None], share[:, None])
    wide = logits.detach().float().cpu() @ columns.T
    below, share = _places(size[0], ends[0], logits.shape[-2])
    above = (below + 1).clamp(max=logits.shape[-2] - 1)
    return torch.lerp(wide[..., below, :], wide[..., above, :], share[:, None])


def _places(n: int, end: float, known: int) -> tuple[Tensor, Tensor]:
    """Say which of `known` values lie before n places between 0 and `end`, and how far behind."""
    places = ((torch.arange(n, dtype=torch.float64) + 0.5) * (end / n) - 0.5).clamp(0, known - 1)
    below = places.floor().long()
    return below, (places - below).float()


def prediction_of(
    large: Tensor, low: Tensor, *, iou: float, stability: float, candidate: int
) -> PromptedPrediction:
    """Make a prediction of logits at the image's size (H, W) and their low-resolution form."""
    planes = torch.empty(2, *large.shape)
    probability = torch.sigmoid(large, out=planes[1])
    torch.sub(1, probability, out=planes[0])
    # −p ln p − (1 − p) ln(1 − p) with p = σ(z) is softplus(z) − z·p, which stays exact at its ends.
    entropy = F.softplus(large).addcmul_(large, probability, value=-1).clamp_(min=0)
    return PromptedPrediction(
        probabilities=planes.numpy(),
        mask=(probability >= 0.5).to(torch.uint8).numpy(),
        uncertainty={"entropy": entropy.numpy()},
        class_names=CLASS_NAMES,
        sampler="prompt",
        predicted_iou=iou,
        stability=stability,
        candidate=candidate,
        logits=low.float().cpu().numpy(),
    )
