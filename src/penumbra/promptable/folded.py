"""SAM's mask decoder with its products in another order: fewer operations, the same numbers.

In the decoder a handful of tokens attends to thousands of places of the image and back. The library
projects every place to keys, values and queries first. A product of matrices may be computed in any
order, so here the few tokens go through the projections instead:

    (W_q t) · (W_k x)  =  (W_kᵀ W_q t) · x        and        W_o Σ a (W_v x)  =  W_o W_v Σ a x

With T tokens and h heads, T · h < the inner width of 128 is all that the image's places are
multiplied with. In the first layer all prompts see the same image, so it is one product for all.
Upscaling is done in blocks of places that stay in the processor's cache, and without ever moving
channels: a transposed convolution whose stride is its size is a product per place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

_BLOCK = 1024
"""Places of the image that are upscaled together; 4 MB of features."""

_KNOWN = ("torch", "transformers")


def can_fold(decoder: nn.Module) -> bool:
    """Tell whether a mask decoder is the library's own, whose weights are all there is to it.

    Adapters that are not merged put something of their own around a layer; reading its weights
    would pass them over in silence.
    """
    return all(
        type(module).__module__.partition(".")[0] in _KNOWN and not module._forward_hooks  # noqa: SLF001
        for module in decoder.modules()
    )


def decode_folded(
    model: Any, features: Tensor, sparse: Tensor | None, dense: Tensor, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """Compute what ``model.mask_decoder`` does, for N prompts on one image, without gradients.

    Args:
        model: a `SamModel` for which `can_fold` holds.
        features: (1, C, h, w) of the image.
        sparse: (N, 1, T, C) of boxes and points, or ``None``.
        dense: (N, C, h, w) of masks; expanded from one where there are none.
        multimask: three masks rather than one.

    Returns:
        Logits (N, K, 4h, 4w) and predicted IoU (N, K).
    """
    decoder = model.mask_decoder
    count = len(dense)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = own.expand(count, -1, -1)
    if sparse is not None:
        tokens = torch.cat([tokens, sparse[:, 0]], dim=1)
    # Without masks the image is the same for all prompts, and stays one until they part.
    masked = dense if dense.stride(0) and count > 1 else dense[:1]
    keys = (features + masked).flatten(2).transpose(1, 2).contiguous()
    place = model.get_image_wide_positional_embeddings().flatten(2).transpose(1, 2)
    chosen = list(range(1, decoder.num_mask_tokens)) if multimask else [0]
    wanted = [0, *(1 + n for n in chosen)]
    queries, keys = _attend(decoder.transformer, tokens, keys, place, wanted=wanted)
    iou = decoder.iou_prediction_head(queries[:, 0])[:, chosen]
    heads = [decoder.output_hypernetworks_mlps[n] for n in chosen]
    weights = torch.stack([head(queries[:, 1 + n]) for n, head in enumerate(heads)], dim=1)
    return _upscaled(decoder, keys, weights, features.shape[-2:]), iou


def _attend(
    transformer: Any, tokens: Tensor, keys: Tensor, place: Tensor, *, wanted: list[int]
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer; tokens (N, T, C), image (1 or N, M, C).

    The last attention is taken for the wanted tokens alone: the others are not looked at after it.
    """
    queries = tokens
    for layer in transformer.layers:
        queries = layer.layer_norm1(_self_attention(layer, queries, tokens))
        placed = keys + place
        heard = _tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, placed, keys)
        queries = layer.layer_norm2(queries + heard)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        keys = layer.layer_norm4(
            _image_to_tokens(
                layer.cross_attn_image_to_token, queries + tokens, queries, placed, keys
            )
        )
    queries, asked = queries[:, wanted], (queries + tokens)[:, wanted]
    heard = _tokens_to_image(transformer.final_attn_token_to_image, asked, keys + place, keys)
    return transformer.layer_norm_final_attn(queries + heard), keys


def _self_attention(layer: Any, queries: Tensor, tokens: Tensor) -> Tensor:
    """Tokens among themselves: so few that the library's own way serves."""
    values = queries[:, None]
    if layer.skip_first_layer_pe:
        found: Tensor = layer.self_attn(query=values, key=values, value=values)[0]
        return found[:, 0]
    asked = (queries + tokens)[:, None]
    heard: Tensor = layer.self_attn(query=asked, key=asked, value=values)[0]
    return queries + heard[:, 0]


