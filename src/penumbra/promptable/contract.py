"""What anything has to offer that answers prompts: a SAM, or a rule that fills a box."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penumbra.inference.prediction import Prediction


class AnswersPrompts(Protocol):
    """Embeds an image once and answers any number of prompts on it.

    `PromptableSegmenter` is one, and so are the rules that it is compared with. Boxes are (N, 4)
    xyxy in the image's pixels with the far edge exclusive, points (N, P, 2) as (x, y), labels
    (N, P): 1 on the object, 0 beside it, −1 no point.
    """

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def accepts(self) -> Collection[str]:
        """Which prompts it takes, of ``"box"``, ``"point"`` and ``"mask"``."""
        ...

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> Any:
        """Prepare an image (H, W, C) for prompts."""
        ...

    def predict(
        self,
        embedding: Any,
        *,
        boxes: NDArray[np.float32] | None = None,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int8] | None = None,
    ) -> Sequence[Prediction]:
        """Answer N prompts, one prediction each at the image's size, two classes."""
        ...
