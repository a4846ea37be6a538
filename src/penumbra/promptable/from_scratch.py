"""Training a small promptable model from nothing, inside a given time, resumably."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from penumbra.errors import RunError, expected
from penumbra.inference.backend import has_fast_bf16
from penumbra.promptable.interactive import (
    draw_rounds,
    interactive_step,
)
from penumbra.promptable.prompt_sampling import keyed_generator
from penumbra.promptable.scenes import PromptSet, draw_scene
from penumbra.promptable.scratch_settings import ScratchSettings, Spent, learning_rate_at
from penumbra.promptable.scratch_validation import validate
from penumbra.promptable.small import SIDE, new_small_model, save_model, small_config
from penumbra.storage import atomic_path, write_json, write_text

_log = logging.getLogger(__name__)

STATE_FILE = "state.pt"
SETTINGS_FILE = "settings.json"
HISTORY_FILE = "history.jsonl"
MODEL_FOLDER = "model"

_BOUNDS = ("minutes", "wall_minutes", "steps", "clock", "threads", "save_seconds")
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        folder: of the model, for `PromptableSegmenter.from_pretrained`.
        steps: of the optimiser.
        minutes: of the budget's clock.
        wall_minutes: on the wall.
        validation: Dice per set and kind of prompt, such as ``{"nerve": {"box": 0.9}}``.
    """

    folder: Path
    steps: int
    minutes: float
    wall_minutes: float
    validation: dict[str, dict[str, float]]


