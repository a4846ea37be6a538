"""What a request may ask for: the fields beside its image, checked before anything is run."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from penumbra.errors import expected
from penumbra.serving.requests import DEFAULT_SAMPLES

NoiseMode = Literal["disabled", "single", "ensemble", "monte_carlo"]
Output = Literal[
    "mask",
    "probability",
    "mask_probability",
    "confidence",
    "entropy",
    "expected_entropy",
    "mutual_information",
    "variance",
    "standard_error",
    "overlay",
    "image",
]

MOST_SEED = 2**63 - 1
MOST_PROMPTS = 256
"""Boxes or points of one request."""
_MOST_NUMBERS = 4
"""Of one box or point."""
MOST_COMMAS = 4096
"""In the JSON of a request: all boxes, points and labels that may be given have some 1800, and run
lengths hold none. Counting them is a hundred times faster than reading a million values."""
MOST_SIDE = 4096
"""Of a straight crop, in pixels."""

_PATTERN = r"^(gaussian|lattice|perlin|simplex)([0-9]{1,4}(\.[0-9]{1,3})?)?$"
_SAMPLER = r"^[a-z*-]{1,64}(:[0-9]{1,5})?(@[0-9.]{1,12})?(~[a-z]{1,16}[0-9.]{0,8})?$"
_PASSES = re.compile(r":([0-9]+)")
_MODEL = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _split(value: Any) -> Any:
    """Split text at commas; a field of a form holds text alone."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class Body(BaseModel):
    """A JSON object of a request whose size is looked at before its content.

    A body of some megabytes may hold a million things that are wrong, and each error found costs
    far more than the thing itself. What is too much is refused by one error instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _not_too_much(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = cls.model_fields
        if len(given) > len(known):
            first = next(str(name) for name in given if name not in known)
            raise ValueError(
                expected("the fields", f"of {', '.join(known)}", repr(first[:40]), "leaving it out")
            )
        for name, value in given.items():
            if isinstance(value, list) and name in known:
                _check_lengths(name, value)
        return given


def _check_lengths(name: str, value: list[Any]) -> None:
    if len(value) > MOST_PROMPTS:
        raise ValueError(
            expected(f"`{name}`", f"at most {MOST_PROMPTS}", len(value), "several requests")
        )
    longest = max((len(one) for one in value if isinstance(one, (list, dict))), default=0)
    if longest > _MOST_NUMBERS:
        raise ValueError(
            expected(f"each of `{name}`", f"at most {_MOST_NUMBERS} numbers", longest,
                     "x0, y0, x1, y1 of a box or x, y of a point")
        )  # fmt: skip


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value in ("8", "16") else value


class Asked(BaseModel):
    """What every request has in common: strict about its fields.

    Attributes:
        model: one of ``GET /v1/models``; the first one by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(default=None, pattern=_MODEL, examples=["first"])

    def plain(self) -> dict[str, Any]:
        """Give the fields as plain values, less the model."""
        return self.model_dump(mode="python", exclude={"model"})

    def check_samples(self, most: int) -> None:
        """Refuse more passes than the server makes for one request.

        Raises:
            ValueError: there are more.
        """


class SegmentOptions(Asked):
    """The fields of ``POST /v1/segment``.

    Attributes:
        noise_mode: ``disabled``: no noise; ``single``: one noisy pass; ``ensemble``: the mean of
            noisy passes; ``monte_carlo``: the undisturbed mask with all maps of doubt. By default
            what the run's calibration chose.
        noise_strength: in standard deviations of each channel of the features; by default the
            run's own.
        pattern: of the noise, with its length in pixels: ``perlin`` or ``perlin16``.
        samples: noisy passes.
        seed: decides every draw: the same seed gives the same answer bit for bit.
        threshold: least foreground probability of the mask; by default the run's.
        sampler: instead of `noise_mode`, as in ``penumbra predict --sampler``.
        outputs: comma-separated.
        masks_as: as COCO run lengths within the answer, or as links to PNG files.
        bits: per pixel of the maps.

    Examples:
        >>> SegmentOptions(outputs="mask, entropy", seed="7").seed
        7
    """

    noise_mode: NoiseMode | None = Field(default=None, examples=["monte_carlo"])
    noise_strength: float | None = Field(default=None, ge=0, le=2, examples=[0.3])
    pattern: str | None = Field(default=None, pattern=_PATTERN, examples=["perlin16"])
    samples: int | None = Field(default=None, ge=1, le=10_000, examples=[8])
    seed: int = Field(default=0, ge=0, le=MOST_SEED, examples=[0])
    threshold: float | None = Field(default=None, gt=0, lt=1, examples=[0.5])
    sampler: str | None = Field(default=None, pattern=_SAMPLER)
    outputs: Annotated[tuple[Output, ...], BeforeValidator(_split)] = Field(
        default=("mask",), min_length=1, max_length=11
    )
    masks_as: Literal["rle", "links"] = "rle"
    bits: Annotated[Literal[8, 16], BeforeValidator(_whole)] = 8

    @field_validator("outputs")
    @classmethod
    def _once(cls, value: tuple[Output, ...]) -> tuple[Output, ...]:
        if len(set(value)) < len(value):
            raise ValueError(expected("`outputs`", "named once each", ",".join(value), "mask"))
        return value

    @model_validator(mode="after")
    def _one_plan(self) -> Self:
        noise = ("noise_mode", "noise_strength", "pattern", "samples")
        both = [name for name in noise if getattr(self, name) is not None]
        if self.sampler is not None and both:
            raise ValueError(
                expected("`sampler`", "given alone", f"`{both[0]}` beside it", "one of the two")
            )
        return self

    def check_samples(self, most: int) -> None:
        """Refuse more passes than the server makes for one request.

        Raises:
            ValueError: there are more.
        """
        found = _PASSES.search(self.sampler or "")
        passes = self.samples or (int(found[1]) if found else 1)
        if not 1 <= passes <= most:
            fewer = min(DEFAULT_SAMPLES, most)
            raise ValueError(expected("the passes", f"1 to {most} here", passes, str(fewer)))


