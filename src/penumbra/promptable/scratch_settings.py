"""How a small promptable model is trained from nothing: knobs, budget and learning rate."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from penumbra.errors import SettingsError, expected
from penumbra.promptable.losses import LossName
from penumbra.promptable.prompt_sampling import PromptSampling

Clock = Literal["cpu", "wall"]
"""What minutes are of: the processor's time divided by the threads, or the clock on the wall."""


@dataclass(frozen=True, kw_only=True)
class ScratchSettings:
    """How the small model is trained.

    Attributes:
        minutes: the budget; the learning rate falls to nothing by its end.
        clock: ``"cpu"`` counts the processor time of this process divided by its threads, which
            on a machine with nothing else to do is the time on the wall.
        wall_minutes: a bound on the wall as well, whatever the clock.
        steps: a bound on the steps as well. Where it comes first by far, two runs have the same
            learning rates and end with the same bits; where the clock does, they do not.
        seed: of weights and draws.
        threads: of the processor: 1, or 2 for the two halves of a step side by side.
        learning_rate: peak, after a warm-up over `warm_up` of the budget, then a cosine to zero.
        warm_up: share of the budget.
        weight_decay: of AdamW; biases and norms are spared.
        clip: largest norm of a step's gradient.
        average: decay of the moving average of the weights, which is what is kept.
        scenes: of each set in a step.
        loss: name of the mask loss.
        sampling: how prompts are drawn.
        save_seconds: between checkpoints, validation included.
        validation_images: of each set, at most.
        architecture: changes to `small_config`.
    """

    minutes: float = 60.0
    clock: Clock = "cpu"
    wall_minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    threads: int = 2
    learning_rate: float = 1e-3
    warm_up: float = 0.04
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998
    scenes: int = 1
    loss: LossName = "sam"
    sampling: PromptSampling = field(default_factory=PromptSampling)
    save_seconds: float = 240.0
    validation_images: int = 12
    architecture: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.threads < 1 or self.scenes < 1:
            raise SettingsError(
                expected("minutes, threads and scenes", "above 0",
                         (self.minutes, self.threads, self.scenes), "60, 2 and 1")
            )  # fmt: skip


def learning_rate_at(share: float, settings: ScratchSettings) -> float:
    """Give the learning rate when this share of the budget is used.

    Examples:
        >>> settings = ScratchSettings(learning_rate=1.0, warm_up=0.1)
        >>> [round(learning_rate_at(s, settings), 3) for s in (0.05, 0.1, 0.55, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if share < settings.warm_up:
        return settings.learning_rate * max(share / settings.warm_up, 1e-3)
    rest = min(1.0, (share - settings.warm_up) / (1 - settings.warm_up))
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))


class Spent:
    """The time used so far, that before a resume included."""

    def __init__(self, settings: ScratchSettings, *, minutes: float, wall: float) -> None:
        self._settings = settings
        self._before = (minutes, wall)
        self._started = (time.process_time(), time.monotonic())

    @property
    def wall(self) -> float:
        """Minutes on the wall."""
        return self._before[1] + (time.monotonic() - self._started[1]) / 60

    @property
    def minutes(self) -> float:
        """Minutes of the budget's clock."""
        if self._settings.clock == "wall":
            return self.wall
        used = time.process_time() - self._started[0]
        return self._before[0] + used / 60 / self._settings.threads

    def share(self, step: int) -> float:
        """Give the share of the budget that is used; 1 and above when it is spent."""
        share = self.minutes / self._settings.minutes
        if self._settings.wall_minutes is not None:
            share = max(share, self.wall / self._settings.wall_minutes)
        if self._settings.steps is not None:
            share = max(share, step / self._settings.steps)
        return share
