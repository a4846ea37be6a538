"""What a promptable model scored: per object, per image, and with intervals over groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from penumbra.data.sample import Finding
from penumbra.errors import SettingsError, expected
from penumbra.evaluation.bootstrap import RESAMPLES, Interval
from penumbra.evaluation.group_means import mean_intervals

if TYPE_CHECKING:
    import pandas as pd

PROMPTED_METRICS = ("dice", "iou", "union_dice", "union_iou", "predicted_iou_error")
"""What is averaged over images; see `ImagePromptScore`."""


@dataclass(frozen=True)
class ObjectScore:
    """One object, prompted in one way.

    Attributes:
        id: the sample.
        group: its group.
        number: of the object in its image, from 1.
        class_name: what it is.
        kind: of the prompt.
        area: pixels of the object.
        dice: of its mask.
        iou: of its mask.
        predicted_iou: what the model said its IoU would be; not a number where it says nothing.
    """

    id: str
    group: str
    number: int
    class_name: str
    kind: str
    area: int
    dice: float
    iou: float
    predicted_iou: float


@dataclass(frozen=True)
class ImagePromptScore:
    """One image, all its objects prompted in one way.

    Attributes:
        id: the sample.
        group: its group.
        kind: of the prompts.
        n_objects: how many.
        dice: mean of the objects' Dice.
        iou: mean of the objects' IoU.
        union_dice: Dice of all masks together against all objects together.
        union_iou: IoU of the same.
        predicted_iou_error: mean of |predicted IoU − IoU| over the objects; not a number where
            the model predicts none.
    """

    id: str
    group: str
    kind: str
    n_objects: int
    dice: float
    iou: float
    union_dice: float
    union_iou: float
    predicted_iou_error: float


@dataclass(frozen=True)
class PromptedScores:
    """What `evaluate_prompts` measured.

    Attributes:
        segmenter: its name.
        kinds: of prompts.
        overall: kind → metric → mean over images with a 95 % interval over groups.
        images: one row per image and kind.
        objects: one row per object and kind.
        findings: images that could not be scored, and why.
        settings: how it was measured, as plain values.
    """

    segmenter: str
    kinds: tuple[str, ...]
    overall: Mapping[str, Mapping[str, Interval]]
    images: tuple[ImagePromptScore, ...]
    objects: tuple[ObjectScore, ...]
    findings: tuple[Finding, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that were scored, sorted."""
        return tuple(sorted({image.group for image in self.images}))

    def of_kind(self, kind: str) -> tuple[ImagePromptScore, ...]:
        """Give the images' rows of one kind of prompt.

        Raises:
            SettingsError: that kind was not measured.
        """
        if kind not in self.kinds:
            raise SettingsError(
                expected("the kind of prompt", f"one of {', '.join(self.kinds)}", repr(kind),
                         "evaluating with it too")
            )  # fmt: skip
        return tuple(image for image in self.images if image.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Give everything but the objects' rows as plain values."""
        return {
            "segmenter": self.segmenter,
            "kinds": list(self.kinds),
            "n_images": len({image.id for image in self.images}),
            "n_groups": len(self.groups),
            "n_objects": len({(row.id, row.number) for row in self.objects}),
            "overall": {
                kind: {name: dict(value) for name, value in by_metric.items()}
                for kind, by_metric in self.overall.items()
            },
            "per_image": [asdict(image) for image in self.images],
            "findings": [finding.to_json() for finding in self.findings],
            "settings": dict(self.settings),
        }

    def to_frame(self, *, of: str = "objects") -> pd.DataFrame:
        """Give one row per object and kind, or per image and kind with ``of="images"``."""
        import pandas as pd  # noqa: PLC0415  # half a second that most callers do not need

        rows = self.images if of == "images" else self.objects
        return pd.DataFrame([asdict(row) for row in rows])


def summarise_prompted(
    images: Sequence[ImagePromptScore], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Average `PROMPTED_METRICS` over images, with 95 % intervals over resampled groups.

    Args:
        images: the rows of one kind of prompt.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    values = {name: [getattr(image, name) for image in images] for name in PROMPTED_METRICS}
    groups = [image.group for image in images]
    return mean_intervals(values, groups, resamples=resamples, seed=seed)


def prompted_difference(
    ours: PromptedScores,
    theirs: PromptedScores,
    *,
    kind: str,
    other_kind: str | None = None,
    metric: str = "dice",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Compute how much better one model, or one kind of prompt, is: a paired 95 % interval.

    The mean over images of ours minus that of theirs, over the images that both scored with as
    many objects; groups are drawn again, the same draw for both.

    Args:
        ours: one evaluation.
        theirs: another one, or the same to compare two kinds of prompts.
        kind: of ours.
        other_kind: of theirs; by default the same.
        metric: one of `PROMPTED_METRICS`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        SettingsError: a kind or metric was not measured, or no image is shared.
    """
    if metric not in PROMPTED_METRICS:
        raise SettingsError(
            expected("`metric`", f"one of {', '.join(PROMPTED_METRICS)}", repr(metric), "'dice'")
        )
    mine = {image.id: image for image in ours.of_kind(kind)}
    groups: list[str] = []
    change: list[float] = []
    for image in theirs.of_kind(other_kind or kind):
        own = mine.get(image.id)
        if own is not None and own.n_objects == image.n_objects and own.group == image.group:
            groups.append(own.group)
            change.append(float(getattr(own, metric) - getattr(image, metric)))
    if not groups:
        raise SettingsError(
            expected("two evaluations", "of at least one image in common", "none",
                     "the same source for both")
        )  # fmt: skip
    return mean_intervals({metric: change}, groups, resamples=resamples, seed=seed)[metric]