class UncertaintyOptions(SegmentOptions):
    """The fields of ``POST /v1/uncertainty``; see `SegmentOptions`.

    Attributes:
        tolerance: a stream stops where the 99th percentile of the standard error over the pixels
            is at most this.
    """

    noise_mode: NoiseMode | None = Field(default=None, examples=["monte_carlo"])
    outputs: Annotated[tuple[Output, ...], BeforeValidator(_split)] = Field(
        default=("mask", "probability", "entropy", "expected_entropy", "mutual_information",
                 "variance", "standard_error"),
        min_length=1, max_length=11,
    )  # fmt: skip
    tolerance: float = Field(default=0.005, ge=0, le=1, examples=[0.005])

    def with_passes(self, given: dict[str, Any]) -> dict[str, Any]:
        """Give the fields with Monte Carlo passes, where others are not asked for."""
        chosen = self.noise_mode is not None or self.sampler is not None
        return given if chosen else given | {"noise_mode": "monte_carlo"}


class SessionOptions(Asked):
    """The fields of ``POST /v1/sessions``.

    Attributes:
        picture: whether the answer links the image as a person sees it, for files that a browser
            cannot show.
    """

    picture: bool = False


class RectifyOptions(Asked):
    """The fields of ``POST /v1/rectify``.

    Attributes:
        width: of the crop in pixels; given with `height`, or the card's ratio decides.
        height: of the crop in pixels.
        threshold: least probability of the card's pixels.
        all_cards: whether every card is cropped, not the largest alone.
        assume_sides: whether cards are cropped of which the frame cuts off a short side.
        ratio: longer side of the card over its shorter one; by default that of bank cards.
        limit: quality below which a crop is refused.
    """

    width: int | None = Field(default=None, ge=16, le=MOST_SIDE, examples=[856])
    height: int | None = Field(default=None, ge=16, le=MOST_SIDE, examples=[540])
    threshold: float | None = Field(default=None, gt=0, lt=1)
    all_cards: bool = False
    assume_sides: bool = False
    ratio: float | None = Field(default=None, ge=1, le=10, examples=[1.586])
    limit: float | None = Field(default=None, ge=0, le=1, examples=[0.5])

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError(expected("`width` and `height`", "given together", "one", "both"))
        return self


class Rle(Body):
    """A mask in COCO's compressed run lengths.

    Attributes:
        size: (height, width).
        counts: the run lengths, down the columns.
    """

    size: tuple[Annotated[int, Field(ge=1, le=65_500)], Annotated[int, Field(ge=1, le=65_500)]]
    counts: str = Field(max_length=2**22)


_Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class PromptBody(Body):
    """The body of ``POST /v1/sessions/{id}/prompt``, in the image's pixels.

    Attributes:
        boxes: xyxy, the far edge exclusive; one mask each.
        points: (x, y); all belong to one object.
        labels: 1 on the object, 0 beside it; as many as points.
        mask: of an earlier answer, to be refined.
        choice: which of a model's candidates is given.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"boxes": [[10, 12, 80, 64]]}]})

    boxes: list[tuple[_Number, _Number, _Number, _Number]] = Field(
        default_factory=list, max_length=MOST_PROMPTS
    )
    points: list[tuple[_Number, _Number]] = Field(default_factory=list, max_length=MOST_PROMPTS)
    labels: list[Literal[0, 1]] = Field(default_factory=list, max_length=MOST_PROMPTS)
    mask: Rle | None = None
    choice: Literal["best", "all"] = "best"

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.boxes and not self.points and self.mask is None:
            raise ValueError(expected("a prompt", "a box, a point or a mask", "none", "a box"))
        if self.labels and len(self.labels) != len(self.points):
            raise ValueError(
                expected("`labels`", "one per point", f"{len(self.labels)} for {len(self.points)}",
                         "leaving them out, which means 1 each")
            )  # fmt: skip
        if self.points and len(self.boxes) > 1:
            raise ValueError(
                expected("points", "with at most one box", f"{len(self.boxes)} boxes", "one box")
            )
        return self


class ReloadBody(Body):
    """The body of ``POST /v1/models/reload``.

    Attributes:
        name: of the model that is read anew; all of them by default.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": None}]})

    name: str | None = Field(default=None, pattern=_MODEL)
