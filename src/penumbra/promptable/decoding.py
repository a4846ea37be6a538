"""From embedding and prompts to low-resolution logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penumbra.promptable.drawn_prompts import draw
from penumbra.promptable.embedding import Embedding
from penumbra.promptable.folded import can_fold, decode_folded
from penumbra.promptable.prompts import PADDING, Prompts
from penumbra.promptable.small_network import four_masks

MOST_AT_ONCE = 16
"""Prompts per call of the decoder; each holds about 60 MB of features while it runs at 1024²."""

_MASK_LIMIT = 10.0
"""Logit that a mask prompt of certain pixels gets; about what the models themselves give."""


@dataclass(frozen=True)
class Decoded:
    """What the mask decoder said about N prompts.

    Attributes:
        logits: (N, K, h, w) float32 over the network's whole square input; K = 1 the single mask,
            K = 3 the masks of an ambiguous prompt.
        iou: (N, K) float32 predicted IoU, clamped to [0, 1].
        candidates: (N, K) which output each is: 0 the single mask, 1 to 3 one of three.
    """

    logits: Tensor
    iou: Tensor
    candidates: Tensor


@dataclass(frozen=True)
class NetworkPrompts:
    """Prompts of one shape in the pixels of the network's square input, as its modules take them.

    Attributes:
        boxes: (N, 1, 4) or ``None``.
        points: (N, 1, P, 2) or ``None``.
        labels: (N, 1, P) or ``None``.
        masks: (N, 1, h, w) low-resolution logits, or ``None``.
    """

    boxes: Tensor | None
    points: Tensor | None
    labels: Tensor | None
    masks: Tensor | None

    def __len__(self) -> int:
        given = (self.boxes, self.points, self.masks)
        return next(len(tensor) for tensor in given if tensor is not None)


def alike(prompts: Prompts) -> Iterator[NDArray[np.intp]]:
    """Give the numbers of prompts that have as many points as each other, padding not counted.

    Padding is not seen by the network at all, so that a prompt answers the same alone and beside
    prompts with more points.
    """
    counts = prompts.n_points
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        for start in range(0, len(chosen), MOST_AT_ONCE):
            yield chosen[start : start + MOST_AT_ONCE]


def to_network(
    prompts: Prompts, *, resized: tuple[int, int], side: int, low: int, device: torch.device
) -> NetworkPrompts:
    """Bring prompts, all with as many points as each other, to the network's square.

    Coordinates are multiplied by resized / size, as the models were trained; masks are scaled to
    the low resolution, where the square's empty part gets background.

    Args:
        prompts: as `alike` groups them.
        resized: (h, w) of the part of the square that the image fills.
        side: of the square in pixels.
        low: side of the low-resolution logits.
        device: where the network lies.
    """
    scale = np.array([resized[1] / prompts.size[1], resized[0] / prompts.size[0]], dtype=np.float64)
    boxes = points = labels = masks = None
    if prompts.boxes is not None:
        scaled = prompts.boxes.astype(np.float64) * np.tile(scale, 2)
        boxes = torch.from_numpy(scaled.astype(np.float32))[:, None]
    count = int(prompts.n_points[0])
    if prompts.points is not None and prompts.labels is not None and count:
        kept = prompts.labels != PADDING
        xy = prompts.points[kept].reshape(len(prompts), 1, count, 2) * scale
        points = torch.from_numpy(xy.astype(np.float32))
        labels = torch.from_numpy(
            prompts.labels[kept].reshape(len(prompts), 1, count).astype(np.int64)
        )
    if prompts.masks is not None:
        planes = _low_resolution(prompts, resized=resized, side=side, low=low)
        masks = torch.from_numpy(planes)[:, None]
    placed = (None if t is None else t.to(device) for t in (boxes, points, labels, masks))
    return NetworkPrompts(*placed)


def _low_resolution(
    prompts: Prompts, *, resized: tuple[int, int], side: int, low: int
) -> NDArray[np.float32]:
    if prompts.masks is None:
        return np.zeros((0, low, low), dtype=np.float32)
    if prompts.masks_are_logits:
        planes = [cv2.resize(mask, (low, low), interpolation=cv2.INTER_LINEAR)
                  for mask in prompts.masks]  # fmt: skip
        return np.stack(planes).astype(np.float32)
    inside = [max(1, round(extent * low / side)) for extent in resized]
    certain = 1 / (1 + np.exp(-_MASK_LIMIT))
    found = np.full((len(prompts), low, low), -_MASK_LIMIT, dtype=np.float32)
    for number, mask in enumerate(prompts.masks):
        shrinks = inside[0] < mask.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        p = np.clip(cv2.resize(mask, inside[::-1], interpolation=how), 1 - certain, certain)
        found[number, : inside[0], : inside[1]] = np.log(p / (1 - p))
    return found


def decode_sam(
    model: nn.Module, embedding: Embedding, prompts: NetworkPrompts, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """Run prompt encoder and mask decoder of SAM; logits (N, K, h, w) and predicted IoU (N, K)."""
    given: Any = model
    return _decode(given, embedding, prompts, multimask=multimask, options={})


def decode_sam_hq(
    model: nn.Module, embedding: Embedding, prompts: NetworkPrompts, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """As `decode_sam`, with the high-quality token and the features of an early block."""
    given: Any = model
    early = [t.expand(len(prompts), -1, -1, -1) for t in embedding.extra]
    options = {"hq_token_only": False, "intermediate_embeddings": early}
    return _decode(given, embedding, prompts, multimask=multimask, options=options)


def decode_sam2(
    model: nn.Module, embedding: Embedding, prompts: NetworkPrompts, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """As `decode_sam`, for SAM 2 and what followed it, whose decoder sees finer features too."""
    given: Any = model
    features = (*embedding.extra, embedding.features)
    found = given(
        image_embeddings=[t.expand(len(prompts), -1, -1, -1) for t in features],
        input_points=prompts.points,
        input_labels=prompts.labels,
        input_boxes=prompts.boxes,
        input_masks=prompts.masks,
        multimask_output=multimask,
    )
    logits, iou = found.pred_masks[:, 0], found.iou_scores[:, 0]
    return logits, iou


def decode_small(
    model: nn.Module, embedding: Embedding, prompts: NetworkPrompts, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """As `decode_sam`, for the small model, which sees finer features and the prompts as maps."""
    given: Any = model
    side = int(given.config.vision_config.image_size)
    asked = prompts.boxes
    if asked is None and prompts.points is None and prompts.masks is not None:
        # It learned masks as corrections, never alone: their boxes say where the object is.
        asked = _boxes_around(prompts.masks, side=side)
    sparse, _ = given.prompt_encoder(prompts.points, prompts.labels, asked, None)
    flat = (None if t is None else t[:, 0] for t in (asked, prompts.points, prompts.labels))
    boxes, points, labels = flat
    low = embedding.extra[-1].shape[-1]
    drawn = draw(side=side, low=low, boxes=boxes, points=points, labels=labels,
                 masks=prompts.masks)  # fmt: skip
    count = len(prompts)
    features, *extra = (t.expand(count, -1, -1, -1) for t in (embedding.features, *embedding.extra))
    logits, iou = four_masks(model, features, tuple(extra), sparse, drawn)
    chosen = slice(1, None) if multimask else slice(0, 1)
    return logits[:, chosen], iou[:, chosen]


def _boxes_around(masks: Tensor, *, side: int) -> Tensor:
    """Give the box (N, 1, 4) of each mask's logits above 0; of an empty mask the whole square."""
    scale = side / masks.shape[-1]
    boxes = torch.tensor([[0.0, 0.0, side, side]]).repeat(len(masks), 1)
    for row, plane in enumerate(masks[:, 0] > 0):
        ys, xs = (torch.nonzero(plane.any(axis)).flatten() for axis in (1, 0))
        if len(ys):
            ends = [float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)]
            boxes[row] = torch.tensor(ends) * scale
    return boxes[:, None].to(masks.device)


