"""Everything that is needed to repeat a training, as one file of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from penumbra.imaging.filters import FilterChain
from penumbra.inference.backend import Precision
from penumbra.inference.frames import Edges
from penumbra.noise.patterns import Pattern
from penumbra.training.settings_file import Settings, SettingsFile

Loss = Literal[
    "ce", "dice", "dice_ce", "dice_focal", "tversky", "generalized_dice", "boundary", "ssn"
]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["one_cycle", "cosine", "poly", "constant"]


class ModelSettings(Settings):
    """Which network; `arguments` go to its constructor beside channels and classes.

    `presence` adds a head that says whether an image shows anything at all, trained jointly:
    ``true``, or the name of the submodule whose output it looks at; see `attach_presence`.

    A U-Net's width is 32 where `arguments` do not say it. `weights` are what training begins with,
    for networks that take some: ``hub:timm/vgg16.tv_in1k``, ``https://…#sha256=…`` or a path; see
    `penumbra.models.pretrained`.
    """

    name: str = "unet"
    arguments: dict[str, Any] = Field(default_factory=dict)
    presence: bool | str = False
    weights: str | None = None


class SplitSettings(Settings):
    """How the source is split where no manifest says it."""

    strategy: Literal["auto", "random", "contiguous", "given"] = "auto"
    seed: int = 0
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)


class ImageSettings(Settings):
    """At which size and resolution the network sees the images; see `Preprocess`.

    ``auto`` for `fit` scales whole images where their median longest side is above 2.5 × `size`,
    and crops otherwise, to no more than the largest image; ``auto`` for `channels` looks whether
    the training images are grey, and takes three for filters that make three.

    ``fit: scale`` scales whole images too, and pads them to a `multiple` of their own sides in
    place of a square: at `size` 320 a photograph of 1080×1920 is 192×320, not 320×320.

    ``fit: whole`` takes every image at once and at its own resolution, with sides that divide by
    `multiple`: ``edges: pad`` pads 580×420 to 608×448 and crops the answer back, ``edges: crop``
    leaves out the rim beyond 576×416. `size` is then found, not given.

    `filters` are applied to every image, in training and wherever the run is used:
    ``filters: [clahe, {sobel: {mode: blend, weight: 0.3}}]``. They travel with the weights.
    """

    size: int = Field(default=256, ge=16, le=4096)
    fit: Literal["auto", "crop", "resize", "scale", "whole"] = "auto"
    channels: Literal["auto", 1, 3] = "auto"
    filters: FilterChain = FilterChain()
    multiple: int = Field(default=32, ge=1, le=256)
    edges: Edges = "pad"


class AugmentationSettings(Settings):
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


class PerturbationSettings(Settings):
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


class OptimisationSettings(Settings):
    """How long and how fast to learn, whatever is trained.

    Attributes:
        learning_rate: peak of the schedule.
        schedule: over the whole budget: `epochs`, or `max_minutes` where it comes first.
        epochs: of `samples_per_epoch` samples each; 60, or as many as `max_minutes` allows.
        batch_size: samples per step.
        max_minutes: bound on the training time; the schedule is laid out over it.
        samples_per_epoch: samples drawn in an epoch; by default the larger of 256 and the number
            of training images.
        patience: epochs without a better validation Dice before training stops; 0 = never.
        gradient_clip: largest norm of the gradient; 0 = none.
        threads: CPU threads; 0 leaves torch's choice.
        deterministic: only reproducible algorithms, and a schedule that counts steps rather
            than time, so that a killed and resumed run ends with the same weights.
    """

    optimizer: Optimizer = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Schedule = "one_cycle"
    epochs: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=4, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=1)
    validate_every: int = Field(default=1, ge=1)
    patience: int = Field(default=0, ge=0)
    gradient_clip: float = Field(default=1.0, ge=0)
    precision: Precision = "auto"
    device: str = "auto"
    threads: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    deterministic: bool = False


class TrainingSettings(OptimisationSettings):
    """The optimisation of a network; what `OptimisationSettings` has, and more.

    A batch is small by default, since in minutes more steps are worth more than smoother ones.

    Attributes:
        loss: ``ce`` (binary cross-entropy for two classes), ``dice``, ``dice_ce``,
            ``dice_focal``, ``tversky``, ``generalized_dice``, ``boundary`` (cross-entropy with
            pixels near a true boundary weighted up, plus Dice), ``ssn`` (the likelihood of whole
            masks under the samples of an ``ssn-unet``).
        balanced: draw empty and non-empty images equally often.
        foreground_crops: share of the crops that are centred on a foreground pixel.
        perturbation: how features are disturbed while training; not at all by default.
        gate_rate: learning rate of a noise injector's gates, relative to that of the weights.
        presence_weight: of the presence head's cross-entropy, beside `loss`.
        freeze: how many of the encoder's levels, counted from the image, stay as they are, or
            ``encoder`` for all of them; their batch norms keep their statistics too.
        encoder_rate: learning rate of the encoder's deepest level, relative to the rest.
        rate_decay: by what each level nearer to the image learns slower than the next.
        soft_duplicates: average the masks of training images that are equal, pixel for pixel, and
            learn from the soft mask; two classes only.
        workers: processes that decode crops.
    """

    loss: Loss = "dice_ce"
    balanced: bool = True
    foreground_crops: float = Field(default=0.33, ge=0, le=1)
    perturbation: PerturbationSettings | None = None
    gate_rate: float = Field(default=1.0, ge=0)
    presence_weight: float = Field(default=0.2, ge=0)
    freeze: Annotated[int, Field(ge=0)] | Literal["encoder"] = 0
    encoder_rate: float = Field(default=1.0, gt=0)
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    soft_duplicates: bool = False
    workers: int = Field(default=0, ge=0)


class Experiment(SettingsFile):
    """A whole training as data: what, on which samples, how.

    Attributes:
        source: `LAYOUT:PATH` or a manifest.
        target: what the mask shows, where the layout offers several.
        classes: one name per class; by default the layout's.

    A line ``filters: […]`` at the top of a file means `image.filters`.
    """

    shorthands: ClassVar[Mapping[str, str]] = {"filters": "image.filters"}

    source: str | None = None
    target: str | None = None
    classes: tuple[str, ...] | None = None
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    image: ImageSettings = ImageSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    training: TrainingSettings = TrainingSettings()
