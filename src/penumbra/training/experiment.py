"""Everything that is needed to repeat a training, as one file of data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from penumbra.errors import SettingsError, expected
from penumbra.inference.backend import Precision
from penumbra.noise.patterns import Pattern

EXPERIMENT_VERSION = 1

Loss = Literal[
    "ce", "dice", "dice_ce", "dice_focal", "tversky", "generalized_dice", "boundary", "ssn"
]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["one_cycle", "cosine", "poly", "constant"]


class _Settings(BaseModel):
    """Frozen, and a typo is an error rather than a silently ignored line."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelSettings(_Settings):
    """Which network; `arguments` go to its constructor beside channels and classes.

    A U-Net's width is 32 where `arguments` do not say it.
    """

    name: str = "unet"
    arguments: dict[str, Any] = Field(default_factory=dict)


class SplitSettings(_Settings):
    """How the source is split where no manifest says it."""

    strategy: Literal["auto", "random", "contiguous", "given"] = "auto"
    seed: int = 0
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)


class ImageSettings(_Settings):
    """At which size and resolution the network sees the images; see `Preprocess`.

    ``auto`` for `fit` scales whole images where their median longest side is above 2.5 × `size`,
    and crops otherwise, to no more than the largest image; ``auto`` for `channels` looks whether
    the training images are grey.
    """

    size: int = Field(default=256, ge=16, le=4096)
    fit: Literal["auto", "crop", "resize"] = "auto"
    channels: Literal["auto", 1, 3] = "auto"


class AugmentationSettings(_Settings):
    """How a batch is varied; geometry is the same for image and mask.

    Attributes:
        symmetry: flips (``horizontal``) or flips and quarter turns (``dihedral``); ``auto`` takes
            what the layout declares to be harmless.
        rotation: largest angle in degrees, either way.
        scale: largest relative change of scale, either way.
        shift: largest shift as a share of the side, either way.
        brightness: largest offset in standard deviations of the image.
        contrast: largest relative change of contrast.
        gamma: largest exponent γ; drawn log-uniformly from [1/γ, γ].
        noise: largest standard deviation of white noise, in standard deviations of the image.
        blur: largest σ of a Gaussian blur in pixels; half of the images stay sharp.
    """

    symmetry: Literal["auto", "none", "horizontal", "dihedral"] = "auto"
    rotation: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.15, ge=0, lt=1)
    shift: float = Field(default=0.05, ge=0, lt=1)
    brightness: float = Field(default=0.2, ge=0)
    contrast: float = Field(default=0.2, ge=0, lt=1)
    gamma: float = Field(default=1.3, ge=1)
    noise: float = Field(default=0.05, ge=0)
    blur: float = Field(default=0.0, ge=0)


class PerturbationSettings(_Settings):
    """How features are disturbed while training; experimental.

    Attributes:
        kind: ``dropout`` of feature maps, ``dropblock``, ``multiplicative``, ``masksembles``, or
            ``noise``: a field times `strength` standard deviations of the channel.
        strength: the rate, the largest relative change, the masks' scale or the amplitude (also
            written `rate`); each kind's own default where ``None``.
        sites: ``skips`` or ``encoder``, found in the network, or names of submodules.
        pattern: of ``noise``.
    """

    kind: Literal["dropout", "dropblock", "multiplicative", "masksembles", "noise"]
    strength: float | None = Field(
        default=None, ge=0, validation_alias=AliasChoices("strength", "rate")
    )
    sites: Literal["skips", "encoder"] | tuple[str, ...] = "skips"
    pattern: Pattern = Pattern()


class TrainingSettings(_Settings):
    """The optimisation.

    Attributes:
        loss: ``ce`` (binary cross-entropy for two classes), ``dice``, ``dice_ce``,
            ``dice_focal``, ``tversky``, ``generalized_dice``, ``boundary`` (cross-entropy with
            pixels near a true boundary weighted up, plus Dice), ``ssn`` (the likelihood of whole
            masks under the samples of an ``ssn-unet``).
        learning_rate: peak of the schedule.
        schedule: over the whole budget: `epochs`, or `max_minutes` where it comes first.
        epochs: of `samples_per_epoch` crops each; 60, or as many as `max_minutes` allows.
        batch_size: crops per step; small, since in minutes more steps are worth more than
            smoother ones.
        max_minutes: bound on the training time; the schedule is laid out over it.
        samples_per_epoch: crops drawn in an epoch; by default the larger of 256 and the number
            of training images.
        balanced: draw empty and non-empty images equally often.
        foreground_crops: share of the crops that are centred on a foreground pixel.
        patience: epochs without a better validation Dice before training stops; 0 = never.
        gradient_clip: largest norm of the gradient; 0 = none.
        perturbation: how features are disturbed while training; not at all by default.
        gate_rate: learning rate of a noise injector's gates, relative to that of the weights.
        threads: CPU threads; 0 leaves torch's choice.
        deterministic: only reproducible algorithms, and a schedule that counts steps rather
            than time, so that a killed and resumed run ends with the same weights.
    """

    loss: Loss = "dice_ce"
    optimizer: Optimizer = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Schedule = "one_cycle"
    epochs: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=4, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    balanced: bool = True
    foreground_crops: float = Field(default=0.33, ge=0, le=1)
    validate_every: int = Field(default=1, ge=1)
    patience: int = Field(default=0, ge=0)
    gradient_clip: float = Field(default=1.0, ge=0)
    perturbation: PerturbationSettings | None = None
    gate_rate: float = Field(default=1.0, ge=0)
    precision: Precision = "auto"
    device: str = "auto"
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    deterministic: bool = False