def _decode(
    model: Any,
    embedding: Embedding,
    prompts: NetworkPrompts,
    *,
    multimask: bool,
    options: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    # Prompts lie along the batch axis, one per copy of the image: so each can bring its own mask,
    # which along the axis of prompts the library allows per image alone.
    count = len(prompts)
    sparse, dense = model.prompt_encoder(
        input_points=prompts.points,
        input_labels=prompts.labels,
        input_boxes=prompts.boxes,
        input_masks=prompts.masks,
    )
    single = len(embedding.features) == 1 and not torch.is_grad_enabled()
    if single and not options and can_fold(model.mask_decoder):
        return decode_folded(model, embedding.features, sparse, dense, multimask=multimask)
    masks, iou = model.mask_decoder(
        image_embeddings=embedding.features.expand(count, -1, -1, -1),
        image_positional_embeddings=model.get_image_wide_positional_embeddings().expand(
            count, -1, -1, -1
        ),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        **options,
    )[:2]
    return masks[:, 0], iou[:, 0]


Decoder = Callable[..., tuple[Tensor, Tensor]]

DECODERS: dict[str, Decoder] = {
    "sam": decode_sam,
    "sam-hq": decode_sam_hq,
    "sam2": decode_sam2,
    "small": decode_small,
}
"""By `Family.decoder`."""
