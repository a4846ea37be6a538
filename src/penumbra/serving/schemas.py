"""What answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penumbra.serving.options import Rle


class _Open(BaseModel):
    """Answers may get further fields; clients are to look at those that they know."""

    model_config = ConfigDict(extra="allow")


class Size(BaseModel):
    """Of an image in pixels."""

    height: int = Field(ge=1, examples=[420])
    width: int = Field(ge=1, examples=[580])


class MaskAnswer(_Open):
    """The mask of one class."""

    class_: int = Field(alias="class", ge=0, examples=[1])
    name: str = Field(examples=["nerve"])
    area_px: int = Field(ge=0, examples=[7124])
    rle: Rle | None = Field(
        default=None, examples=[{"size": [4, 6], "counts": "52203"}], description="Of COCO."
    )
    href: str | None = Field(
        default=None, examples=["/v1/results/nPj0o2Sdr6Vu/mask_1.png"], description="Instead."
    )


class MapAnswer(_Open):
    """A map as a PNG: pixel v means ``lo + v / (2**bits - 1) * (hi - lo)``."""

    href: str = Field(examples=["/v1/results/nPj0o2Sdr6Vu/entropy.png"])
    bits: int = Field(examples=[8])
    scale: list[float] | None = Field(default=None, examples=[[0.0, 0.6931]])
    unit: str | None = Field(default=None, examples=["nat"])


class SegmentAnswer(_Open):
    """What a model says about an image."""

    id: str = Field(examples=["nPj0o2Sdr6Vu"])
    model: str = Field(examples=["first"])
    size: Size
    classes: list[str] = Field(examples=[["background", "nerve"]])
    masks: list[MaskAnswer]
    maps: dict[str, MapAnswer]
    seed: int = Field(examples=[0], description="The same seed gives the same answer bit for bit.")
    sampler: str = Field(examples=["noise:8"])
    passes: int = Field(examples=[8])
    threshold: float | None = Field(examples=[0.5])
    threshold_map: Literal["mask_probability"] | None = Field(
        default=None,
        description="The map that is at least `threshold` exactly where the mask is; null where "
        "no map alone gives the mask: the largest of several classes wins, or a presence rule "
        "has a say.",
    )
    timings: dict[str, float] = Field(
        description="Seconds by stage.", examples=[{"queue": 0.002, "network": 0.41}]
    )
    flagged: bool | None = Field(
        default=None, examples=[False], description="Whether somebody should look at it."
    )
    notes: list[str] = Field(
        default_factory=list, examples=[["deterministic makes one pass, which has no variance."]]
    )


class SessionAnswer(_Open):
    """An image that prompts can be asked on."""

    id: str = Field(examples=["nPj0o2Sdr6Vu"])
    model: str = Field(examples=["small"])
    size: Size
    expires_in_s: float = Field(description="After the last prompt.", examples=[1800])
    accepts: list[Literal["box", "point", "mask"]] = Field(examples=[["box", "point", "mask"]])
    pictures: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="By `picture`: the image as a person sees it.",
        examples=[{"image": {"href": "/v1/results/nPj0o2Sdr6Vu/image.png"}}],
    )
    timings: dict[str, float] = Field(examples=[{"decode": 0.004, "network": 1.3}])


class PromptMask(_Open):
    """The mask of one prompt, cropped to its box."""

    box: list[int] | None = Field(
        description="xyxy, the far edge exclusive.", examples=[[10, 12, 80, 64]]
    )
    rle: Rle | None = Field(default=None, description="Of the crop.")
    area_px: int = Field(ge=0, examples=[1840])


class PromptAnswer(_Open):
    """Masks, one per prompt."""

    masks: list[PromptMask]
    timings: dict[str, float] = Field(examples=[{"network": 0.05}])


class RectifyAnswer(_Open):
    """Cards, the largest first; a refused one says why."""

    id: str = Field(examples=["nPj0o2Sdr6Vu"])
    cards: list[dict[str, Any]] = Field(examples=[[{"href": "/v1/results/nPj0o2Sdr6Vu/card.png"}]])
    timings: dict[str, float] = Field(examples=[{"decode": 0.02, "network": 0.3}])


class ModelAnswer(_Open):
    """A model."""

    name: str = Field(examples=["first"])
    kind: Literal["segmenter", "promptable"] = Field(examples=["segmenter"])


class ModelsAnswer(BaseModel):
    """The models, the default one of each kind first."""

    models: list[ModelAnswer]


class LiveAnswer(BaseModel):
    """The server runs."""

    status: Literal["alive"] = "alive"


class ReadyAnswer(BaseModel):
    """Requests are answered."""

    status: Literal["ready"] = "ready"
    workers: list[dict[str, Any]] = Field(
        examples=[[{"state": "ready", "for_s": 12.5, "jobs": 40}]]
    )
    models: list[str] = Field(examples=[["first"]])
    queue: int = Field(ge=0, examples=[0])
