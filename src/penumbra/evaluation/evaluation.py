"""What an evaluation found: every metric overall, per class and per image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from penumbra.data.sample import Finding
from penumbra.evaluation.bootstrap import Interval
from penumbra.evaluation.calibration import ReliabilityBin
from penumbra.evaluation.image_risk import ImageRisks
from penumbra.evaluation.scores import ScoreSettings
from penumbra.evaluation.sums import GroupSums

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ImageRow:
    """One class in one image.

    Attributes:
        id: the sample.
        group: its group.
        class_name: the class.
        scored: whether averages over classes hold this class.
        dice: in [0, 1], as iou, precision, recall, specificity and boundary_f1.
        iou: intersection over union.
        precision: share of the predicted pixels that are right.
        recall: share of the true pixels that were found.
        specificity: share of the other pixels that were left out.
        boundary_f1: at the evaluation's tolerance.
        hd95: in pixels.
        hd95_mm: in millimetres; not a number where the spacing is not known.
        area_truth: pixels of the class.
        area_predicted: pixels predicted as the class, where the truth is not ignore.
        pixel_accuracy: of the whole image, as the columns that follow.
        brier: mean over pixels and classes of (p_c − y_c)².
        nll: mean of −ln p of the true class, in nats.
        ece: of the predicted class, within this image.
        mean_entropy: in nats.
        joint_nll: of tiles, in nats per pixel, see `tally_joint`; not a number where there were
            several passes and none was kept.
        area_low: lower end of the interval of the area in pixels; not a number without one.
        area_estimate: the estimate that the interval is about.
        area_high: upper end of the interval.
        flagged: whether somebody should look; ``None`` where the run was not calibrated.
        scores: doubt about the whole image by name; a column ``score_NAME`` each in tables.
    """

    id: str
    group: str
    class_name: str
    scored: bool
    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float
    boundary_f1: float
    hd95: float
    hd95_mm: float
    area_truth: int
    area_predicted: int
    pixel_accuracy: float
    brier: float
    nll: float
    ece: float
    mean_entropy: float
    joint_nll: float = math.nan
    area_low: float = math.nan
    area_estimate: float = math.nan
    area_high: float = math.nan
    flagged: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageMean:
    """One image, its scores averaged over the scored classes.

    Attributes:
        id: the sample.
        group: its group.
        dice: mean over the scored classes, as iou, boundary_f1 and hd95.
        iou: intersection over union.
        boundary_f1: at the evaluation's tolerance.
        hd95: in pixels.
        mean_entropy: in nats.
        scores: doubt about the whole image by name; higher is more.
        flagged: whether somebody should look; ``None`` where the run was not calibrated.
    """

    id: str
    group: str
    dice: float
    iou: float
    boundary_f1: float
    hd95: float
    mean_entropy: float
    scores: Mapping[str, float] = field(default_factory=dict)
    flagged: bool | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        overall: metric → mean, low, high. Overlap and boundary metrics are means over images of
            the mean over scored classes; ``dice_pooled`` and ``iou_pooled`` count all pixels
            together first; all that follow are over all pixels. Intervals are 95 % percentile
            intervals over resampled groups.
            ``image_aurc``, where there are two images or more, is that of the score
            ``soft_dice``, or of ``mean_entropy`` where there is no other.
        per_class: class name → the same for each class, the background too, without ``aurc``,
            ``e_aurc`` and ``ause``. There ``pixel_accuracy``, ``nll``, ``ece`` and what is like
            them are those of the class against the rest.
        per_image: one row per image and class.
        images: one row per image, in the order they came.
        reliability: table of the predicted class: probability given, share right.
        class_reliability: the same per class against the rest.
        n_images: images that were scored.
        n_groups: their groups.
        settings: classes, empty policy, boundary tolerance, bins.
        groups: names of the groups, in the order of `sums`.
        sums: what everything above was made of, per group; merges and resamples exactly.
        findings: samples that could not be scored, and why.
        sections: ``risk`` (doubt against what went wrong: ``pixels``, ``images`` and ``flags``),
            ``samples`` (with several passes), ``areas`` (with area intervals; `score_run` adds
            ``volumes`` where groups hold several images), ``readers`` (with
            several readers), ``truth`` (with the true probability) and ``presence`` (per scored
            class, see `presence_section`); those that apply.
    """

    overall: Mapping[str, Interval]
    per_class: Mapping[str, Mapping[str, Interval]]
    per_image: tuple[ImageRow, ...]
    images: tuple[ImageMean, ...]
    reliability: tuple[ReliabilityBin, ...]
    class_reliability: Mapping[str, tuple[ReliabilityBin, ...]]
    n_images: int
    n_groups: int
    settings: ScoreSettings
    groups: tuple[str, ...]
    sums: GroupSums
    findings: tuple[Finding, ...] = ()
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def empty_policy(self) -> str:
        """What a score of nothing over nothing is: ``"one"``, ``"nan"`` or ``"skip"``."""
        return self.settings.empty

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""
        return self.settings.class_names

    def sorted_by(self, metric: str = "dice") -> tuple[ImageMean, ...]:
        """Give the images by a metric, lowest first; those without the metric come last.

        Args:
            metric: ``"dice"``, ``"iou"``, ``"boundary_f1"``, ``"hd95"`` or ``"mean_entropy"``.
        """

        def key(image: ImageMean) -> tuple[bool, float, str]:
            value = float(getattr(image, metric))
            missing = math.isnan(value)
            return missing, 0.0 if missing else value, image.id

        return tuple(sorted(self.images, key=key))

    @property
    def image_score(self) -> str:
        """The image-level score of ``image_aurc``: ``"soft_dice"``, else ``"mean_entropy"``."""
        known = all("soft_dice" in image.scores for image in self.images)
        return "soft_dice" if known else "mean_entropy"

    def image_risks(self, score: str, *, groups: Sequence[str] | None = None) -> ImageRisks:
        """Give 1 − Dice and a score of every image with a Dice, to rank and to resample.

        Args:
            score: name of an image-level score that every image has.
            groups: the groups that are counted, in the order that weights have; by default all.
        """
        place = {group: at for at, group in enumerate(self.groups if groups is None else groups)}
        images = [i for i in self.images if i.group in place and math.isfinite(i.dice)]
        return ImageRisks(
            risk=1.0 - np.array([image.dice for image in images], dtype=np.float64),
            doubt=np.array([image.scores[score] for image in images], dtype=np.float64),
            group=np.array([place[image.group] for image in images], dtype=np.intp),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain values, without the rows per image (see `to_frame`)."""
        return {
            "n_images": self.n_images,
            "n_groups": self.n_groups,
            "empty_policy": self.empty_policy,
            "boundary_tolerance_px": self.settings.tolerance,
            "class_names": list(self.class_names),
            "scored_classes": [self.class_names[index] for index in self.settings.scored],
            "overall": {name: dict(value) for name, value in self.overall.items()},
            "per_class": {
                name: {metric: dict(value) for metric, value in metrics.items()}
                for name, metrics in self.per_class.items()
            },
            **self.sections,
            "curves": {
                "reliability": [asdict(row) for row in self.reliability],
                "class_reliability": {
                    name: [asdict(row) for row in rows]
                    for name, rows in self.class_reliability.items()
                },
                "dice_sorted": [
                    {"id": image.id, "dice": image.dice} for image in self.sorted_by("dice")
                ],
            },
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_frame(self) -> pd.DataFrame:
        """Give the rows per image and class as a table.

        `class_name` is its column ``class``, each of the `scores` a column ``score_NAME``.
        """
        import pandas as pd  # noqa: PLC0415  # half a second that most callers do not need

        rows = []
        for row in self.per_image:
            values = asdict(row)
            scores = values.pop("scores")
            rows.append(values | {f"score_{name}": score for name, score in scores.items()})
        return pd.DataFrame(rows).rename(columns={"class_name": "class"})
