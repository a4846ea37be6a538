"""How well a small promptable model does while it is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.promptable.interactive import Clicks, answer_of, click_objects, decode
from penumbra.promptable.prompt_sampling import keyed_generator
from penumbra.promptable.scenes import PromptSet, Scene, whole_scene
from penumbra.promptable.small import SIDE


@torch.no_grad()
def validate(
    model: nn.Module, sets: Sequence[PromptSet], *, most: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Compute the mean Dice per object by a tight box and by one central point.

    At the network's own 256², of whole images; up to `PromptSet.prompts` objects of an image.
    """
    model.eval()
    found: dict[str, dict[str, float]] = {}
    for each in sets:
        indices = keyed_generator(seed, "validation", each.name).permutation(len(each))[:most]
        scores: dict[str, list[float]] = {"box": [], "point1": []}
        for index in sorted(int(i) for i in indices):
            scene = whole_scene(each, index, keyed_generator(seed, each.name, index), side=SIDE)
            if not len(scene.masks):
                continue
            features = _encode(model, scene)
            for kind, values in scores.items():
                values.extend(_dice(model, features, scene, boxes=kind == "box"))
        found[each.name] = {
            k: round(float(np.mean(v)), 4) if v else math.nan for k, v in scores.items()
        }
    model.train()
    return found


def _encode(model: nn.Module, scene: Scene) -> list[Tensor]:
    encoder: Any = model.get_submodule("vision_encoder")
    found = encoder(torch.from_numpy(scene.pixels)[None])
    return [found.last_hidden_state, *found.intermediate_embeddings]


def _dice(model: nn.Module, features: list[Tensor], scene: Scene, *, boxes: bool) -> list[float]:
    clicks = Clicks(click_objects(scene.masks, boxes=boxes), np.zeros(len(scene.masks), np.int64))
    logits, iou = decode(model, features, clicks)
    answer = answer_of(logits, iou, torch.from_numpy(clicks.single))
    large = F.interpolate(answer[None], scene.masks.shape[1:], mode="bilinear")[0]
    a = (large > 0).numpy() & scene.valid
    both = (a & scene.masks).sum((1, 2))
    dice = 2 * both / (a.sum((1, 2)) + scene.masks.sum((1, 2)))
    return [float(d) for d in dice]
