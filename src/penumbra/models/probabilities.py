"""The one place where logits become probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def logits_to_probabilities(logits: Tensor) -> Tensor:
    """Turn logits into class probabilities; nothing after this knows about K = 1.

    K = 1: p = sigmoid(z), returned as (1 − p, p). K ≥ 2: p_c = exp(z_c) / Σ_k exp(z_k).
    The arithmetic is float32 whatever the network's precision was.

    Args:
        logits: (N, K, H, W), any floating type.

    Returns:
        (N, C, H, W) float32 with C = max(K, 2), summing to 1 over C.

    Examples:
        >>> logits_to_probabilities(torch.zeros(1, 1, 1, 1)).flatten().tolist()
        [0.5, 0.5]
        >>> logits_to_probabilities(torch.zeros(1, 4, 1, 1)).flatten().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        # sigmoid(−z) keeps the digits that 1 − sigmoid(z) would lose for large z.
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return torch.softmax(logits, dim=1)
