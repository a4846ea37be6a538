"""What passes between the HTTP front and the workers: plain values, bytes and nothing else.

Options of jobs, by kind; whatever is left out or ``None`` has its default. Names are those of the
REST fields.

``segment``, ``uncertainty``
    ``noise_mode``, ``noise_strength``, ``pattern``, ``samples``, ``seed``, ``threshold``,
    ``sampler``, ``outputs`` (a list of names), ``masks_as`` (``rle``, ``links``), ``bits`` (8, 16),
    ``accept`` (``json``, ``png``, ``npz``); of ``uncertainty`` also ``tolerance``, ``stream`` and
    ``every`` (passes between two estimates).
``embed``
    ``session``: the id under which the embedding is asked for later; ``picture``: whether the
    image is given as a person sees it.
``prompt``
    ``session``, ``boxes``, ``points``, ``labels``, ``mask`` (COCO RLE), ``choice``. Each job
    carries the session's upload; the pool sends it only to a worker that needs it.
``rectify``
    ``width``, ``height``, ``ratio``, ``limit``, ``assume_sides``, ``all_cards``, ``threshold``,
    ``accept`` (``json``, ``png``).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["segment", "uncertainty", "embed", "prompt", "rectify"]

_PIXELS_ASIDE = ("seed", "outputs", "masks_as", "bits", "accept", "tolerance", "every")
"""Options that do not decide which passes run: jobs may differ in them and share a batch."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request as the workers see it.

    Attributes:
        id: unique among all that are waiting or running; results are linked under it.
        kind: what is asked for.
        model: the name of a served model.
        upload: the image file as it was sent.
        options: see above.
        key: jobs of one key may share a batch; see `batch_key`.
    """

    id: str
    kind: Kind
    model: str
    upload: bytes | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    key: Hashable = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a job gave, or one estimate of a stream.

    Attributes:
        id: of the job.
        document: the JSON answer.
        files: encoded files by name, such as ``entropy.png``; `media_type` tells their type.
        timings: seconds by stage: queue, decode, prepare, network, finish, encode.
        last: whether nothing more follows for this job.
        cached: whether an embedding was at hand; ``None`` where none was needed.
    """

    id: str
    document: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    last: bool = True
    cached: bool | None = None

    def after(self, seconds: float) -> Answer:
        """Give the same with the time that the job waited, in `timings` and in the document."""
        timings = {"queue": seconds, **self.timings}
        return replace(self, document={**self.document, "timings": timings}, timings=timings)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why there is no answer.

    Attributes:
        id: of the job.
        status: of HTTP.
        code: short and stable, such as ``damaged-image``.
        detail: a sentence for people; names no path and nobody.
    """

    id: str
    status: int
    code: str
    detail: str


def batch_key(
    job_id: str, kind: Kind, model: str, options: Mapping[str, Any], size: tuple[int, int] | None
) -> Hashable:
    """Say which jobs may share a batch: those of one model, one plan of passes and one size.

    Streams, embeddings and crops take a worker to themselves, so that others find another one.

    Args:
        job_id: of the job.
        kind: of the job.
        model: of the job.
        options: of the job.
        size: (H, W) of the image, where it is known.

    Examples:
        >>> one = batch_key("a", "segment", "nerve", {"seed": 1, "samples": 8}, (420, 580))
        >>> one == batch_key("b", "segment", "nerve", {"seed": 2, "samples": 8}, (420, 580))
        True
        >>> one == batch_key("c", "segment", "nerve", {"seed": 1, "samples": 4}, (420, 580))
        False
    """
    if kind == "prompt":
        return kind, model, str(options.get("session"))
    if kind in ("embed", "rectify") or options.get("stream"):
        return kind, model, job_id
    plan = sorted(
        (name, str(value))
        for name, value in options.items()
        if value is not None and name not in _PIXELS_ASIDE
    )
    return kind, model, size, tuple(plan)


UNKNOWN_SESSION = "unknown-session"
"""Code of a worker's `Failed` (status 0) that asks for the upload; never leaves the pool."""

_MEDIA_TYPES = {"png": "image/png", "npz": "application/x-npz", "json": "application/json"}


def media_type(name: str) -> str:
    """Tell the media type of a file of an answer by its suffix.

    Examples:
        >>> media_type("entropy.png"), media_type("arrays.npz")
        ('image/png', 'application/x-npz')
    """
    return _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


@dataclass(frozen=True)
class Batch:
    """Parent to worker: jobs of one key."""

    number: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Cancel:
    """Parent to worker: nobody waits any more for the rest of this batch."""

    number: int


@dataclass(frozen=True)
class Forget:
    """Parent to worker: a session is over; its embedding is not asked for again."""

    session: str


@dataclass(frozen=True)
class Stop:
    """Parent to worker: end."""


@dataclass(frozen=True)
class Ready:
    """Worker to parent: every model is loaded.

    Attributes:
        models: one description per model, as ``GET /v1/models`` gives them.
    """

    models: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class NotLoaded:
    """Worker to parent: a model could not be loaded; the worker ends.

    Attributes:
        detail: a sentence for the operator.
    """

    detail: str


@dataclass(frozen=True)
class BatchDone:
    """Worker to parent: whatever there was to say of this batch has been sent."""

    number: int
