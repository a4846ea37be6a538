"""What a model answers at single points, and which of it is sure and stable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.promptable.embedding import Embedding
from penumbra.promptable.prediction import stability_score, to_image_size
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.segmenter import PromptableSegmenter


@dataclass(frozen=True)
class Candidate:
    """A mask that may become a region.

    Attributes:
        mask: (H, W) bool at the size of what was embedded.
        facts: its ``predicted_iou``, ``stability`` and ``point``.
    """

    mask: NDArray[np.bool_]
    facts: dict[str, Any]


def candidates_of(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    points: NDArray[np.float32],
    *,
    least_iou: float,
    least_stability: float,
) -> Iterator[Candidate]:
    """Ask at single points for three masks each and give the good ones, one at a time.

    Both scores are judged at the decoder's resolution, so that only what passes is scaled up.

    Args:
        segmenter: one that takes points.
        embedding: of the image.
        points: (N, 2) as (x, y) in its pixels.
        least_iou: of the predicted IoU.
        least_stability: of the stability score.
    """
    asked = Prompts.of(points=points[:, None], size=embedding.size)
    inside = [max(1, round(n * segmenter.low / segmenter.size)) for n in embedding.resized]
    for numbers, decoded in segmenter.decode(embedding, asked, choice="all"):
        stable = stability_score(decoded.logits[..., : inside[0], : inside[1]])
        good = (decoded.iou >= least_iou) & (stable >= least_stability)
        for row, column in good.nonzero().tolist():
            large = to_image_size(
                decoded.logits[row : row + 1, column : column + 1],
                resized=embedding.resized,
                side=segmenter.size,
                size=embedding.size,
            )
            x, y = points[int(numbers[row])].tolist()
            facts = {
                "predicted_iou": float(decoded.iou[row, column]),
                "stability": float(stable[row, column]),
                "point": (x, y),
            }
            yield Candidate((large[0, 0] >= 0).cpu().numpy(), facts)