def _by_head(attention: Any, x: Tensor) -> Tensor:
    """Split (N, T, D) into (N, T, h, d)."""
    return x.view(*x.shape[:-1], attention.num_attention_heads, -1)


def _weights_by_head(attention: Any, projection: nn.Linear) -> Tensor:
    """Split the weights (D, C) of a projection into (h, d, C)."""
    heads: int = attention.num_attention_heads
    return projection.weight.view(heads, -1, projection.weight.shape[1])


def _tokens_to_image(attention: Any, asked: Tensor, placed: Tensor, keys: Tensor) -> Tensor:
    """Tokens (N, T, C) attend to the image; what they hear (N, T, C).

    The bias of the keys adds the same to all places, which softmax does not see.
    """
    query = _by_head(attention, attention.q_proj(asked)) * attention.scaling
    folded = torch.einsum("nthd,hdc->nhtc", query, _weights_by_head(attention, attention.k_proj))
    n, h, t, c = folded.shape
    shares = torch.softmax(_times(folded.reshape(n, h * t, c), placed.transpose(1, 2)), dim=-1)
    heard = _times(shares, keys).reshape(n, h, t, c)
    values = torch.einsum("nhtc,hdc->nthd", heard, _weights_by_head(attention, attention.v_proj))
    joined = values.flatten(2) + attention.v_proj.bias
    found: Tensor = attention.out_proj(joined)
    return found


def _image_to_tokens(
    attention: Any, asked: Tensor, values: Tensor, placed: Tensor, keys: Tensor
) -> Tensor:
    """The image attends to tokens; the image with what it heard added, (N, M, C)."""
    heads = attention.num_attention_heads
    key = _by_head(attention, attention.k_proj(asked)) * attention.scaling
    folded = torch.einsum("nthd,hdc->nhtc", key, _weights_by_head(attention, attention.q_proj))
    offset = torch.einsum("nthd,hd->nht", key, attention.q_proj.bias.unflatten(0, (heads, -1)))
    n, h, t, c = folded.shape
    scores = _times(folded.reshape(n, h * t, c), placed.transpose(1, 2)).view(n, h, t, -1)
    # Places last: a softmax over the few tokens is then taken for many places at a time.
    shares = torch.softmax(scores.add_(offset[..., None]), dim=2).view(n, h * t, -1)
    value = _by_head(attention, attention.v_proj(values))
    out = attention.out_proj.weight.unflatten(1, (heads, -1))
    # Shares sum to one in each head, so a part of the bias in each comes out whole.
    said = torch.einsum("nthd,chd->nhtc", value, out) + attention.out_proj.bias / h
    return torch.baddbmm(keys.expand(n, -1, -1), shares.transpose(1, 2), said.reshape(n, h * t, c))


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Multiply (N, …) by (N or 1, …); what all share makes one large product."""
    if len(b) == 1:
        return (a.flatten(0, 1) @ b[0]).view(a.shape[0], a.shape[1], -1)
    return torch.bmm(a, b)


def _upscaled(decoder: Any, keys: Tensor, weights: Tensor, size: torch.Size) -> Tensor:
    """Upscale the image's places (N, M, C) fourfold and weigh them: logits (N, K, 4h, 4w)."""
    first, second, norm = decoder.upscale_conv1, decoder.upscale_conv2, decoder.upscale_layer_norm
    # (in, out, 2, 2) → (in, 2 · 2 · out): each place becomes four, channels last.
    one, two = (conv.weight.permute(0, 2, 3, 1).flatten(1) for conv in (first, second))
    n, places, _ = keys.shape
    masks = weights.shape[1]
    found = keys.new_empty(n, places, 16, masks)
    for number in range(n):
        for start in range(0, places, _BLOCK):
            part = keys[number, start : start + _BLOCK]
            x = (part @ one).view(-1, first.out_channels) + first.bias
            x = F.gelu(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
            x = F.gelu((x @ two).view(-1, second.out_channels) + second.bias)
            found[number, start : start + _BLOCK] = (x @ weights[number].T).view(-1, 16, masks)
    height, width = size
    # (row, column, then the four of the first and the four of the second step) → rows, columns.
    grid = found.view(n, height, width, 2, 2, 2, 2, masks).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return grid.reshape(n, masks, 4 * height, 4 * width)
