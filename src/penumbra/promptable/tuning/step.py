"""One step of a tuning: prompts drawn from masks, answered, corrected, and learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor

from penumbra.promptable.decoding import DECODERS, NetworkPrompts
from penumbra.promptable.embedding import Embedding
from penumbra.promptable.losses import PromptLoss, prompt_loss
from penumbra.promptable.prompt_sampling import (
    corrective_points,
    keyed_generator,
    sample_prompts,
)
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.examples import Batch
from penumbra.promptable.tuning.settings import TuneSettings, TuneTrainingSettings
from penumbra.training.module import make_optimizer

_CORRECTED = 0.5
"""Share of the steps that learn from an answer after clicks, not from the first one."""


@dataclass(frozen=True)
class Answer:
    """What the decoder said about B × N objects.

    Attributes:
        logits: (B·N, K, h, w).
        iou: (B·N, K), as predicted.
    """

    logits: Tensor
    iou: Tensor


@dataclass(frozen=True)
class Asked:
    """Prompts of B × N objects, in pixels of the grid that masks lie on.

    Attributes:
        boxes: (B·N, 4), or ``None``.
        points: (B·N, P, 2), or ``None``.
        labels: (B·N, P), or ``None``.
        masks: (B·N, 1, h, w) logits, or ``None``.
    """

    boxes: NDArray[np.float32] | None
    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int8] | None = None
    masks: Tensor | None = None

    @property
    def ambiguous(self) -> bool:
        """Whether it is one point and nothing else, which the three masks answer."""
        single = self.points is not None and self.points.shape[1] == 1
        return single and self.boxes is None and self.masks is None

    def with_click(
        self, points: NDArray[np.float32], labels: NDArray[np.int8], masks: Tensor | None
    ) -> Asked:
        """Add one point to each prompt, and the mask before it."""
        if self.points is None or self.labels is None:
            return replace(self, points=points[:, None], labels=labels[:, None], masks=masks)
        return replace(
            self,
            points=np.concatenate([self.points, points[:, None]], axis=1),
            labels=np.concatenate([self.labels, labels[:, None]], axis=1),
            masks=masks,
        )


class Answering:
    """Answer prompts with a segmenter's own modules, with gradients where they are wanted.

    Args:
        segmenter: its prompt encoder and mask decoder are used.
    """

    def __init__(self, segmenter: PromptableSegmenter) -> None:
        self.segmenter = segmenter
        self.model: Any = segmenter.model

    def features(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the features (B, C, h, w) of a batch: as they were kept, or by the encoder."""
        device = self.segmenter.device
        if batch.features is not None:
            return batch.features.to(device), tuple(t.to(device) for t in batch.extra)
        if batch.pixels is None:
            return torch.zeros(0), ()
        weight = next(self.model.vision_encoder.parameters())
        found = self.model.vision_encoder(batch.pixels.to(device, weight.dtype))
        early = getattr(found, "intermediate_embeddings", None) or ()
        return found.last_hidden_state.float(), tuple(
            t.float() for t in tuple(early)[: self.segmenter.family.extra]
        )

    def answer(
        self, features: Tensor, extra: tuple[Tensor, ...], asked: Asked, *, grid: int
    ) -> Answer:
        """Run the decoder on prompts, N for each of B images.

        Args:
            features: (B, C, h, w).
            extra: (B, …) each.
            asked: B · N prompts of one kind.
            grid: side of the grid that they lie on.
        """
        scale = np.float32(self.segmenter.size / grid)
        device = self.segmenter.device

        def placed(array: NDArray[np.generic] | None, kind: torch.dtype) -> Tensor | None:
            if array is None:
                return None
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)[:, None]

        boxes = None if asked.boxes is None else asked.boxes * scale
        # Centres of pixels are whole numbers on either grid; boxes count from corners.
        points = None if asked.points is None else (asked.points + 0.5) * scale - np.float32(0.5)
        prompts = NetworkPrompts(
            boxes=placed(boxes, torch.float32),
            points=placed(points, torch.float32),
            labels=placed(asked.labels, torch.int64),
            masks=asked.masks,
        )
        each = len(prompts) // len(features)
        embedding = Embedding(
            features=features.repeat_interleave(each, 0),
            size=(grid, grid),
            resized=(grid, grid),
            key="",
            model=self.segmenter.encoder_digest,
            extra=tuple(t.repeat_interleave(each, 0) for t in extra),
        )
        decode = DECODERS[self.segmenter.family.decoder]
        logits, iou = decode(self.model, embedding, prompts, multimask=asked.ambiguous)
        return Answer(logits.float(), iou.float())


