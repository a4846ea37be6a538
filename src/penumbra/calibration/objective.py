"""What a calibration minimises: the likelihood of pixels, and that of tiles under several passes.

Both are differentiable torch functions of logits; `penumbra.evaluation.joint` computes the same
tile likelihood for finished predictions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.data.sample import IGNORE

TILE = 16
"""Pixels per side of a tile."""

N_EFF = 16.0
"""How many independent pixels the tempered likelihood takes a tile for."""


def log_likelihoods(logits: Tensor, truth: Tensor) -> Tensor:
    """Compute ln p(truth) of every pixel; 0 where the truth is to be ignored.

    Args:
        logits: (…, N, K, H, W); K = 1 is binary, K ≥ 2 is softmax. Leading axes are passes.
        truth: (N, H, W) class indices, 255 = ignore.

    Returns:
        (…, N, H, W).

    Examples:
        >>> logits = torch.zeros(3, 1, 1, 1, 2)
        >>> log_likelihoods(logits, torch.tensor([[[1, 255]]]))[0].tolist()
        [[[-0.6931471824645996, 0.0]]]
    """
    scored = truth != IGNORE
    if logits.shape[-3] == 1:
        sign = (truth == 1).to(logits.dtype) * 2 - 1
        given = F.logsigmoid(logits.squeeze(-3) * sign)
    else:
        index = torch.where(scored, truth, 0).to(torch.int64).unsqueeze(-3)
        index = index.expand(*logits.shape[:-3], 1, *logits.shape[-2:])
        given = F.log_softmax(logits, dim=-3).gather(-3, index).squeeze(-3)
    return torch.where(scored, given, 0.0)


def pixel_nll(logs: Tensor, truth: Tensor) -> Tensor:
    """Compute the mean negative log-likelihood of the scored pixels, in nats.

    Args:
        logs: (…, N, H, W) from `log_likelihoods`.
        truth: (N, H, W); 255 = ignore.

    Returns:
        (…), 0 where nothing is scored.
    """
    count = (truth != IGNORE).sum().clamp(min=1)
    return -logs.sum(dim=(-3, -2, -1)) / count


def tile_sums(values: Tensor, tile: int = TILE) -> Tensor:
    """Add (…, H, W) up over tiles; those at the right and lower border may be smaller."""
    bottom, right = (-size % tile for size in values.shape[-2:])
    padded = F.pad(values, (0, right, 0, bottom))
    rows, columns = (size // tile for size in padded.shape[-2:])
    tiles = padded.reshape(*padded.shape[:-2], rows, tile, columns, tile)
    return tiles.sum(dim=(-3, -1))


def tile_joint_nll(
    logs: Tensor, truth: Tensor, *, tile: int = TILE, n_eff: float = N_EFF
) -> Tensor:
    """Compute the tempered joint NLL of tiles under K passes, in nats per pixel.

    L = −mean over tiles of (1/n_eff) · [ln Σ_k exp(n_eff · mean_tile ln p_k) − ln K], the tile
    taken for n_eff independent pixels; tiles weigh by their scored pixels. For one pass it is the
    pixel NLL. `n_eff` is the dial of dispersion: the higher it is, the more it pays that one pass
    is right all over a tile.

    Args:
        logs: (K, N, H, W) ln p(truth) of each pass, 0 where ignored; from `log_likelihoods`.
        truth: (N, H, W); 255 = ignore.
        tile: pixels per side.
        n_eff: see above.

    Returns:
        A scalar, 0 where nothing is scored.

    Examples:
        >>> sure = torch.tensor([[0.8, 0.2], [0.2, 0.8]]).view(2, 1, 1, 2)
        >>> truth = torch.tensor([[[1, 1]]])
        >>> logs = torch.stack([sure[0].expand(1, 1, 2), sure[1].expand(1, 1, 2)]).log()
        >>> round(float(tile_joint_nll(logs, truth)), 4)
        0.9163
    """
    scored = tile_sums((truth != IGNORE).to(logs.dtype), tile)
    mean = tile_sums(logs, tile) / scored.clamp(min=1)
    by_tile = (torch.logsumexp(n_eff * mean, dim=0) - math.log(len(logs))) / n_eff
    return -(by_tile * scored).sum() / scored.sum().clamp(min=1)
