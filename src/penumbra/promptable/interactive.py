"""One step of interactive training: prompt, look at the answer, correct it, prompt again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from penumbra.promptable.drawn_prompts import draw
from penumbra.promptable.losses import LossName, prompt_loss
from penumbra.promptable.prompt_sampling import (
    OBJECT,
    PromptSampling,
    SampledPrompts,
    centre_points,
    corrective_points,
    sample_prompts,
)
from penumbra.promptable.scenes import Scene
from penumbra.promptable.small_network import four_masks

ROUNDS = ((1, 0.5), (2, 0.3), (3, 0.1), (5, 0.1))
"""How many prompts an object gets in a step, and how often."""


@dataclass(frozen=True)
class Clicks:
    """What is known about P objects so far, in the network's pixels.

    Attributes:
        prompts: boxes and points.
        image: (P,) which image of the batch each belongs to.
        previous: (P, 1, h, w) logits of the last answer as a mask prompt, or ``None``.
    """

    prompts: SampledPrompts
    image: NDArray[np.int64]
    previous: Tensor | None = None

    def subset(self, rows: NDArray[np.int64]) -> Clicks:
        """Give some of the objects."""
        p = self.prompts
        kept = SampledPrompts(p.boxes[rows], p.has_box[rows], p.points[rows], p.labels[rows])
        previous = None if self.previous is None else self.previous[torch.from_numpy(rows)]
        return Clicks(kept, self.image[rows], previous)

    def clicked(self, points: NDArray[np.float32], labels: NDArray[np.int8]) -> Clicks:
        """Add one point to each object."""
        p = self.prompts
        longer = replace(
            p,
            points=np.concatenate([p.points, points[:, None]], axis=1),
            labels=np.concatenate([p.labels, labels[:, None]], axis=1),
        )
        return replace(self, prompts=longer)

    @property
    def single(self) -> NDArray[np.bool_]:
        """Which prompts (P,) are clear enough for one mask: a box, or two points."""
        return np.asarray(self.prompts.has_box | ((self.prompts.labels >= 0).sum(1) > 1))


def prompt_tokens(model: nn.Module, clicks: Clicks) -> Tensor:
    """Encode prompts, boxes beside points, as (P, 1, T, C).

    An object with k points has the tokens k points and *no point*; one with a box and k clicks
    has k points and two corners: k + 2 less one, since its first place holds no point. Both are
    what the library encodes for each kind alone, so that one call answers both.
    """
    encoder: Any = model.get_submodule("prompt_encoder")
    p = clicks.prompts
    points = torch.from_numpy(p.points)[:, None]
    labels = torch.from_numpy(p.labels.astype(np.int64))[:, None]
    by_points, _ = encoder(points, labels, None, None)
    boxes = torch.from_numpy(p.boxes)[:, None]
    further = p.points.shape[1] > 1
    # Behind the first place, where an object with a box has no point.
    by_box, _ = encoder(
        points[:, :, 1:] if further else None, labels[:, :, 1:] if further else None, boxes, None
    )
    chosen = torch.from_numpy(p.has_box)[:, None, None, None]
    return torch.where(chosen, by_box, by_points)


def decode(model: nn.Module, features: Sequence[Tensor], clicks: Clicks) -> tuple[Tensor, Tensor]:
    """Answer prompts by all four masks: the single one, and the three of an ambiguous prompt.

    Args:
        model: the small network.
        features: (B, C, h, w) each: the embedding and the finer features of the encoder.
        clicks: P prompts.

    Returns:
        Logits (P, 4, h', w') and predicted IoU (P, 4).
    """
    network: Any = model
    p = clicks.prompts
    boxes = torch.from_numpy(np.where(p.has_box[:, None], p.boxes, np.float32(np.nan)))
    drawn = draw(
        side=network.config.vision_config.image_size, low=features[-1].shape[-1], boxes=boxes,
        points=torch.from_numpy(p.points), labels=torch.from_numpy(p.labels),
        masks=clicks.previous,
    )  # fmt: skip
    image = torch.from_numpy(clicks.image)
    coarse, *extra = (each[image] for each in features)
    return four_masks(model, coarse, tuple(extra), prompt_tokens(model, clicks), drawn)


def objects_loss(
    logits: Tensor, iou: Tensor, target: Tensor, valid: Tensor, single: Tensor, *, name: LossName
) -> Tensor:
    """Compute the mean loss of P prompts; a clear prompt's of its one mask, others' of three.

    Of no prompts it is 0.
    """
    total = logits.new_zeros(())
    for chosen, masks in ((single, slice(0, 1)), (~single, slice(1, None))):
        if not bool(chosen.any()):
            continue
        loss = prompt_loss(
            logits[chosen, masks].unsqueeze(0), iou[chosen, masks].unsqueeze(0),
            target[chosen].unsqueeze(0), valid=valid[chosen].unsqueeze(0), name=name,
        )  # fmt: skip
        total = total + loss.total * chosen.sum()
    return total / max(1, len(logits))


def answer_of(logits: Tensor, iou: Tensor, single: Tensor) -> Tensor:
    """Choose the mask that is shown, (P, h, w): the single one, or the best of three by its IoU."""
    best = torch.where(single, torch.zeros_like(iou[:, 0], dtype=torch.int64),
                       1 + iou[:, 1:].argmax(1))  # fmt: skip
    return logits[torch.arange(len(logits)), best]


def draw_rounds(generator: np.random.Generator) -> int:
    """Draw how many prompts the objects of a step get, by the shares of `ROUNDS`."""
    counts, shares = zip(*ROUNDS, strict=True)
    return int(generator.choice(counts, p=shares))


def interactive_step(
    model: nn.Module,
    scenes: Sequence[Scene],
    generator: np.random.Generator,
    *,
    rounds: int,
    sampling: PromptSampling,
    loss: LossName = "sam",
    autocast: bool = False,
) -> float:
    """Prompt for the objects of some scenes, correct, and leave the gradients in the model.

    The encoder runs once; each round's gradient is collected at its features, and carried through
    the encoder once, at the end. From the second round on half of the objects go on.

    Args:
        model: the small network.
        scenes: the batch.
        generator: where all draws come from.
        rounds: how many prompts an object gets, one after another; see `draw_rounds`.
        sampling: how first prompts are drawn, and how often the last answer is a prompt too.
        loss: name of the mask loss.
        autocast: compute in bfloat16 where that is safe.

    Returns:
        The loss of the first round; 0, and no gradient, where no scene has an object.
    """
    network: Any = model
    device = next(model.parameters()).device.type
    masks = np.concatenate([scene.masks for scene in scenes])
    if not len(masks):
        return 0.0
    image = np.repeat(np.arange(len(scenes)), [len(scene.masks) for scene in scenes])
    clicks = Clicks(_first(masks, generator, sampling), image)
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    valid = torch.from_numpy(np.stack([scene.valid for scene in scenes]))
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        found = network.vision_encoder(pixels)
    encoded = (found.last_hidden_state, *found.intermediate_embeddings)
    features = [each.detach().requires_grad_() for each in encoded]
    first = 0.0
    for turn in range(rounds):
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits, iou = decode(model, features, clicks)
        target = _reduced(torch.from_numpy(masks), logits)
        known = _reduced(valid, logits)[torch.from_numpy(clicks.image)]
        counted = known * _weights(target)
        single = torch.from_numpy(clicks.single)
        value = objects_loss(logits, iou, target, counted, single, name=loss)
        # Later rounds see half of the objects: they weigh half as much.
        torch.autograd.backward(value * (1.0 if turn == 0 else 0.5))
        first = float(value.detach()) if turn == 0 else first
        if turn + 1 < rounds:
            shown = answer_of(logits, iou, single).detach()
            clicks, masks = _corrected(
                clicks, masks, shown, target, known > 0.5, generator, sampling, drop=turn == 0
            )
            if not len(masks):
                break
    torch.autograd.backward(encoded, [each.grad for each in features])
    return first


def _first(
    masks: NDArray[np.bool_], generator: np.random.Generator, sampling: PromptSampling
) -> SampledPrompts:
    # A careful person draws tight boxes and clicks near the middle, a hasty one neither; each is
    # learned in half of the steps.
    tight, central = generator.random(2) < 0.5
    how = replace(sampling, jitter=sampling.jitter / 5) if tight else sampling
    prompts = sample_prompts(masks, generator, how)
    return replace(prompts, points=centre_points(masks)[:, None]) if central else prompts


def _reduced(masks: Tensor, logits: Tensor) -> Tensor:
    """Average (…, S, S) over the pixels of one logit each."""
    factor = masks.shape[-1] // logits.shape[-1]
    return F.avg_pool2d(masks.float().unsqueeze(1), factor).squeeze(1)


def _weights(target: Tensor) -> Tensor:
    """Weigh pixels (P, h, w): 1 in and around an object's box, and as much again in all the rest.

    Of an object of a hundredth of the image the background would be all that counts otherwise,
    and a model that sees no object at all would be nearly right.
    """
    height, width = target.shape[-2:]
    near = torch.zeros_like(target)
    for plane, mask in zip(near, target > 0, strict=True):
        rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
        if not len(rows):
            continue
        (top, bottom), (left, right) = ((int(r[0]), int(r[-1]) + 1) for r in (rows, columns))
        down, across = 2 + (bottom - top) // 2, 2 + (right - left) // 2
        plane[max(0, top - down) : bottom + down, max(0, left - across) : right + across] = 1
    inside = near.sum((1, 2), keepdim=True)
    share = (inside / (height * width - inside).clamp_min(1)).clamp_max(1)
    return torch.where(near > 0, near, share)


def _corrected(
    clicks: Clicks,
    masks: NDArray[np.bool_],
    shown: Tensor,
    target: Tensor,
    known: Tensor,
    generator: np.random.Generator,
    sampling: PromptSampling,
    *,
    drop: bool,
) -> tuple[Clicks, NDArray[np.bool_]]:
    """Click once more on each object, or on each of half of them; perhaps none is left.

    No click lands where less than half of a pixel (P, h, w) is known: it does not count either.
    """
    valid = known.numpy()
    truth = (target > 0.5).numpy() & valid
    # An object of a few pixels may vanish on the logits' grid, and then cannot be clicked on.
    rows = np.flatnonzero(truth.any((1, 2)))
    if drop and len(rows) > 1:
        rows = np.sort(generator.choice(rows, max(1, len(rows) // 2), replace=False))
    kept = clicks.subset(rows)
    answer = shown[torch.from_numpy(rows)]
    how = generator if generator.random() < 0.5 else None
    points, labels = corrective_points((answer > 0).numpy(), truth[rows], how, valid=valid[rows])
    factor = masks.shape[-1] / answer.shape[-1]
    points = (points + 0.5) * factor - 0.5
    use = generator.random() < sampling.mask_share
    previous = answer.unsqueeze(1).clamp(-32, 32) if use else None
    return replace(kept.clicked(points.astype(np.float32), labels), previous=previous), masks[rows]


def click_objects(masks: NDArray[np.bool_], *, boxes: bool) -> SampledPrompts:
    """Give the prompts that a model is judged by: the tight box, or the pixel deepest inside."""
    drawn = sample_prompts(
        masks, np.random.default_rng(0),
        PromptSampling(box_share=float(boxes), jitter=0.0),
    )  # fmt: skip
    return drawn if boxes else replace(
        drawn, points=centre_points(masks)[:, None],
        labels=np.full((len(masks), 1), OBJECT, np.int8),
    )  # fmt: skip