class TuningModule(pl.LightningModule):
    """A promptable model, its prompts and its loss.

    Args:
        segmenter: whose weights are tuned; `select_parts` has chosen them.
        settings: of the prompts and the loss.
        training: of the optimisation.
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        *,
        settings: TuneSettings,
        training: TuneTrainingSettings,
    ) -> None:
        super().__init__()
        self.network = segmenter.model
        self.answering = Answering(segmenter)
        self.accepts = segmenter.accepts
        self.settings = settings
        self.training_settings = training
        # A checkpoint holds the tuned weights alone; the others are the base model's.
        self.strict_loading = False

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Leave the batch where it is: what needs the device is brought there in the step."""
        del device, dataloader_idx
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one answer; all draws come from (seed, step)."""
        del batch_idx
        seed = self.training_settings.seed
        generator = keyed_generator(seed, "prompts", self.global_step)
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        # The dropout of adapters draws from torch's global state; the caller's stays as it was.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(generator.integers(2**62)))
            features, extra = self.answering.features(batch)
            masks = batch.masks.reshape(-1, *batch.masks.shape[2:])
            asked = self._first(masks, generator)
            valid = np.repeat(batch.valid, batch.masks.shape[1], axis=0)
            for _ in range(self._clicks(generator)):
                asked = self._corrected(features, extra, asked, masks, valid, generator)
            answer = self.answering.answer(features, extra, asked, grid=masks.shape[-1])
        with torch.autocast(device_type=self.device.type, enabled=False):
            return loss_of(answer, batch, name=self.settings.loss).total

    def _first(self, masks: NDArray[np.bool_], generator: np.random.Generator) -> Asked:
        """Draw the first prompts; boxes for all objects of a step, or points for all."""
        boxed = generator.random() < box_share(self.settings, self.accepts)
        drawn = sample_prompts(
            masks, generator, self.settings.sampling(box_share=1.0 if boxed else 0.0)
        )
        return Asked(drawn.boxes) if boxed else Asked(None, drawn.points, drawn.labels)

    def _clicks(self, generator: np.random.Generator) -> int:
        most = self.settings.clicks if "point" in self.accepts else 0
        if most == 0 or generator.random() >= _CORRECTED:
            return 0
        return int(generator.integers(1, most + 1))

    @torch.no_grad()
    def _corrected(
        self,
        features: Tensor,
        extra: tuple[Tensor, ...],
        asked: Asked,
        masks: NDArray[np.bool_],
        valid: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> Asked:
        """Answer without gradients, and click where the answer is wrong and counts."""
        answer = self.answering.answer(features, extra, asked, grid=masks.shape[-1])
        best = answer.iou.argmax(dim=1)
        low = answer.logits[torch.arange(len(best)), best][:, None]
        said = F.interpolate(low, size=masks.shape[1:], mode="bilinear", align_corners=False)
        points, labels = corrective_points(
            (said[:, 0] > 0).cpu().numpy(), masks, generator, valid=valid
        )
        kept = generator.random() < self.settings.mask_share and "mask" in self.accepts
        return asked.with_click(points, labels, low if kept else None)

    def on_train_epoch_start(self) -> None:
        """Set the modes; Lightning and validation leave others behind."""
        self.set_modes()

    def set_modes(self) -> None:
        """Put what is tuned into training mode, and all that is frozen into evaluation mode."""
        self.network.eval()
        for name, module in self.network.named_modules():
            tuned = any(p.requires_grad for p in module.parameters(recurse=False))
            if tuned or "lora_dropout" in name:
                module.train()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the weights that nothing changes out of the checkpoint."""
        if self.settings.mode == "full":
            return
        tuned = {name for name, p in self.named_parameters() if p.requires_grad}
        states = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in states.items() if k in tuned}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimiser of the tuned weights; the budget's callback sets the rate."""
        tuned = [p for p in self.network.parameters() if p.requires_grad]
        return make_optimizer(self.training_settings.optimizer, tuned, self.training_settings)


def box_share(settings: TuneSettings, accepts: frozenset[Any]) -> float:
    """Give how often a first prompt is a box, for a model that takes these kinds of prompt."""
    if "point" not in accepts:
        return 1.0
    return settings.box_share if "box" in accepts else 0.0


def loss_of(answer: Answer, batch: Batch, *, name: Literal["sam", "dice_bce"]) -> PromptLoss:
    """Compute the loss of the answers to B images with N objects each, at the logits' resolution.

    A pixel of the logits is given the share of its area that the object fills, and counts where
    most of it lies in the image and is not ignored.
    """
    images, each = batch.masks.shape[:2]
    low = answer.logits.shape[-2:]
    device = answer.logits.device
    masks = torch.from_numpy(batch.masks).to(device, torch.float32)
    valid = torch.from_numpy(batch.valid).to(device, torch.float32)[:, None]
    shape = (images, each, *answer.logits.shape[1:])
    return prompt_loss(
        answer.logits.view(shape),
        answer.iou.view(shape[:3]),
        F.interpolate(masks, size=low, mode="area"),
        name=name,
        valid=(F.interpolate(valid, size=low, mode="area") > 0.5).float(),
    )
