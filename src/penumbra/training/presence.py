"""A presence head in training: built from the seed, and what it adds to the loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.data.sample import IGNORE
from penumbra.models.presence import attach_presence
from penumbra.training.experiment import Experiment

_PURPOSE = 0x68656164


def add_presence_head(network: nn.Module, experiment: Experiment) -> None:
    """Attach a head where the experiment asks for one, with weights drawn from its seed alone.

    The network's own weights are those that it would have without a head.

    Raises:
        ModelError: the network has no such features.
    """
    wish = experiment.model.presence
    if wish is False:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((experiment.training.seed * 1_000_003 + _PURPOSE) % 2**62)
        attach_presence(network, features=None if wish is True else wish)


def presence_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute the binary cross-entropy of presence, the mean over the images that count.

    An image shows something where its mask holds a foreground pixel. One whose pixels are all
    ignored does not count.

    Args:
        logits: (N,) of the presence head.
        mask: (N, H, W) class indices, 255 = ignore.

    Examples:
        >>> import torch
        >>> masks = torch.tensor([[[0, 1]], [[0, 255]], [[255, 255]]])
        >>> round(float(presence_loss(torch.tensor([9.0, -9.0, 9.0]), masks)), 3)
        0.0
    """
    valid = mask != IGNORE
    present = ((mask > 0) & valid).flatten(1).any(dim=1).to(logits.dtype)
    counts = valid.flatten(1).any(dim=1).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return (loss * counts).sum() / counts.sum().clamp_min(1.0)
