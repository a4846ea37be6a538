"""From the pixels of the network's square input to features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penumbra.promptable.families import Family

_BLOCK = 128
"""Places that attend together; their scores, 2 MB at 64 × 64 places, stay in the cache."""

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
    if family.decoder == "small":
        found = given.vision_encoder(placed)
        fine = found.intermediate_embeddings
        return found.last_hidden_state.float(), tuple(tensor.float() for tensor in fine)
    features, early = _encode_vit(given.vision_encoder, placed)
    # SAM-HQ looks at the first of them alone; the others would only take memory.
    return features.float(), tuple(tensor.float() for tensor in early[: family.extra])


def _encode_vit(encoder: Any, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run the library's layers; those that see the whole image attend in blocks of places.

    The library lays out the scores of all pairs of places at once, for SAM's 64 × 64 places and 12
    heads 0.8 GB in float32 and as much again for the relative positions: most of the time of such a
    layer goes into moving them.
    """
    x = encoder.patch_embed(pixels)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    early = []
    for layer in encoder.layers:
        # A GPU has the memory and the bandwidth, and would wait for so many small products.
        if layer.window_size > 0 or x.device.type != "cpu":
            x = layer(x)
        else:
            x = x + _attention(layer.attn, layer.layer_norm1(x))
            x = x + layer.mlp(layer.layer_norm2(x))
        if layer.window_size == 0:
            early.append(x)
    return encoder.neck(x), early


def _attention(attention: Any, x: Tensor) -> Tensor:
    """Attend over a whole image (N, h, w, C), with relative positions by row and by column."""
    count, height, width, _ = x.shape
    places, heads = height * width, attention.num_attention_heads
    qkv = attention.qkv(x).reshape(count, places, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.flatten(1, 2).contiguous()
    by_row = by_column = None
    if attention.use_rel_pos:
        rows = attention.get_rel_pos(height, height, attention.rel_pos_h)
        columns = attention.get_rel_pos(width, width, attention.rel_pos_w)
        grid = query.unflatten(1, (height, width))
        by_row = torch.einsum("nyxd,ykd->nyxk", grid, rows).flatten(1, 2)
        by_column = torch.einsum("nyxd,xkd->nyxk", grid, columns).flatten(1, 2)
    scaled, heard = query * attention.scale, torch.empty_like(query)
    for head in range(len(query)):
        against = key[head].T
        for start in range(0, places, _BLOCK):
            some = slice(start, start + _BLOCK)
            scores = (scaled[head, some] @ against).float()
            if by_row is not None and by_column is not None:
                grid = scores.view(-1, height, width)
                grid += by_row[head, some, :, None]
                grid += by_column[head, some, None, :]
            heard[head, some] = torch.softmax(scores, dim=-1).to(query.dtype) @ value[head]
    joined = heard.reshape(count, heads, height, width, -1).permute(0, 2, 3, 1, 4).flatten(3)
    found: Tensor = attention.proj(joined)
    return found
