"""Which models a worker loads, and within which bounds it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penumbra.errors import SettingsError, expected


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model to be served.

    Attributes:
        name: how requests name it.
        kind: a run (or a classical method) that segments, or a model that answers prompts.
        source: a run folder, ``classical:otsu,foreground=bright``, or what
            `PromptableSegmenter.from_pretrained` takes.
    """

    name: str
    kind: Literal["segmenter", "promptable"] = "segmenter"
    source: str


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Within which bounds workers work.

    Attributes:
        workers: how many processes hold the models.
        threads: of each worker; ``None`` for the cores shared out evenly.
        max_upload_bytes: most bytes of a file.
        max_pixels: most pixels of an image, checked before any is decoded.
        max_samples: most passes that a request may ask for.
        embedding_bytes: most bytes of embeddings that a worker keeps.
        variants: how many plans of passes a model keeps ready.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        start_timeout_s: a worker that has not loaded its models by then is given up.
        silence_timeout_s: a worker that says nothing for so long while it works is ended.
        engine: ``"module:function"`` that makes what answers jobs from (specs, settings).

    Raises:
        SettingsError: a number is below its least value.

    Examples:
        >>> WorkerSettings(threads=2).workers
        1
    """

    workers: int = 1
    threads: int | None = None
    max_upload_bytes: int = 32 * 2**20
    max_pixels: int = 40_000_000
    max_samples: int = 64
    embedding_bytes: int = 256 * 2**20
    variants: int = 8
    device: str = "auto"
    precision: str = "auto"
    start_timeout_s: float = 300.0
    silence_timeout_s: float = 120.0
    engine: str = "penumbra.serving.engine:load_engine"

    def __post_init__(self) -> None:
        for name in ("workers", "max_upload_bytes", "max_pixels", "max_samples", "variants"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    expected(f"`{name}`", "at least 1", getattr(self, name), "leaving it out")
                )
        if self.threads is not None and self.threads < 1:
            raise SettingsError(expected("`threads`", "at least 1", self.threads, "1"))
