"""Losses by name; ignored pixels count in none of them, and empty masks have a stated meaning.

Region losses (Dice, Tversky, generalised Dice) are MONAI's, given probabilities and one-hot masks
in which ignored pixels are zero on both sides. They sum over the batch (``batch=True``): an image
without foreground then adds its false positives and no undefined 0 / 0 of its own; a batch without
any foreground costs smooth / (smooth + Σ p), which is near its least at p = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from monai.losses.dice import DiceLoss, GeneralizedDiceLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor

from penumbra.data.sample import IGNORE
from penumbra.training.experiment import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, K, H, W) float32 and masks (N, H, W) int64 to a scalar."""

SSN_SAMPLES = 16
"""Monte Carlo samples of the loss ``ssn``."""

SOFT_FIRST, SOFT_STEPS = 2, 252
"""Values v = 2 … 254 of a mask for one logit stand for the probability (v − 2) / 252."""

_BOUNDARY_WEIGHT = 4.0
_BOUNDARY_WIDTH = 7
_FOCAL_GAMMA = 2.0


def foreground(mask: Tensor) -> Tensor:
    """Give the foreground probability float32 of a binary mask, which may be soft.

    Args:
        mask: of 0, 1 and codes, see `SOFT_FIRST`; nothing ignored.

    Examples:
        >>> foreground(torch.tensor([0, 1, 2, 128, 254])).tolist()
        [0.0, 1.0, 0.0, 0.5, 1.0]
    """
    value = mask.float()
    return torch.where(value <= 1, value, (value - SOFT_FIRST) / SOFT_STEPS)


def _one_hot(mask: Tensor, n_logits: int) -> tuple[Tensor, Tensor]:
    """Give one-hot masks (N, K, H, W) and the valid pixels (N, 1, H, W), both float32."""
    valid = (mask != IGNORE).unsqueeze(1)
    classes = mask.masked_fill(mask == IGNORE, 0)
    if n_logits == 1:
        hot = foreground(classes).unsqueeze(1)
    else:
        hot = F.one_hot(classes, n_logits).movedim(-1, 1)
    return (hot * valid).float(), valid.float()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    # A batch of nothing but ignored pixels costs zero, not 0 / 0.
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def _pixel_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy at every pixel, (N, 1, H, W); binary for one logit."""
    if logits.shape[1] == 1:
        target = foreground(mask.masked_fill(mask == IGNORE, 0)).unsqueeze(1)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none").unsqueeze(1)


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean of −ln p(true class) over the pixels that are not ignored."""
    return _mean(_pixel_loss(logits, mask), (mask != IGNORE).unsqueeze(1).float())


def focal(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean of −(1 − p)² ln p, p the true class's probability (arXiv 1708.02002)."""
    loss = _pixel_loss(logits, mask)
    weight = (1 - torch.exp(-loss)) ** _FOCAL_GAMMA
    return _mean(weight * loss, (mask != IGNORE).unsqueeze(1).float())


def boundary_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute cross-entropy with pixels within 3 px of a true boundary weighted 5 times.

    A pixel is near a boundary where its 7×7 neighbourhood holds more than one class.
    """
    valid = mask != IGNORE
    classes = mask.masked_fill(~valid, 0).unsqueeze(1).float()
    pad = _BOUNDARY_WIDTH // 2
    highest = F.max_pool2d(classes, _BOUNDARY_WIDTH, stride=1, padding=pad)
    lowest = -F.max_pool2d(-classes, _BOUNDARY_WIDTH, stride=1, padding=pad)
    weight = (1 + _BOUNDARY_WEIGHT * (highest != lowest)) * valid.unsqueeze(1)
    return _mean(_pixel_loss(logits, mask), weight.float())


def sampled_likelihood(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute −(1/P) · [logsumexp_m Σ_p log p(y_p | η_m) − log M], the mean over images.

    The negative log-likelihood of whole masks under M samples of the logits (Monteiro et al.
    2020, arXiv 2006.06015), divided by the number P of valid pixels, which leaves its gradient's
    direction and puts it on the scale of a cross-entropy.

    Args:
        logits: (N, M, K, H, W), or (N, K, H, W) for M = 1.
        mask: (N, H, W) int64; ignored pixels count nowhere.
    """
    logits = logits.unsqueeze(1) if logits.ndim == 4 else logits
    n, m = logits.shape[:2]
    repeated = mask.repeat_interleave(m, dim=0)
    valid = (mask != IGNORE).unsqueeze(1).float()
    loss = _pixel_loss(logits.flatten(0, 1), repeated).view(n, m, *mask.shape[1:])
    log_likelihood = -(loss * valid).flatten(2).sum(2)
    joint = torch.logsumexp(log_likelihood, dim=1) - math.log(m)
    return -(joint / valid.flatten(1).sum(1).clamp_min(1.0)).mean()


def _region(loss: torch.nn.Module) -> LossFunction:
    def compute(logits: Tensor, mask: Tensor) -> Tensor:
        hot, valid = _one_hot(mask, logits.shape[1])
        single = logits.shape[1] == 1
        probabilities = torch.sigmoid(logits) if single else torch.softmax(logits, dim=1)
        value: Tensor = loss(probabilities * valid, hot)
        return value

    return compute


def make_loss(name: Loss, *, has_background: bool = True, n_logits: int = 1) -> LossFunction:
    """Build a loss by its name in the experiment file.

    Args:
        name: see `TrainingSettings.loss`.
        has_background: leave class 0 out of the region terms where there are several logits.
        n_logits: K of the network.

    Returns:
        A function of logits (N, K, H, W) and masks (N, H, W) int64 that gives a scalar; for
        ``ssn`` of samples of logits (N, M, K, H, W).

    Examples:
        >>> loss = make_loss("dice_ce")
        >>> mask = torch.tensor([[[0, 1]]])
        >>> bool(loss(torch.tensor([[[[-9.0, 9.0]]]]), mask) < 0.01)
        True
    """
    include = not (has_background and n_logits > 1)
    dice = _region(DiceLoss(include_background=include, batch=True))
    single: dict[str, LossFunction] = {
        "ce": cross_entropy, "dice": dice, "ssn": sampled_likelihood
    }  # fmt: skip
    if name in single:
        return single[name]
    if name == "tversky":
        return _region(TverskyLoss(include_background=include, alpha=0.3, beta=0.7, batch=True))
    if name == "generalized_dice":
        return _region(GeneralizedDiceLoss(include_background=include, batch=True))
    pixel = {"dice_ce": cross_entropy, "dice_focal": focal, "boundary": boundary_cross_entropy}[
        name
    ]
    return lambda logits, mask: dice(logits, mask) + pixel(logits, mask)
