"""A promptable model: encode an image once, then ask it as often as you like."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.inference.backend import choose_device, choose_precision
from penumbra.promptable.decoding import DECODERS, Decoded, alike, to_network
from penumbra.promptable.embedding import Embedding, embedding_key
from penumbra.promptable.encoding import encode
from penumbra.promptable.loading import Loaded, digest_of_weights, load
from penumbra.promptable.prediction import (
    PromptedPrediction,
    prediction_of,
    stability_score,
    to_image_size,
)
from penumbra.promptable.prompts import PromptKind, Prompts

Precision = Literal["auto", "float32", "bfloat16"]
Choice = Literal["best", "all"] | int

_PRECISIONS: dict[str, Any] = {"auto": "auto", "float32": "fp32", "bfloat16": "bf16",
                               "fp32": "fp32", "bf16": "bf16"}  # fmt: skip


class PromptableSegmenter:
    """A model of the SAM family that is ready to be prompted.

    Build it by `from_pretrained`. The encoder runs in the chosen precision, prompt encoder and
    mask decoder in float32.

    Attributes:
        name: what it was loaded by.
        family: which family it is of.
        accepts: the kinds of prompt it takes.
        size: side of the encoder's square input in pixels.
        low: side of the low-resolution logits.
        model: the module of transformers, in evaluation mode.
        precision: of the encoder, ``"fp32"`` or ``"bf16"``.
        device: where it lies.
        weights_digest: SHA-256 of all weights as loaded.
        encoder_digest: SHA-256 of the encoder's weights; embeddings belong to these.
        filters: applied to every image before the encoder, unless `embed` is told otherwise.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        precision: str = "auto",
        device: str = "auto",
        filters: object = None,
    ) -> None:
        if precision not in _PRECISIONS:
            raise SettingsError(
                expected("`precision`", "auto, float32 or bfloat16", repr(precision), "'auto'")
            )
        self.name = name
        self.family = loaded.family
        self.scaling = loaded.scaling
        self.device = choose_device(device)
        self.precision = choose_precision(_PRECISIONS[precision], self.device)
        if self.precision == "fp16" or (precision == "auto" and not loaded.family.halves):
            # Attention overflows in 16-bit floats of a narrow range.
            self.precision = "fp32"
        self.filters = FilterChain.parse(filters)
        self.model: Any = loaded.model.eval()
        self.weights_digest = digest_of_weights(self.model)
        self.encoder_digest = digest_of_weights(self.encoder)
        self.model.to(self.device)
        if self.precision == "bf16":
            self.model.vision_encoder.to(torch.bfloat16)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        precision: Precision = "auto",
        device: str = "auto",
        offline: bool = False,
        family: str | None = None,
        filters: object = None,
    ) -> PromptableSegmenter:
        """Load a model.

        Args:
            name: ``"small"``, the project's own model; ``owner/model`` on the hub; a folder in the
                form of Hugging Face; a ``.pth`` file as Meta publishes them; or a run that tuned
                one of these.
            precision: of the encoder; ``"auto"`` is bfloat16 where the machine computes it faster.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
            offline: never reach for the network.
            family: where a checkpoint does not say which it is of: a name in `families.FAMILIES`.
            filters: applied to every image before the encoder; by default those that a run was
                tuned with, else none.

        Raises:
            ModelError: nothing is there, or it is damaged or of another kind.
            RunError: a tuned run is damaged, or what it was tuned from has other weights now.
            MissingExtraError: what is needed to load it is not installed.
        """
        loaded = load(name, offline=offline, family=family)
        chain = loaded.filters if filters is None else filters
        return cls(loaded, name=str(name), precision=precision, device=device, filters=chain)

    @property
    def encoder(self) -> nn.Module:
        """The part of the model that sees the image."""
        found: nn.Module = self.model.vision_encoder
        return found

    @property
    def accepts(self) -> frozenset[PromptKind]:
        """The kinds of prompt it takes."""
        return self.family.accepts

    @property
    def size(self) -> int:
        """Side of the encoder's square input in pixels."""
        return self.scaling.side

    @property
    def low(self) -> int:
        """Side of the low-resolution logits, and of mask prompts."""
        prompted = self.model.config.prompt_encoder_config
        return 4 * int(prompted.image_size) // int(prompted.patch_size)

    def embedding_key(self, image: NDArray[np.generic], *, filters: object = None) -> str:
        """Say under which key `embed` would give the embedding of this image, without computing."""
        chain = self.filters if filters is None else FilterChain.parse(filters)
        # Encoders of two families may have the same weights, and one decoder want more of them.
        extra = {"extra": self.family.extra} if self.family.extra else {}
        return embedding_key(
            image,
            encoder=self.encoder_digest,
            filters=chain.pixels.digest,
            scaling=self.scaling,
            precision=self.precision,
            **extra,
        )

    def embed(self, image: NDArray[np.generic], *, filters: object = None) -> Embedding:
        """Run the encoder on one image.

        Args:
            image: (H, W, C), C = 1 or 3. uint8 is taken as it is; any other type is windowed to
                8 bits (`pixels.to_eight_bit`); grey is repeated to three channels.
            filters: instead of the segmenter's own, as `FilterChain.parse` takes them; ``[]``
                for none.

        Returns:
            The same bits for the same image, whatever else was embedded before.

        Raises:
            ImageFileError: the image is empty, of another shape, or not finite.
        """
        started = time.perf_counter()
        chain = self.filters if filters is None else FilterChain.parse(filters)
        pixels, resized = self.scaling.pixels(chain.pixels.apply(image) if chain else image)
        prepared = time.perf_counter()
        features, extra = encode(self.model, pixels, self.family)
        timings = {"prepare": prepared - started, "encode": time.perf_counter() - prepared}
        return Embedding(
            features=features,
            size=(int(image.shape[0]), int(image.shape[1])),
            resized=resized,
            key=self.embedding_key(image, filters=chain),
            model=self.encoder_digest,
            extra=extra,
            timings=timings,
        )

    def predict(
        self,
        embedding: Embedding,
        *,
        boxes: Any = None,
        points: Any = None,
        labels: Any = None,
        mask: Any = None,
        choice: Choice = "best",
    ) -> list[PromptedPrediction]:
        """Segment what the prompts ask for.

        Args:
            embedding: of the image, by this model's `embed`.
            boxes: see `Prompts.of`, as for the next three.
            points: (N, P, 2), or (P, 2) for one prompt.
            labels: of the points.
            mask: (N, H, W) or (H, W) of the image's size, or the logits of an earlier answer.
            choice: which of the model's masks. A box, a mask or two points and more say what is
                meant: ``"best"`` is then the single mask. One point alone may mean a part or the
                whole: ``"best"`` is then the mask of three with the highest predicted IoU.
                ``"all"`` gives the three, the highest predicted IoU first; 0 is the single mask
                and 1 to 3 one of the three.

        Returns:
            One prediction per prompt at the image's size, in order; three each for ``"all"``.

        Raises:
            SettingsError: there is no prompt, it is not valid, or of a kind that this model does
                not take; the embedding is another model's, or lacks what
                this model's decoder needs of it.
        """
        asked = Prompts.of(
            size=embedding.size, boxes=boxes, points=points, labels=labels, mask=mask, low=self.low
        )
        return self.predict_prompts(embedding, asked, choice=choice)

    def predict_prompts(
        self, embedding: Embedding, prompts: Prompts, *, choice: Choice = "best"
    ) -> list[PromptedPrediction]:
        """As `predict`, for prompts that are already checked."""
        found: dict[int, list[PromptedPrediction]] = {}
        for numbers, decoded in self.decode(embedding, prompts, choice=choice):
            for row, number in enumerate(numbers):
                found[int(number)] = [
                    self._finish(embedding, decoded, row, column)
                    for column in range(decoded.logits.shape[1])
                ]
        return [one for number in sorted(found) for one in found[number]]

    def predict_many(
        self,
        embeddings: Sequence[Embedding],
        prompts: Sequence[Prompts],
        *,
        choice: Choice = "best",
    ) -> list[list[PromptedPrediction]]:
        """Segment B images with N prompts each, N free for each image.

        Returns:
            For each image what `predict` gives for it alone.

        Raises:
            SettingsError: as many embeddings as prompts are wanted, and what `predict` raises.
        """
        if len(embeddings) != len(prompts):
            raise SettingsError(
                expected("`prompts`", f"one for each of {len(embeddings)} embeddings",
                         len(prompts), "an entry per image")
            )  # fmt: skip
        pairs = zip(embeddings, prompts, strict=True)
        return [self.predict_prompts(one, asked, choice=choice) for one, asked in pairs]

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, choice: Choice = "best"
    ) -> Iterator[tuple[NDArray[np.intp], Decoded]]:
        """Run the decoder alone, some prompts at a time, without scaling anything up.

        Yields:
            The numbers of some of the prompts, and what was decoded for them: one mask each, or
            three for ``choice="all"``.

        Raises:
            SettingsError: as `predict`.
        """
        self._check(embedding, prompts, choice)
        # What a cache gives lies in main memory.
        placed = embedding.on(self.device)
        for numbers in alike(prompts):
            yield numbers, self._decode(placed, prompts[numbers], choice)

    @torch.no_grad()
    def _decode(self, embedding: Embedding, prompts: Prompts, choice: Choice) -> Decoded:
        network = to_network(
            prompts,
            resized=embedding.resized,
            side=self.size,
            low=self.low,
            device=self.device,
        )
        clear = bool(prompts.kinds - {"point"}) or int(prompts.n_points[0]) >= 2
        multimask = choice == "all" or (not clear if choice == "best" else choice != 0)
        run = DECODERS[self.family.decoder]
        logits, iou = run(self.model, embedding, network, multimask=multimask)
        order = torch.arange(iou.shape[1], device=iou.device).expand_as(iou)
        if multimask:
            if choice in ("best", "all"):
                order = iou.argsort(dim=1, descending=True, stable=True)
                order = order[:, :1] if choice == "best" else order
            else:
                order = order[:, int(choice) - 1 : int(choice)]
        picked = order[..., None, None].expand(-1, -1, *logits.shape[2:])
        return Decoded(
            logits=logits.gather(1, picked).float(),
            iou=iou.gather(1, order).float().clamp(0, 1),
            candidates=order + (1 if multimask else 0),
        )

    def _finish(
        self, embedding: Embedding, decoded: Decoded, row: int, column: int
    ) -> PromptedPrediction:
        low = decoded.logits[row : row + 1, column : column + 1]
        large = to_image_size(low, resized=embedding.resized, side=self.size, size=embedding.size)
        inside = [max(1, round(n * self.low / self.size)) for n in embedding.resized]
        stable = stability_score(low[0, 0, : inside[0], : inside[1]])
        return prediction_of(
            large[0, 0],
            low[0, 0],
            iou=float(decoded.iou[row, column]),
            stability=float(stable),
            candidate=int(decoded.candidates[row, column]),
        )

    def _check(self, embedding: Embedding, prompts: Prompts, choice: Choice) -> None:
        foreign = sorted(prompts.kinds - self.accepts)
        if foreign:
            raise SettingsError(
                expected(f"the prompt for {self.name}", " or ".join(sorted(self.accepts)),
                         " and ".join(foreign), "a kind of prompt that this model was trained with")
            )  # fmt: skip
        if embedding.model != self.encoder_digest:
            raise SettingsError(
                expected("the embedding", f"one by the encoder of {self.name}",
                         f"one by {embedding.model[:12]}…", "embedding the image again")
            )  # fmt: skip
        if len(embedding.extra) < self.family.extra:
            raise SettingsError(
                expected("the embedding", f"one with the {self.family.extra} further features that "
                         f"the decoder of {self.name} ({self.family.name}) needs",
                         len(embedding.extra), "embedding the image again by this model")
            )  # fmt: skip
        if prompts.size != embedding.size:
            raise SettingsError(
                expected("the prompts", f"for the image of {embedding.size}", prompts.size,
                         "`Prompts.of` with that image's size")
            )  # fmt: skip
        if prompts.masks is not None and prompts.masks_are_logits and (
            prompts.masks.shape[1:] != (self.low, self.low)
        ):  # fmt: skip
            raise SettingsError(
                expected(f"logits as a prompt for {self.name}", f"{self.low}×{self.low}",
                         "×".join(map(str, prompts.masks.shape[1:])), "an answer of this model")
            )  # fmt: skip
        if choice not in ("best", "all", 0, 1, 2, 3):
            raise SettingsError(
                expected("`choice`", "best, all, or 0 to 3", repr(choice), "'best'")
            )