def train_from_scratch(
    training: Sequence[PromptSet],
    validation: Sequence[PromptSet],
    folder: Path,
    settings: ScratchSettings,
    *,
    max_steps: int | None = None,
) -> Trained:
    """Train, or go on with what `folder` holds.

    Each step sees `ScratchSettings.scenes` images of every set, so that a large set does not crowd
    out a small one. Draws are keyed by seed and step. The kept model, written beside and moved
    into place, is the moving average of the weights.

    Args:
        training: sets of images.
        validation: sets that decide nothing; their Dice goes to ``history.jsonl``.
        folder: of the run; ``model/`` inside is the model.
        settings: of a new run; those of a resumed one must be the same, but for the budget.
        max_steps: stop after so many steps of this call, as if the process had been killed then.

    Raises:
        RunError: the folder holds a run of other settings.
        MissingExtraError: transformers is not installed.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _Run(training, validation, folder, settings).go(max_steps)
    finally:
        torch.set_num_threads(before)


class _Run:
    """A training under way."""

    def __init__(
        self,
        training: Sequence[PromptSet],
        validation: Sequence[PromptSet],
        folder: Path,
        settings: ScratchSettings,
    ) -> None:
        self.training, self.validation = training, validation
        self.folder, self.settings = folder, settings
        self.model = new_small_model(small_config(**settings.architecture), seed=settings.seed)
        # Two copies work side by side, each on half of the sets by one thread of its own: steps of
        # so small a network leave a second thread inside each operation mostly waiting.
        self.copies = [self.model, copy.deepcopy(self.model)]
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(_groups(self.model, settings), betas=(0.9, 0.98))
        self.step = 0
        self.scores: dict[str, dict[str, float]] = {}
        kept = self._resume()
        self.spent = Spent(settings, minutes=kept[0], wall=kept[1])
        self.autocast = has_fast_bf16(torch.device("cpu"))

    def go(self, max_steps: int | None) -> Trained:
        """Train until the budget is spent."""
        last, begun, running = self.spent.wall, self.step, 0.0
        self.model.train()
        with ThreadPoolExecutor(self.settings.threads, initializer=_alone) as pool:
            while self.spent.share(self.step) < 1 and (
                max_steps is None or self.step < begun + max_steps
            ):
                loss = self._one_step(pool)
                running = loss if running == 0 else 0.98 * running + 0.02 * loss
                if (self.spent.wall - last) * 60 >= self.settings.save_seconds:
                    self._checkpoint(running)
                    last = self.spent.wall
        self._checkpoint(running)
        spent = self.spent
        return Trained(
            self.folder / MODEL_FOLDER, self.step, spent.minutes, spent.wall, self.scores
        )

    def _one_step(self, pool: ThreadPoolExecutor) -> float:
        settings = self.settings
        rounds = draw_rounds(keyed_generator(settings.seed, "rounds", self.step))
        jobs = [pool.submit(self._half, number, rounds) for number in range(len(self.copies))]
        loss = float(np.mean([job.result() for job in jobs]))
        _sum_gradients(self.copies)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.spent.share(self.step), settings)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        else:
            _log.warning("step %d left out: its gradient is not finite", self.step)
        self._take_average()
        self.step += 1
        return loss

    def _half(self, number: int, rounds: int) -> float:
        """Compute the gradient of one half of a step; the same whatever the number of threads."""
        settings, model = self.settings, self.copies[number]
        generator = keyed_generator(settings.seed, "step", self.step, number)
        if model is not self.model:
            _copy_weights(self.model, model)
        model.zero_grad(set_to_none=True)
        # The middle of the list is where the halves meet; a single set serves both.
        middle = (len(self.training) + 1) // 2
        sets = self.training[:middle] if number == 0 else self.training[-middle:]
        scenes = [
            draw_scene(each, generator, side=SIDE) for each in sets for _ in range(settings.scenes)
        ]
        return interactive_step(
            model, scenes, generator, rounds=rounds,
            sampling=settings.sampling, loss=settings.loss, autocast=self.autocast,
        )  # fmt: skip

    @torch.no_grad()
    def _take_average(self) -> None:
        # Short at first: the average must not remember the random beginning.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def _checkpoint(self, loss: float) -> None:
        shadow = new_small_model(small_config(**self.settings.architecture))
        shadow.load_state_dict(self.average)
        self.scores = validate(shadow, self.validation, most=self.settings.validation_images)
        save_model(self.model, self.folder / MODEL_FOLDER, weights=self.average)
        state = {
            "model": self.model.state_dict(), "average": self.average,
            "optimizer": self.optimizer.state_dict(), "step": self.step,
            "minutes": self.spent.minutes, "wall": self.spent.wall,
        }  # fmt: skip
        with atomic_path(self.folder / STATE_FILE) as temporary:
            torch.save(state, temporary)
        row = {
            "step": self.step, "minutes": round(self.spent.minutes, 2),
            "wall_minutes": round(self.spent.wall, 4), "loss": round(loss, 4),
            "validation": self.scores,
        }  # fmt: skip
        history = self.folder / HISTORY_FILE
        lines = history.read_text(encoding="utf-8") if history.is_file() else ""
        write_text(history, lines + json.dumps(row) + "\n")
        _log.info("%s", json.dumps(row))

    def _resume(self) -> tuple[float, float]:
        """Take up what the folder holds; gives the minutes used before."""
        described = asdict(self.settings)
        for bound in _BOUNDS:
            described.pop(bound)
        described = json.loads(json.dumps(described))
        settings_file, state_file = self.folder / SETTINGS_FILE, self.folder / STATE_FILE
        if settings_file.is_file():
            kept = json.loads(settings_file.read_text(encoding="utf-8"))
            differ = [key for key in described if kept.get(key) != described[key]]
            if differ:
                raise RunError(
                    expected(f"{differ[0]} of a resumed training", repr(kept.get(differ[0])),
                             repr(described[differ[0]]), "the same settings, or another folder")
                )  # fmt: skip
        write_json(settings_file, described)
        if not state_file.is_file():
            return 0.0, 0.0
        # Tensors and plain values alone: nothing in the file is executed.
        state = torch.load(state_file, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        return float(state["minutes"]), float(state["wall"])


def _alone() -> None:
    torch.set_num_threads(1)


@torch.no_grad()
def _copy_weights(model: nn.Module, into: nn.Module) -> None:
    for mine, other in zip(model.parameters(), into.parameters(), strict=True):
        other.copy_(mine)


@torch.no_grad()
def _sum_gradients(copies: Sequence[nn.Module]) -> None:
    """Put the mean gradient of all copies into the first."""
    for same in zip(*(each.parameters() for each in copies), strict=True):
        found = [p.grad for p in same if p.grad is not None]
        if found:
            # A weight that one half did not use (no mask prompt was drawn) has no gradient there.
            same[0].grad = torch.stack(found).sum(0) / len(copies)


def _groups(model: nn.Module, settings: ScratchSettings) -> list[dict[str, Any]]:
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [p for n, p in learned if p.ndim < 2 or "embed" in n or "token" in n]
    ids = {id(p) for p in spared}
    decayed = [p for _, p in learned if id(p) not in ids]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay, "lr": settings.learning_rate},
        {"params": spared, "weight_decay": 0.0, "lr": settings.learning_rate},
    ]