class Experiment(_Settings):
    """A whole training as data: what, on which samples, how.

    Attributes:
        version: format of this file.
        source: `LAYOUT:PATH` or a manifest.
        target: what the mask shows, where the layout offers several.
        classes: one name per class; by default the layout's.
    """

    version: int = EXPERIMENT_VERSION
    source: str | None = None
    target: str | None = None
    classes: tuple[str, ...] | None = None
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    image: ImageSettings = ImageSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    training: TrainingSettings = TrainingSettings()

    @classmethod
    def parse(cls, document: object, *, origin: str = "the experiment") -> Self:
        """Check plain values and make an experiment of them.

        Raises:
            SettingsError: an unknown key (the nearest known one is named) or a wrong value.
        """
        if document is None:
            document = {}
        if isinstance(document, Mapping) and isinstance(document.get("version"), int):
            version = document["version"]
            if version > EXPERIMENT_VERSION:
                raise SettingsError(
                    expected(f"version in {origin}", f"at most {EXPERIMENT_VERSION}", version,
                             "upgrading Penumbra, since a newer version wrote this file")
                )  # fmt: skip
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise SettingsError(_first_problem(error, origin, cls)) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an experiment from YAML.

        Raises:
            SettingsError: the file is missing, not YAML, or holds an unknown key or wrong value.
        """
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason, try_ = " ".join(str(error).split()), "`penumbra train --help`"
            if isinstance(error, FileNotFoundError):
                reason, try_ = "no such file", "checking the path"
            raise SettingsError(
                expected(str(path), "a readable YAML file", reason, try_)
            ) from error
        return cls.parse(document, origin=str(path))

    def to_yaml(self) -> str:
        """Give the experiment as YAML that `read` takes back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def with_settings(self, changes: Sequence[str]) -> Self:
        """Give the experiment with ``section.key=value`` changes applied; values are YAML.

        Raises:
            SettingsError: a change is not of that form, or its key or value is not possible.

        Examples:
            >>> Experiment().with_settings(["training.loss=ce"]).training.loss
            'ce'
        """
        document = self.model_dump(mode="json")
        for change in changes:
            key, separator, value = change.partition("=")
            if not separator or not key:
                raise SettingsError(
                    expected("--set", "section.key=value", change, "--set training.loss=ce")
                )
            place = document
            *sections, last = key.split(".")
            for section in sections:
                inner = place.get(section)
                if not isinstance(inner, dict):
                    inner = place[section] = {}
                place = inner
            try:
                place[last] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise SettingsError(
                    expected(f"the value of {key}", "YAML", repr(value), f"{key}=1")
                ) from error
        return self.parse(document, origin="--set")


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def _first_problem(error: ValidationError, origin: str, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    location = problem["loc"]
    key = ".".join(map(str, location)) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        section = ".".join(map(str, location[:-1]))
        where = f" in section {section}" if section else ""
        return expected(
            f"every key in {origin}",
            f"known{where}",
            f"{key!r}",
            f"{near[0]!r}" if near else f"one of {', '.join(known)}",
        )
    if problem["type"] == "model_type":
        got = repr(problem["input"])
        if not location:
            try_ = "a line `training:` with lines such as `  epochs: 20` below it"
            return expected(origin, "made of sections of `key: value`", got, try_)
        known = _fields_at(model, location)
        keys = ", ".join(known[:4]) + (", …" if len(known) > 4 else "")
        try_ = f"giving its keys ({keys}) below it, or leaving it out"
        return expected(f"section {key} in {origin}", "made of lines of `key: value`", got, try_)
    wanted = problem["msg"][:1].lower() + problem["msg"][1:]
    return expected(
        f"{key} in {origin}", f"valid ({wanted})", repr(problem["input"]), "its default"
    )
