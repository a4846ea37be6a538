"""The small promptable network: a convolutional encoder under Segment Anything's decoder.

From nothing, in an hour, a transformer does not learn what an edge is; convolutions begin with it.
The encoder is a U-Net whose deepest features attend to each other. As in SAM 2 the decoder sees
finer features beside the embedding; as in RITM (Sofiiuk et al., arXiv:2102.06583) the prompts are
drawn as maps beside being tokens.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.promptable.drawn_prompts import CHANNELS

STRIDE = 8
"""Pixels of the input per place of the embedding; masks come out at four times its resolution."""

_GROUPS = 8

_DEPTHS = (1, 1, 2, 1)
"""Residual blocks at a half of the resolution, a quarter, an eighth and a sixteenth."""


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of B images.

    Attributes:
        last_hidden_state: (B, C, S / 8, S / 8).
        intermediate_embeddings: (B, C / 4, S / 4, S / 4) and (B, C / 8, S / 2, S / 2).
    """

    last_hidden_state: Tensor
    intermediate_embeddings: tuple[Tensor, Tensor]


class Residual(nn.Module):
    """Two 3 × 3 convolutions around which the input passes.

    Args:
        width: channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        """Give (B, C, h, w) for (B, C, h, w)."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(inner)))


class ConvolutionalEncoder(nn.Module):
    """Down to 1/16 by convolutions, some layers of attention there, and up again to 1/2.

    Args:
        config: of `small_config`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers.models.sam import modeling_sam  # noqa: PLC0415 - an extra, takes seconds

        vision, out = config.vision_config, config.prompt_encoder_config.hidden_size
        widths = (*_widths_of(config), vision.hidden_size)
        before = (vision.num_channels, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(_GROUPS, b),
                *(Residual(b) for _ in range(depth)),
            )
            for a, b, depth in zip(before, widths, _DEPTHS, strict=True)
        )
        side = vision.image_size // vision.patch_size
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, vision.hidden_size))
        make: Any = modeling_sam.SamVisionLayer
        self.layers = nn.ModuleList(
            make(vision, window_size=0) for _ in range(vision.num_hidden_layers)
        )
        self.across = nn.ModuleList(
            nn.Conv2d(deep, shallow, 1) for shallow, deep in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.neck = nn.ModuleList(
            nn.Conv2d(width, out // part, 1)
            for width, part in zip(widths[:-1], (8, 4, 1), strict=True)
        )

    def get_input_embeddings(self) -> nn.Module:
        """Give the first layers, as transformers and peft ask every encoder for them."""
        return self.down[0]

    def forward(self, pixel_values: Tensor, **_: Any) -> Encoded:
        """Encode (B, 3, S, S) normalised pixels."""
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        tokens = x.permute(0, 2, 3, 1) + self.pos_embed
        for layer in self.layers:
            tokens = layer(tokens)
        x = tokens.permute(0, 3, 1, 2)
        found = []
        for level in reversed(range(len(self.up))):
            coarse = F.interpolate(self.across[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](kept[level] + coarse)
            found.append(self.neck[level](x))
        coarse, middle, fine = found
        return Encoded(coarse.contiguous(), (middle.contiguous(), fine.contiguous()))


def _widths_of(config: Any) -> list[int]:
    widths: Any = getattr(config, "conv_widths", None)
    fits = isinstance(widths, list | tuple) and len(widths) == len(_DEPTHS) - 1
    if fits and all(isinstance(w, int) and w > 0 and w % _GROUPS == 0 for w in widths):
        return list(widths)
    raise ModelError(
        expected("conv_widths in the config.json of a small model", f"{len(_DEPTHS) - 1} multiples "
                 f"of {_GROUPS}", repr(widths), "a fresh copy of config.json, or training it again")
    )  # fmt: skip


class FineDetail(nn.Module):
    """What the decoder's upscaling gets beside its input: drawn prompts, and a look around.

    Args:
        width: channels of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.middle = nn.Conv2d(CHANNELS, width // 4, 3, stride=2, padding=1)
        self.fine = nn.Conv2d(CHANNELS, width // 8, 3, padding=1)
        self.look = nn.Conv2d(width // 8, width // 8, 3, padding=1)


def four_masks(
    model: nn.Module, features: Tensor, extra: tuple[Tensor, ...], sparse: Tensor, drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Answer N prompts by all four masks: the single one, and the three of an ambiguous prompt.

    Args:
        model: of `small_class`.
        features: (N, C, h, w), the embedding of each prompt's image.
        extra: its finer features, (N, …) each.
        sparse: (N, 1, T, C) of the prompt encoder.
        drawn: (N, 4, 4h, 4w) of `drawn_prompts.draw`.

    Returns:
        Logits (N, 4, 4h, 4w) and predicted IoU (N, 4), neither clamped.
    """
    given: Any = model
    decoder, detail = given.mask_decoder, given.mask_decoder.detail
    count, (height, width) = len(drawn), features.shape[-2:]
    fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([fixed.expand(count, 1, -1, -1), sparse], dim=2)
    out, seen = decoder.transformer(
        point_embeddings=tokens,
        image_embeddings=features + given.prompt_encoder.mask_embed(drawn),
        image_positional_embeddings=given.get_image_wide_positional_embeddings().expand(
            count, -1, -1, -1
        ),
        attention_similarity=None,
    )
    seen = seen.transpose(2, 3).reshape(count, -1, height, width)
    middle = decoder.upscale_conv1(seen) + extra[0] + detail.middle(drawn)
    middle = decoder.activation(decoder.upscale_layer_norm(middle))
    fine = decoder.upscale_conv2(middle) + extra[1] + detail.fine(drawn)
    fine = decoder.activation(fine)
    fine = fine + decoder.activation(detail.look(fine))
    weights = torch.stack(
        [mlp(out[:, 0, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    logits = (weights @ fine.flatten(2)).unflatten(2, fine.shape[-2:])
    return logits.float(), decoder.iou_prediction_head(out[:, 0, 0]).float()


@functools.cache
def small_class() -> Any:
    """Give the class of the network; transformers' own methods load and save it.

    Raises:
        ImportError: transformers is not installed.
    """
    import transformers  # noqa: PLC0415 - takes seconds, and is an extra

    base: Any = transformers.SamModel

    class SmallSamModel(base):  # type: ignore[misc]
        """Segment Anything's parts around an encoder of convolutions."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = config.prompt_encoder_config.hidden_size
            self.vision_encoder = ConvolutionalEncoder(config)
            embed = self.prompt_encoder.mask_embed
            embed.conv1 = nn.Conv2d(CHANNELS, embed.conv1.out_channels, kernel_size=2, stride=2)
            self.mask_decoder.detail = FineDetail(width)

    return SmallSamModel
