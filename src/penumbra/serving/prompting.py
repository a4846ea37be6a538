"""Promptable models inside of a worker: an image is embedded once, then asked as often as liked."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import ImageFileError, SettingsError, expected
from penumbra.imaging.overlay import to_display
from penumbra.imaging.rle import decode_coco, encode_coco
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.embedding import Embedding
from penumbra.promptable.prediction import PromptedPrediction
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.regions import tight_box
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.serving.answers import result_href
from penumbra.serving.encode import png
from penumbra.serving.messages import UNKNOWN_SESSION, Answer, Job
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.uploads import UploadError, UploadLimits, decode

_MOST_SESSIONS = 4096
_MOST_PROMPTS = 256
Look = Callable[[], None]
"""Looks whether anybody still waits, and raises where nobody does."""
_PRECISIONS: dict[str, Any] = {"fp32": "float32", "bf16": "bfloat16"}


class ServedPromptable:
    """A promptable model that is served.

    Sessions are names for embeddings. Which images they are of is the parent's business: a worker
    that does not know a session any more, or never did, asks for the upload.

    Args:
        spec: which.
        settings: bounds; embeddings take at most `embedding_bytes`.

    Raises:
        PenumbraError: it cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, settings: WorkerSettings) -> None:
        self.name = spec.name
        self.segmenter = PromptableSegmenter.from_pretrained(
            spec.source,
            device=settings.device,
            precision=_PRECISIONS.get(settings.precision, "auto"),
        )
        self.cache = EmbeddingCache(memory_bytes=settings.embedding_bytes)
        self._keys: OrderedDict[str, str] = OrderedDict()

    def describe(self) -> dict[str, Any]:
        """Give plain values for the list of models."""
        return {
            "name": self.name,
            "kind": "promptable",
            "classes": ["background", "object"],
            "has_noise": False,
            "sampler": None,
            "calibrated": False,
            "threshold": 0.5,
            "size": self.segmenter.size,
            "accepts": sorted(self.segmenter.accepts),
        }

    def forget(self, session: str) -> None:
        """Keep nothing of a session; an embedding that another one is of as well stays."""
        key = self._keys.pop(session, None)
        if key is not None and key not in self._keys.values():
            self.cache.drop(key)

    def embed(self, job: Job, limits: UploadLimits, *, look: Look) -> Answer:
        """Embed an image and remember it under its session.

        Args:
            job: whose upload is the image.
            limits: of the upload.
            look: called before the image is embedded; what it raises is let through.

        Raises:
            UploadError: the upload is refused.
        """
        image, decoding = _decoded(job, limits)
        look()
        embedding, timings, cached = self._embedded(job, image)
        timings = {"decode": decoding, **timings}
        height, width = embedding.size
        files: dict[str, bytes] = {}
        document: dict[str, Any] = {
            "id": str(job.options.get("session", job.id)),
            "model": job.model,
            "size": {"height": height, "width": width},
            "accepts": sorted(self.segmenter.accepts),
        }
        if job.options.get("picture"):
            started = time.perf_counter()
            files["image.png"] = png(to_display(image))
            document["pictures"] = {"image": {"href": result_href(job.id, "image.png")}}
            timings["encode"] = time.perf_counter() - started
        return Answer(
            id=job.id,
            document=document | {"timings": timings},
            files=files,
            timings=timings,
            cached=cached,
        )

    def prompt(self, job: Job, limits: UploadLimits, *, look: Look) -> Answer:
        """Answer prompts on a session's image; each mask is cropped to its box.

        Args:
            job: whose options are the prompts.
            limits: of the upload.
            look: called before each prompt; what it raises is let through.

        Raises:
            SettingsError: a prompt is not valid.
            UploadError: the session is unknown here and the job has no upload (status 0), or the
                upload is refused.
        """
        embedding, timings, cached = self._embedding(job, limits, look)
        started = time.perf_counter()
        asked = _asked(job.options, embedding.size, self.segmenter.low)
        choice: Any = job.options.get("choice") or "best"
        masks: list[dict[str, Any]] = []
        encoding = 0.0
        # One at a time: masks of a large image take much room until they are run lengths, and a
        # prompt then has the same bits whatever is asked beside it.
        for number in range(len(asked)):
            look()
            one = asked[slice(number, number + 1)]
            found = self.segmenter.predict_prompts(embedding, one, choice=choice)
            before = time.perf_counter()
            masks += map(mask_row, found)
            encoding += time.perf_counter() - before
        timings["network"] = time.perf_counter() - started - encoding
        timings["encode"] = encoding
        document = {"masks": masks, "model": job.model, "timings": timings}
        return Answer(id=job.id, document=document, timings=timings, cached=cached)

    def _embedding(
        self, job: Job, limits: UploadLimits, look: Look
    ) -> tuple[Embedding, dict[str, float], bool]:
        session = str(job.options.get("session", job.id))
        key = self._keys.get(session)
        held = None if key is None else self.cache.get(key)
        if held is not None:
            self._keys.move_to_end(session)
            return held, {"decode": 0.0, "prepare": 0.0}, True
        image, decoding = _decoded(job, limits)
        look()
        embedding, timings, cached = self._embedded(job, image)
        return embedding, {"decode": decoding, **timings}, cached

    def _embedded(
        self, job: Job, image: NDArray[np.generic]
    ) -> tuple[Embedding, dict[str, float], bool]:
        started = time.perf_counter()
        before = self.cache.counts.computed
        embedding = self.cache.embed(self.segmenter, image)
        self._keys[str(job.options.get("session", job.id))] = embedding.key
        while len(self._keys) > _MOST_SESSIONS:
            self._keys.popitem(last=False)
        timings = {"prepare": time.perf_counter() - started}
        return embedding, timings, self.cache.counts.computed == before


def _decoded(job: Job, limits: UploadLimits) -> tuple[NDArray[np.generic], float]:
    """Decode a job's image; the seconds that it took."""
    if job.upload is None:
        raise UploadError(0, UNKNOWN_SESSION, "The worker needs the session's image again.")
    started = time.perf_counter()
    image = decode(job.upload, limits)
    return image, time.perf_counter() - started


def mask_row(answer: PromptedPrediction) -> dict[str, Any]:
    """Describe one mask: its box, run lengths of what is inside of it, area and scores.

    An empty mask has neither box nor run lengths.
    """
    mask: NDArray[np.bool_] = answer.mask > 0
    box = tight_box(mask)
    row: dict[str, Any] = {"box": None, "rle": None, "area_px": int(np.count_nonzero(mask))}
    if box is not None:
        x0, y0, x1, y1 = box
        row |= {"box": list(box), "rle": encode_coco(mask[y0:y1, x0:x1])}
    return row | {"predicted_iou": answer.predicted_iou, "stability": answer.stability}


def _asked(options: Mapping[str, Any], size: tuple[int, int], low: int) -> Prompts:
    named = {name: options.get(name) or () for name in ("boxes", "points", "labels")}
    asked: dict[str, Any] = {name: value for name, value in named.items() if len(value)}
    for name, value in asked.items():
        longest = max([len(value), *(len(one) for one in value if isinstance(one, (list, tuple)))])
        if longest > _MOST_PROMPTS:
            raise SettingsError(
                expected(f"`{name}`", f"at most {_MOST_PROMPTS}", longest, "several requests")
            )
    if (mask := options.get("mask")) is not None:
        try:
            asked["mask"] = decode_coco(mask, size=size, max_pixels=size[0] * size[1])
        except ImageFileError as error:
            # It is a prompt that is wrong, not the image.
            raise SettingsError(str(error)) from None
    return Prompts.of(size=size, low=low, **asked)
