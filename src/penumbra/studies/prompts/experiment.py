"""A study of prompts as one file of data: which model, on which samples, and what is compared."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from penumbra.evaluation.prompted import KINDS, check_kinds
from penumbra.evaluation.prompted_objects import LEAST_AREA
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.tuning.settings import PREFIX, TuneMode, TuningExperiment
from penumbra.training.experiment import SplitSettings
from penumbra.training.settings_file import Settings, SettingsFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

ZERO_SHOT = "zero-shot"
"""What the model as it came is called, unless a file names it otherwise."""


class TuningChoice(Settings):
    """One way to bring the model to the samples.

    Attributes:
        mode: ``none`` uses the model as it came; else what of it is tuned.
        set: changes to the tuning, ``section.key=value`` each, over those of the study.
        seeds: of the tunings; by default the study's. A model that is not tuned has none.
        filters: only with these filters; by default with all.
    """

    mode: Literal["none"] | TuneMode = "none"
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    filters: tuple[str, ...] | None = None


def _default_filters() -> dict[str, FilterChain]:
    chains: dict[str, object] = {
        "none": [],
        "window": ["window"],
        "clahe": ["clahe"],
        "unsharp": ["unsharp"],
        "sobel": ["sobel"],
        "sobel-blend": [{"sobel": {"mode": "blend", "weight": 0.3}}],
        "canny-blend": [{"canny": {"mode": "blend", "weight": 0.3}}],
        "log-blend": [{"log": {"mode": "blend", "weight": 0.3}}],
        "channels": [{"sobel": {"mode": "channels"}}],
        "sobel-mask": [{"sobel": {"mode": "prompt"}}],
        "sobel-points": [{"sobel": {"mode": "prompt", "form": "points"}}],
    }
    return {name: FilterChain.parse(chain) for name, chain in chains.items()}


def _default_tunings() -> dict[str, TuningChoice]:
    return {
        ZERO_SHOT: TuningChoice(),
        "decoder": TuningChoice(mode="decoder"),
        "lora": TuningChoice(mode="lora"),
    }


class PromptStudyExperiment(SettingsFile):
    """A whole study of prompts.

    Attributes:
        source: ``LAYOUT:PATH`` or a manifest; the path is taken from the data folder. For
            ``phantom:COUNT`` a phantom set of so many images is made.
        target: what the masks show, where the layout has several.
        split: how it is divided, by group; a manifest says so itself. Tunings learn from the
            training split and stop by the validation split; every score is of the test split.
        groups: at most so many groups of a split, evenly spread over their names.
        longest: images whose longest side is above this are shrunk to it, once, before all else;
            tunings, prompts and scores alike see what comes out.
        model: as `PromptableSegmenter.from_pretrained` takes it; a leading ``sam:`` is left out.
        objects: what one prompt asks for: a connected area, or all of a class in an image.
        least_area: of an object, in pixels after shrinking.
        most_objects: of an image; where there are more, as many are drawn.
        kinds: of prompts.
        filters: chains by name. The first is what the others are compared with.
        tunings: by name. The first of mode ``none`` is what tuned models are compared with.
        tuning: settings of every tuning, as those of `penumbra train --model sam:NAME`, without
            source, model and filters.
        seeds: of the tunings.
        seed: of jittered boxes, of the choice of objects and of the bootstrap.
        rules: whether the filled box, the inscribed ellipse and GrabCut stand in the table.
        hours: bound on one start of the study; what is missing then is done by the next start.
    """

    source: str
    target: str | None = None
    split: SplitSettings = SplitSettings()
    groups: dict[Literal["train", "val", "test"], int] = Field(default_factory=dict)
    longest: int = Field(default=1024, ge=32)
    model: str = "small"
    objects: Literal["components", "class"] = "components"
    least_area: int = Field(default=LEAST_AREA, ge=1)
    most_objects: int | None = Field(default=None, ge=1)
    kinds: tuple[str, ...] = Field(default=("box", "jittered-box", "point1", "point3"))
    filters: dict[str, FilterChain] = Field(default_factory=_default_filters, min_length=1)
    tunings: dict[str, TuningChoice] = Field(default_factory=_default_tunings, min_length=1)
    tuning: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    seed: int = 0
    rules: bool = True
    hours: float | None = Field(default=None, gt=0)

    @field_validator("model")
    @classmethod
    def _without_prefix(cls, name: str) -> str:
        return name.removeprefix(PREFIX)

    @field_validator("kinds")
    @classmethod
    def _are_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_kinds(kinds, ("box", "point"), name="a study"))

    @field_validator("groups")
    @classmethod
    def _are_counts(cls, groups: dict[str, int]) -> dict[str, int]:
        if any(count < 1 for count in groups.values()):
            raise ValueError("at least 1 group of a split")
        return groups

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for what, names in (("filters", self.filters), ("tunings", self.tunings)):
            wrong = next((name for name in names if not _NAME.fullmatch(name)), None)
            if wrong is not None:
                raise ValueError(f"{what} named by letters, digits, dots, dashes, not {wrong!r}")
        for name, choice in self.tunings.items():
            unknown = set(choice.filters or ()) - set(self.filters)
            if unknown:
                raise ValueError(f"tuning {name} with filters that exist, not {min(unknown)!r}")
            self.experiment_of(name, next(iter(self.filters)), self.seeds[0])
        return self

    @property
    def base_filter(self) -> str:
        """The filter that the others are compared with."""
        return next(iter(self.filters))

    @property
    def base_tuning(self) -> str | None:
        """The model as it came, which tuned ones are compared with."""
        return next((name for name, one in self.tunings.items() if one.mode == "none"), None)

    def seeds_of(self, tuning: str) -> tuple[int, ...]:
        """Give the seeds of a tuning; the model as it came has one, which stands for all."""
        choice = self.tunings[tuning]
        return self.seeds[:1] if choice.mode == "none" else choice.seeds or self.seeds

    def filters_of(self, tuning: str) -> tuple[str, ...]:
        """Give the filters that a tuning is combined with."""
        wanted = self.tunings[tuning].filters
        return tuple(name for name in self.filters if wanted is None or name in wanted)

    def experiment_of(self, tuning: str, filter_name: str, seed: int) -> TuningExperiment | None:
        """Give the settings of one tuning without its source; ``None`` where nothing is tuned.

        Filters of ``mode: prompt`` leave the pixels alone, and so tunings too.

        Raises:
            SettingsError: a setting is not one of `penumbra train --model sam:NAME`.
        """
        choice = self.tunings[tuning]
        if choice.mode == "none":
            return None
        base = TuningExperiment.parse(self._with_objects(), origin="section tuning of the study")
        changed = base.with_settings(choice.set).model_dump(mode="json")
        changed["model"]["name"] = self.model
        changed["tune"]["mode"] = choice.mode
        changed["image"]["filters"] = self.filters[filter_name].pixels.model_dump(mode="json")
        changed["training"]["seed"] = seed
        return TuningExperiment.parse(changed, origin="section tuning of the study")

    def _with_objects(self) -> dict[str, Any]:
        """Say what objects are to tunings: as to the scores, unless the file says otherwise."""
        said = self.tuning.get("tune")
        if said is not None and not isinstance(said, dict):
            return self.tuning
        own = {"objects": self.objects, "least_area": self.least_area}
        return self.tuning | {"tune": own | (said or {})}


__all__ = ["KINDS", "ZERO_SHOT", "PromptStudyExperiment", "TuningChoice"]
