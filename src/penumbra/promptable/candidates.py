"""What a model answers at single points, and which of it is sure and stable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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


@dataclass
class Nearest:
    """The mask seen so far that came nearest to passing both limits.

    That is the one with the greatest min(predicted IoU − its limit, stability − its limit), of
    those that hold some of the image but not more than the most. `scores` has its predicted IoU
    and its stability; ``None`` before there is such a mask.

    Attributes:
        least_iou: limit of the predicted IoU.
        least_stability: limit of the stability.
        most_share: of the image that a mask may fill.
        scores: of the mask.
    """

    least_iou: float
    least_stability: float
    most_share: float = 1.0
    scores: tuple[float, float] | None = None

    def see(self, iou: Tensor, stability: Tensor, share: Tensor) -> None:
        """Look at masks (N, K) by their scores and the share of the image that they fill."""
        counts = (share > 0) & (share <= self.most_share)
        pairs = zip(iou[counts].tolist(), stability[counts].tolist(), strict=True)
        kept = [] if self.scores is None else [self.scores]
        self.scores = max([*kept, *pairs], key=self._margin, default=None)

    def _margin(self, scores: tuple[float, float]) -> float:
        return min(scores[0] - self.least_iou, scores[1] - self.least_stability)


def candidates_of(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    points: NDArray[np.float32],
    *,
    least_iou: float,
    least_stability: float,
    nearest: Nearest | None = None,
) -> Iterator[Candidate]:
    """Ask at single points for three masks each and give the good ones, one at a time.

    Both scores are judged at the decoder's resolution, so that only what passes is scaled up.

    Args:
        segmenter: one that takes points.
        embedding: of the image.
        points: (N, 2) as (x, y) in its pixels.
        least_iou: of the predicted IoU.
        least_stability: of the stability score.
        nearest: is shown every mask, whether it passes or not.
    """
    asked = Prompts.of(points=points[:, None], size=embedding.size)
    inside = [max(1, round(n * segmenter.low / segmenter.size)) for n in embedding.resized]
    for numbers, decoded in segmenter.decode(embedding, asked, choice="all"):
        seen = decoded.logits[..., : inside[0], : inside[1]]
        stable = stability_score(seen)
        if nearest is not None:
            nearest.see(decoded.iou, stable, (seen >= 0).float().mean(dim=(-1, -2)))
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
