"""How good a promptable model is on the validation split while it is tuned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor

from penumbra.promptable.prompt_sampling import centre_points, tight_boxes
from penumbra.promptable.tuning.examples import Batch, ExampleSet
from penumbra.promptable.tuning.settings import TuneSettings
from penumbra.promptable.tuning.step import Answer, Answering, Asked, box_share
from penumbra.training.validation import Validation

_MOST_OBJECTS = 8


@torch.no_grad()
def validate_prompts(
    answering: Answering, examples: ExampleSet, settings: TuneSettings
) -> Validation:
    """Score first answers: to the tight box of each object and to the point at its centre.

    Only kinds of prompt that are trained with are asked. A point is answered by the mask of three
    with the highest predicted IoU, as in use. At most 8 objects per image count, evenly spaced.

    Returns:
        The Dice, a mean over objects, kinds of prompt and images, and the mean −ln p(true class)
        of the pixels, all on the grid that the masks lie on.
    """
    share = box_share(settings, answering.segmenter.accepts)
    most = min(settings.validation_images, len(examples))
    chosen = np.unique(np.linspace(0, len(examples) - 1, most).round().astype(int))
    model = answering.model
    model.eval()
    dice: list[float] = []
    nll: list[float] = []
    for index in chosen:
        count = examples.examples[int(index)].objects.count
        places = np.linspace(1, count, min(_MOST_OBJECTS, count)).round().astype(np.int64)
        batch = examples.batch(int(index), np.unique(places))
        features, extra = answering.features(batch)
        for asked in _first_prompts(batch.masks[0], share):
            answer = answering.answer(features, extra, asked, grid=batch.masks.shape[-1])
            found = _scores(answer, batch)
            dice.append(found[0])
            nll.append(found[1])
    return Validation(dice=float(np.mean(dice)), nll=float(np.mean(nll)))


def _first_prompts(masks: NDArray[np.bool_], share: float) -> Iterator[Asked]:
    if share > 0:
        yield Asked(tight_boxes(masks))
    if share < 1:
        yield Asked(None, centre_points(masks)[:, None], np.ones((len(masks), 1), np.int8))


def _scores(answer: Answer, batch: Batch) -> tuple[float, float]:
    best = answer.iou.argmax(dim=1)
    low = answer.logits[torch.arange(len(best)), best][:, None]
    side = batch.masks.shape[-1]
    logits: Tensor = F.interpolate(low, size=(side, side), mode="bilinear", align_corners=False)
    logits = logits[:, 0].cpu()
    truth = torch.from_numpy(batch.masks[0])
    valid = torch.from_numpy(batch.valid[0]).expand_as(truth)
    said = (logits > 0) & valid
    both = (said & truth).flatten(1).sum(1)
    sizes = said.flatten(1).sum(1) + truth.flatten(1).sum(1)
    cross = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
    dice = (2 * both / sizes.clamp_min(1)).double().mean()
    return float(dice), float(cross[valid].double().mean())
