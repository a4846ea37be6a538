"""What a promptable model is trained by: the loss of Segment Anything, and Dice + BCE.

Shapes: B images, N prompts each, M masks per prompt, logits at the decoder's own resolution h×w.
Every function takes an optional `valid` map, 0 where a pixel must not count (padding, ignored
pixels), and `weight`, 0 for a prompt that only fills up the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.errors import SettingsError, expected

LossName = Literal["sam", "dice_bce"]
"""``sam`` is 20·focal + dice + IoU-MSE, least over the masks; ``dice_bce`` is Dice + BCE."""

FOCAL_WEIGHT = 20.0
"""How much more focal counts than Dice (Kirillov et al. 2023, arXiv 2304.02643, appendix A)."""

_ALPHA = 0.25
_GAMMA = 2.0


@dataclass(frozen=True)
class PromptLoss:
    """A loss with its parts, for the log.

    Attributes:
        total: scalar to be differentiated.
        mask: scalar, the part of the masks, detached.
        iou: scalar, the part of the predicted IoU, detached.
        least: (B, N) int64, which mask had the least loss.
        true_iou: (B, N, M), the IoU that the masks have, cut at logit 0.
    """

    total: Tensor
    mask: Tensor
    iou: Tensor
    least: Tensor
    true_iou: Tensor


def focal_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the mean over pixels of −α_t (1 − p_t)² ln p_t, with α = ¼ for the object.

    Lin et al. 2017, arXiv 1708.02002.

    Args:
        logits: (…, h, w) float.
        target: (…, h, w), 0 or 1, or shares of a pixel between them.
        valid: (…, h, w), 0 where a pixel does not count.

    Returns:
        (…) float32, one value per mask.

    Examples:
        >>> bool(focal_loss(torch.full((2, 4, 4), 9.0), torch.ones(2, 4, 4)).max() < 1e-6)
        True
    """
    logits, target = logits.float(), target.float()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    missed = p * (1 - target) + (1 - p) * target
    alpha = _ALPHA * target + (1 - _ALPHA) * (1 - target)
    return _pixel_mean(alpha * missed**_GAMMA * cross, valid)


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute 1 − (2 Σ p y + 1) / (Σ p + Σ y + 1) per mask.

    Args:
        logits: (…, h, w) float.
        target: (…, h, w) in [0, 1].
        valid: (…, h, w), 0 where a pixel does not count.

    Returns:
        (…) float32 in [0, 1).

    Examples:
        >>> round(float(dice_loss(torch.full((1, 2, 2), -99.0), torch.ones(1, 2, 2))), 3)
        0.8
    """
    p, target = torch.sigmoid(logits.float()), target.float()
    if valid is not None:
        p, target = p * valid, target * valid
    p, target = p.flatten(-2), target.flatten(-2)
    return 1 - (2 * (p * target).sum(-1) + 1) / (p.sum(-1) + target.sum(-1) + 1)


def bce_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the mean over pixels of binary cross-entropy, (…) float32, one value per mask."""
    cross = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return _pixel_mean(cross, valid)


def iou_of_logits(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute |A ∩ B| / |A ∪ B| of masks cut at logit 0 and targets cut at ½.

    Returns:
        (…) float32 in [0, 1]; 1 where both are empty, since then they agree.
    """
    a, b = logits > 0, target > 0.5
    if valid is not None:
        a, b = a & (valid > 0), b & (valid > 0)
    both = (a & b).flatten(-2).sum(-1).float()
    either = (a | b).flatten(-2).sum(-1).float()
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(either))


def prompt_loss(
    logits: Tensor,
    predicted_iou: Tensor,
    target: Tensor,
    *,
    name: LossName = "sam",
    valid: Tensor | None = None,
    weight: Tensor | None = None,
    iou_weight: float = 1.0,
) -> PromptLoss:
    """Compute the loss of the masks that a model answers to its prompts.

    The mask loss, 20·focal + Dice or BCE + Dice, is taken of the one mask of each prompt that has
    the least of it, so that an ambiguous prompt may be answered by several masks. The squared
    error of the predicted IoU is averaged over all M masks, since the model chooses among them by
    it; no gradient passes from it to the masks.

    Args:
        logits: (B, N, M, h, w).
        predicted_iou: (B, N, M).
        target: (B, N, h, w) in [0, 1].
        name: which mask loss.
        valid: (B, N, h, w) or broadcastable to it, 0 where a pixel does not count.
        weight: (B, N), 0 where a prompt does not count.
        iou_weight: of the squared error of the predicted IoU.

    Raises:
        SettingsError: an unknown name, or shapes that do not fit.

    Examples:
        >>> target = torch.ones(1, 1, 4, 4)
        >>> logits = torch.stack([torch.full((4, 4), x) for x in (-9.0, 9.0, 0.0)])[None, None]
        >>> loss = prompt_loss(logits, torch.tensor([[[0.0, 1.0, 0.0]]]), target)
        >>> int(loss.least), bool(loss.total < 0.01)
        (1, True)
    """
    _check(logits, predicted_iou, target, name)
    several = target.unsqueeze(2).expand_as(logits)
    counted = None if valid is None else valid.expand_as(target).unsqueeze(2).expand_as(logits)
    pixel = (
        FOCAL_WEIGHT * focal_loss(logits, several, counted)
        if name == "sam"
        else bce_loss(logits, several, counted)
    )
    per_mask = pixel + dice_loss(logits, several, counted)
    least_loss, least = per_mask.min(dim=2)
    true_iou = iou_of_logits(logits, several, counted)
    error = (predicted_iou.float() - true_iou.detach()).square().mean(dim=2)
    if weight is None:
        weight = torch.ones_like(least_loss)
    count = weight.sum().clamp_min(1.0)
    mask_part = (least_loss * weight).sum() / count
    iou_part = (error * weight).sum() / count
    return PromptLoss(
        total=mask_part + iou_weight * iou_part,
        mask=mask_part.detach(),
        iou=iou_part.detach(),
        least=least,
        true_iou=true_iou,
    )


def _pixel_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.flatten(-2).mean(-1)
    valid = valid.expand_as(values).float()
    # A mask of nothing but ignored pixels costs zero, not 0 / 0.
    return (values * valid).flatten(-2).sum(-1) / valid.flatten(-2).sum(-1).clamp_min(1.0)


def _check(logits: Tensor, predicted_iou: Tensor, target: Tensor, name: str) -> None:
    if name not in {"sam", "dice_bce"}:
        raise SettingsError(expected("the loss", "'sam' or 'dice_bce'", repr(name), "'sam'"))
    shape = tuple(logits.shape)
    fits = (
        logits.ndim == 5
        and tuple(predicted_iou.shape) == shape[:3]
        and tuple(target.shape) == (*shape[:2], *shape[3:])
    )
    if not fits:
        raise SettingsError(
            expected(
                "the shapes of logits, predicted IoU and target",
                "(B, N, M, h, w), (B, N, M) and (B, N, h, w)",
                f"{shape}, {tuple(predicted_iou.shape)} and {tuple(target.shape)}",
                "resizing the target to the logits' resolution",
            )
        )
