"""Everything that is needed to repeat a tuning, as one file of data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, field_validator

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.losses import LossName
from penumbra.promptable.prompt_sampling import PromptSampling
from penumbra.training.experiment import OptimisationSettings, SplitSettings
from penumbra.training.settings_file import Settings, SettingsFile

TuneMode = Literal["decoder", "lora", "full"]
"""What is tuned."""

PREFIX = "sam:"
"""Stands before the name of a promptable model, where networks of other kinds may be named."""


class TunedModelSettings(Settings):
    """Which promptable model is tuned.

    Attributes:
        name: as `PromptableSegmenter.from_pretrained` takes it: ``small``, a name on the hub, a
            folder, a ``.pth`` file, a tuned run. A leading ``sam:`` is left out.
        family: where a checkpoint does not say which family it is of.
    """

    name: str = "small"
    family: str | None = None

    @field_validator("name")
    @classmethod
    def _without_prefix(cls, name: str) -> str:
        return name.removeprefix(PREFIX)


class TunedImageSettings(Settings):
    """How images are prepared before the encoder.

    Attributes:
        filters: applied to every image, in training and whenever the run is prompted.
    """

    filters: FilterChain = FilterChain()


class LoraSettings(Settings):
    """Low-rank adapters W + (α / r) B A (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        rank: r.
        alpha: α.
        dropout: of what goes into an adapter.
        blocks: how many of the encoder's last blocks get adapters on their query, key and value;
            by default a third of them, 4 of 12.
        decoder: ``full`` trains all of the mask decoder, ``lora`` puts adapters there too.
    """

    rank: int = Field(default=4, ge=1, le=256)
    alpha: float = Field(default=8.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    blocks: int | None = Field(default=None, ge=1)
    decoder: Literal["full", "lora"] = "full"


class TuneSettings(Settings):
    """What is tuned, and by which prompts.

    Attributes:
        mode: ``decoder``: the mask decoder, on embeddings that are computed once per image;
            ``lora``: adapters in the encoder's late blocks, and the decoder; ``full``: all
            weights but the encoding of positions.
        loss: ``sam`` is 20·focal + Dice + IoU-MSE, least over the masks; ``dice_bce`` is
            Dice + BCE.
        objects: what one prompt asks for: a connected area of a class, or all of a class.
        least_area: objects of fewer pixels are left out.
        prompts_per_image: objects that are prompted for in each image of a batch; by default 1 for
            ``decoder``, where a prompt in one more image costs no more than one more in the same,
            and 4 where the encoder runs in every step, beside which they cost little.
        box_share: how often the first prompt is a box; else it is a point.
        jitter: standard deviation of a box's edges as a share of its side.
        jitter_limit: most that an edge moves, as a share of the image's longest side.
        clicks: most corrective clicks before the answer that is learned from; half of the steps
            learn from the first answer, the others after 1 to `clicks` of them.
        mask_share: how often a click comes with the mask before it as a prompt.
        embeddings: a folder of embeddings to use and add to; by default one in the run folder,
            which is emptied at the end.
        memory_mb: megabytes of embeddings, or of images, held in memory.
        validation_images: most images of the validation split that are scored.
        lora: only for ``lora``.
    """

    mode: TuneMode = "decoder"
    loss: LossName = "sam"
    objects: Literal["components", "class"] = "components"
    least_area: int = Field(default=16, ge=1)
    prompts_per_image: int | None = Field(default=None, ge=1, le=64)
    box_share: float = Field(default=0.5, ge=0, le=1)
    jitter: float = Field(default=0.1, ge=0, le=1)
    jitter_limit: float = Field(default=20 / 1024, ge=0, le=1)
    clicks: int = Field(default=3, ge=0, le=16)
    mask_share: float = Field(default=0.5, ge=0, le=1)
    embeddings: str | None = None
    memory_mb: int = Field(default=1024, ge=0)
    validation_images: int = Field(default=32, ge=1)
    lora: LoraSettings = LoraSettings()

    @property
    def prompts(self) -> int:
        """Prompts per image, with the default resolved."""
        return self.prompts_per_image or (1 if self.mode == "decoder" else 4)

    def sampling(self, *, box_share: float) -> PromptSampling:
        """Give how the first prompts of one step are drawn."""
        return PromptSampling(
            box_share=box_share,
            jitter=self.jitter,
            jitter_limit=self.jitter_limit,
            mask_share=self.mask_share,
        )


class TuneTrainingSettings(OptimisationSettings):
    """The optimisation of a tuning; see `OptimisationSettings`.

    Attributes:
        learning_rate: peak of the schedule; small, since the weights are good already.
        batch_size: images per step, each with `tune.prompts_per_image` prompts.
        samples_per_epoch: images drawn in an epoch; by default each training image once.
    """

    learning_rate: float = Field(default=1e-4, gt=0)
    batch_size: int = Field(default=2, ge=1)


class TuningExperiment(SettingsFile):
    """A whole tuning as data: which model, on which samples, how.

    Attributes:
        source: `LAYOUT:PATH` or a manifest.
        target: what the mask shows, where the layout offers several.
        classes: one name per class; by default the layout's.

    A line ``filters: […]`` at the top of a file means `image.filters`.

    Examples:
        >>> changed = TuningExperiment().with_settings(["tune.mode=lora", "model.name=sam:mine"])
        >>> changed.tune.mode, changed.model.name, changed.training.learning_rate
        ('lora', 'mine', 0.0001)
    """

    shorthands: ClassVar[Mapping[str, str]] = {"filters": "image.filters"}

    source: str | None = None
    target: str | None = None
    classes: tuple[str, ...] | None = None
    split: SplitSettings = SplitSettings()
    model: TunedModelSettings = TunedModelSettings()
    image: TunedImageSettings = TunedImageSettings()
    tune: TuneSettings = TuneSettings()
    training: TuneTrainingSettings = TuneTrainingSettings()


def holds_tuning(path: Path) -> bool:
    """Tell whether a YAML file is an experiment with a section `tune`.

    Raises:
        SettingsError: the file is there and is no YAML.
    """
    try:
        document: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        return False
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            expected(str(path), "a readable YAML file", reason, "`penumbra train --help`")
        ) from error
    return isinstance(document, dict) and "tune" in document
