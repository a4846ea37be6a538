"""From the pixels of the network's square input to features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penumbra.promptable.families import Family

Features = tuple[Tensor, tuple[Tensor, ...]]


@torch.no_grad()
def encode(model: nn.Module, pixels: Tensor, family: Family) -> Features:
    """Run a model's encoder on one image.

    Args:
        model: of transformers; its encoder's weights say where and in what precision.
        pixels: (1, 3, side, side) float32.
        family: the model's.

    Returns:
        Features (1, C, h, w) float32, and those further ones that the family's decoder wants.
    """
    given: Any = model
    weight = next(given.vision_encoder.parameters())
    placed = pixels.to(weight.device, weight.dtype)
    if family.decoder == "sam2":
        *fine, coarse = given.get_image_embeddings(placed)
        return coarse.float(), tuple(tensor.float() for tensor in fine)
    found = given.vision_encoder(placed)
    early = getattr(found, "intermediate_embeddings", None) or ()
    # SAM-HQ looks at the first of them alone; the others would only take memory.
    return found.last_hidden_state.float(), tuple(tensor.float() for tensor in tuple(early)[:1])
