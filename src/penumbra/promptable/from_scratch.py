"""Training a small promptable model from nothing, inside a given time, resumably."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.backend import has_fast_bf16
from penumbra.promptable.interactive import (
    Clicks,
    answer_of,
    click_objects,
    decode,
    interactive_step,
)
from penumbra.promptable.losses import LossName
from penumbra.promptable.prompt_sampling import PromptSampling, keyed_generator
from penumbra.promptable.scenes import PromptSet, Scene, draw_scene, whole_scene
from penumbra.promptable.small import SIDE, new_small_model, save_model, small_config
from penumbra.storage import atomic_path, write_json, write_text

_log = logging.getLogger(__name__)

STATE_FILE = "state.pt"
SETTINGS_FILE = "settings.json"
HISTORY_FILE = "history.jsonl"
MODEL_FOLDER = "model"

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
        seed: of weights and draws.
        threads: of the processor.
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


class _Spent:
    """The time used so far, that before a resume included."""

    def __init__(self, settings: ScratchSettings, *, minutes: float, wall: float) -> None:
        self._settings = settings
        self._before = (minutes, wall)
        self._started = (time.process_time(), time.monotonic())

    @property
    def wall(self) -> float:
        return self._before[1] + (time.monotonic() - self._started[1]) / 60

    @property
    def minutes(self) -> float:
        if self._settings.clock == "wall":
            return self.wall
        used = time.process_time() - self._started[0]
        return self._before[0] + used / 60 / self._settings.threads

    @property
    def share(self) -> float:
        share = self.minutes / self._settings.minutes
        if self._settings.wall_minutes is not None:
            share = max(share, self.wall / self._settings.wall_minutes)
        return share


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
    torch.set_num_threads(settings.threads)
    try:
        return _Run(training, validation, folder, settings).go(max_steps)
    finally:
        torch.set_num_threads(before)


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


def _encode(model: nn.Module, scene: Scene) -> Tensor:
    encoder: Any = model.get_submodule("vision_encoder")
    features: Tensor = encoder(torch.from_numpy(scene.pixels)[None]).last_hidden_state
    return features


def _dice(model: nn.Module, features: Tensor, scene: Scene, *, boxes: bool) -> list[float]:
    clicks = Clicks(click_objects(scene.masks, boxes=boxes), np.zeros(len(scene.masks), np.int64))
    logits, iou = decode(model, features, clicks)
    answer = answer_of(logits, iou, torch.from_numpy(clicks.single))
    large = F.interpolate(answer[None], scene.masks.shape[1:], mode="bilinear")[0]
    a = (large > 0).numpy() & scene.valid
    both = (a & scene.masks).sum((1, 2))
    dice = 2 * both / (a.sum((1, 2)) + scene.masks.sum((1, 2)))
    return [float(d) for d in dice]


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
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(_groups(self.model, settings), betas=(0.9, 0.98))
        self.step = 0
        self.scores: dict[str, dict[str, float]] = {}
        kept = self._resume()
        self.spent = _Spent(settings, minutes=kept[0], wall=kept[1])
        self.autocast = has_fast_bf16(torch.device("cpu"))

    def go(self, max_steps: int | None) -> Trained:
        """Train until the budget is spent."""
        last, begun, running = self.spent.wall, self.step, 0.0
        self.model.train()
        while self.spent.share < 1 and (max_steps is None or self.step < begun + max_steps):
            loss = self._one_step()
            running = loss if running == 0 else 0.98 * running + 0.02 * loss
            if (self.spent.wall - last) * 60 >= self.settings.save_seconds:
                self._checkpoint(running)
                last = self.spent.wall
        self._checkpoint(running)
        spent = self.spent
        return Trained(
            self.folder / MODEL_FOLDER, self.step, spent.minutes, spent.wall, self.scores
        )

    def _one_step(self) -> float:
        settings = self.settings
        generator = keyed_generator(settings.seed, "step", self.step)
        scenes = [
            draw_scene(each, generator, side=SIDE)
            for each in self.training
            for _ in range(settings.scenes)
        ]
        self.optimizer.zero_grad(set_to_none=True)
        loss = interactive_step(
            self.model, scenes, generator,
            sampling=settings.sampling, loss=settings.loss, autocast=self.autocast,
        )  # fmt: skip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.spent.share, settings)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        else:
            _log.warning("step %d left out: its gradient is not finite", self.step)
        self._take_average()
        self.step += 1
        return loss

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
            "wall_minutes": round(self.spent.wall, 2), "loss": round(loss, 4),
            "validation": self.scores,
        }  # fmt: skip
        history = self.folder / HISTORY_FILE
        lines = history.read_text(encoding="utf-8") if history.is_file() else ""
        write_text(history, lines + json.dumps(row) + "\n")
        _log.info("%s", json.dumps(row))

    def _resume(self) -> tuple[float, float]:
        """Take up what the folder holds; gives the minutes used before."""
        described = asdict(self.settings)
        for bound in ("minutes", "wall_minutes", "clock", "threads", "save_seconds"):
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


def _groups(model: nn.Module, settings: ScratchSettings) -> list[dict[str, Any]]:
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [p for n, p in learned if p.ndim < 2 or "embed" in n or "token" in n]
    ids = {id(p) for p in spared}
    decayed = [p for _, p in learned if id(p) not in ids]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay, "lr": settings.learning_rate},
        {"params": spared, "weight_decay": 0.0, "lr": settings.learning_rate},
    ]
