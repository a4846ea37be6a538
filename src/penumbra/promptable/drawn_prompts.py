"""Prompts drawn as maps on the grid of the masks, for a network that looks at them."""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 4
"""Of a drawing: inside the box, on the object, off the object, the last answer."""

_NEAR = 2.0
_ANSWER_SCALE = 8.0


def draw(
    *,
    side: int,
    low: int,
    boxes: Tensor | None = None,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Draw N prompts.

    Channel 0 is the share of each place that the box covers, 1 all over where there is no box.
    Channels 1 and 2 are exp(−d² / 2σ²) of the distance d to the nearest point on and off the
    object, σ = 2 places. Channel 3 is the last answer's logits over 8, within ±1, or 0.

    Args:
        side: of the network's input, whose pixels prompts are given in.
        low: side of the grid.
        boxes: (N, 4) xyxy, edges of pixels; a row of NaN is no box.
        points: (N, P, 2), (x, y), a whole number the centre of a pixel.
        labels: (N, P): 1 on the object, 0 off it, −1 nothing.
        masks: (N, 1, low, low) logits.

    Returns:
        (N, 4, low, low) float32.

    Examples:
        >>> drawn = draw(side=8, low=4, boxes=torch.tensor([[2.0, 0.0, 5.0, 8.0]]))
        >>> drawn[0, 0, 0].tolist()
        [0.0, 1.0, 0.5, 0.0]
    """
    given = next(t for t in (boxes, points, masks) if t is not None)
    count, device = len(given), given.device
    drawn = torch.zeros(count, CHANNELS, low, low, device=device)
    drawn[:, 0] = 1
    scale = low / side
    places = torch.arange(low, device=device, dtype=torch.float32)
    if boxes is not None:
        covers = []
        for near, far in ((1, 3), (0, 2)):
            first, last = boxes[:, near, None] * scale, boxes[:, far, None] * scale
            covers.append(torch.minimum(last, places + 1) - torch.maximum(first, places))
        down, across = (cover.clamp(0, 1) for cover in covers)
        cover = down[:, :, None] * across[:, None, :]
        drawn[:, 0] = torch.where(cover.isnan(), 1.0, cover)
    if points is not None and labels is not None:
        centres = (points.float() + 0.5) * scale
        x = (places + 0.5 - centres[..., 0, None]) ** 2
        y = (places + 0.5 - centres[..., 1, None]) ** 2
        near_it = torch.exp(-(y[..., :, None] + x[..., None, :]) / (2 * _NEAR**2))
        for channel, label in ((1, 1), (2, 0)):
            chosen = (labels == label)[..., None, None]
            drawn[:, channel] = (near_it * chosen).amax(1)
    if masks is not None:
        drawn[:, 3] = (masks[:, 0].float() / _ANSWER_SCALE).clamp(-1, 1)
    return drawn
