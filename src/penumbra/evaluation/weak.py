"""How good masks are where boxes alone are known, and no mask to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding, Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError, expected
from penumbra.evaluation.bootstrap import RESAMPLES, Interval
from penumbra.evaluation.group_means import mean_intervals
from penumbra.evaluation.prompt_baselines import filled_box
from penumbra.evaluation.weak_answers import WeakAnswer
from penumbra.evaluation.weak_boxes import average_precision, ious
from penumbra.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

WEAK_METRICS = ("share_inside", "tight_iou", "pointing", "filled_dice", "map", "nothing_found")
"""What is averaged over images; see `WeakScore`."""

Answer = Callable[[Sample], WeakAnswer | None]
"""From an image to what was found in it; ``None`` where nothing could be asked."""


@dataclass(frozen=True)
class WeakScore:
    """One image whose boxes are known.

    All but `map` and `nothing_found` are not a number where the image has no box.

    Attributes:
        id: the sample.
        group: its group.
        n_boxes: how many it has.
        n_found: how many were found.
        area: pixels of the mask.
        share_inside: share of the mask's pixels whose centre lies in a box; 0 for an empty mask,
            which found nothing.
        tight_iou: mean over the boxes of the IoU with a mask's tight box: that of the mask that
            answers it where each box has its own, else the best of all connected areas; 0 where
            there is none.
        pointing: share of the most probable pixels that lie in a box: one per image, or one per
            answer, then in its own box.
        filled_dice: Dice of the mask against the boxes filled in.
        map: the challenge's precision over IoU 0.40…0.75, see `average_precision`; not a number
            where there is nothing and nothing was found.
        nothing_found: 1 or 0, whether the mask is empty, of an image without boxes; else not a
            number.
    """

    id: str
    group: str
    n_boxes: int
    n_found: int
    area: int
    share_inside: float
    tight_iou: float
    pointing: float
    filled_dice: float
    map: float
    nothing_found: float


@dataclass(frozen=True)
class WeakScores:
    """What `evaluate_weak` measured.

    Attributes:
        name: of what was measured.
        overall: metric → mean over the images that have it, with a 95 % interval over groups.
        images: one row per image.
        findings: images that could not be scored, and why.
        settings: how it was measured, as plain values.
    """

    name: str
    overall: Mapping[str, Interval]
    images: tuple[WeakScore, ...]
    findings: tuple[Finding, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_images(self) -> int:
        """How many images were scored."""
        return len(self.images)

    @property
    def n_groups(self) -> int:
        """How many groups they are of."""
        return len({image.group for image in self.images})

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "name": self.name,
            "n_images": self.n_images,
            "n_groups": self.n_groups,
            "n_with_boxes": sum(image.n_boxes > 0 for image in self.images),
            "overall": {name: dict(value) for name, value in self.overall.items()},
            "per_image": [asdict(image) for image in self.images],
            "findings": [finding.to_json() for finding in self.findings],
            "settings": dict(self.settings),
        }

    def to_frame(self) -> pd.DataFrame:
        """Give one row per image."""
        import pandas as pd  # noqa: PLC0415  # half a second that most callers do not need

        return pd.DataFrame([asdict(image) for image in self.images])


def score_weakly(sample: Sample, answer: WeakAnswer) -> WeakScore:
    """Score one image by its boxes.

    Args:
        sample: with boxes, none of which is an answer too.
        answer: what was found in it.
    """
    boxes = np.asarray(sample.boxes, dtype=np.float64).reshape(-1, 4)
    height, width = answer.mask.shape
    inside = np.zeros((height, width), dtype=bool)
    for box in boxes:
        inside |= filled_box((height, width), box)
    area, filled = int(answer.mask.sum()), int(inside.sum())
    both = int((answer.mask & inside).sum())
    return WeakScore(
        id=sample.id,
        group=sample.group,
        n_boxes=len(boxes),
        n_found=len(answer.found.boxes),
        area=area,
        share_inside=(both / area if area else 0.0) if len(boxes) else np.nan,
        tight_iou=_tight_iou(boxes, answer),
        pointing=_pointing(boxes, answer),
        filled_dice=2 * both / max(1, area + filled) if len(boxes) else np.nan,
        map=average_precision(boxes, answer.found.boxes, answer.found.confidence),
        nothing_found=float(area == 0) if not len(boxes) else np.nan,
    )


def _tight_iou(boxes: NDArray[np.float64], answer: WeakAnswer) -> float:
    if not len(boxes):
        return np.nan
    overlap = ious(boxes, answer.found.boxes)
    if answer.asked is None:
        return float(overlap.max(axis=1, initial=0.0).mean())
    own = np.zeros(len(boxes))
    own[answer.asked] = overlap[answer.asked, np.arange(len(answer.asked))]
    return float(own.mean())


def _pointing(boxes: NDArray[np.float64], answer: WeakAnswer) -> float:
    if not len(boxes):
        return np.nan
    if not len(answer.peaks):
        return 0.0
    # The centre of a pixel is half a pixel from its corner, where the edges of boxes count from.
    x, y = (answer.peaks + 0.5).T
    hit = (
        (x[:, None] >= boxes[:, 0]) & (x[:, None] < boxes[:, 2])
        & (y[:, None] >= boxes[:, 1]) & (y[:, None] < boxes[:, 3])
    )  # fmt: skip
    if answer.peak_of is None:
        return float(hit.any(axis=1).mean())
    return float(hit[np.arange(len(hit)), answer.peak_of].mean())


def evaluate_weak(
    answer: Answer,
    source: Source,
    *,
    name: str = "",
    resamples: int = RESAMPLES,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> WeakScores:
    """Score what is found in images whose boxes are known and whose masks are not.

    ``share_inside`` alone is best for a mask of one sure pixel, ``tight_iou`` for the box itself:
    read them together. Where the model is prompted by the very box, `tight_iou`, `filled_dice`
    and `map` say that it kept to the box, not that it found anything.

    Args:
        answer: from a sample to what was found in its image: `answers_of_run` or
            `answers_of_prompts`. It must not look at the sample's boxes but to be prompted.
        source: samples with boxes; a sample with no entry at all in the table of boxes is passed
            over.
        name: of what is measured.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.
        settings: how it was measured, for the record.
        progress: wraps the samples to show a progress bar.

    Returns:
        Scores per image and overall. An image that cannot be read is a finding.

    Raises:
        SourceError: no image could be scored.

    Source: for pointing, J. Zhang et al., Top-down neural attention by excitation backprop,
    International Journal of Computer Vision 126, 2018 (without its margin of 15 pixels).
    """
    images: list[WeakScore] = []
    findings: list[Finding] = []
    for found in progress(_scored(answer, source), total=len(source), what="scoring"):
        (findings if isinstance(found, Finding) else images).append(found)  # type: ignore[arg-type]
    if not images:
        raise SourceError(
            expected(
                f"the source {source.name}",
                "of at least one readable image whose boxes are known",
                f"none, and {len(findings)} findings"
                + (f", the first: {findings[0].message}" if findings else ""),
                "another split, or a source that ships boxes",
            )
        )
    values = {metric: [getattr(image, metric) for image in images] for metric in WEAK_METRICS}
    groups = [image.group for image in images]
    overall = mean_intervals(values, groups, resamples=resamples, seed=seed)
    return WeakScores(name, overall, tuple(images), tuple(findings), dict(settings or {}))


def _scored(answer: Answer, source: Source) -> Iterator[WeakScore | Finding]:
    for index, record in enumerate(source.records):
        try:
            sample = source[index]
            if sample.boxes is None:
                text = f"The boxes of {record.id} are not known."
                yield Finding("missing-boxes", "note", (record.id,), text)
                continue
            found = answer(sample)
        except (ImageFileError, SourceError) as error:
            yield Finding("unreadable", "error", (record.id,), str(error))
            continue
        if found is None:
            text = f"{record.id} has no box to prompt with."
            yield Finding("nothing-to-prompt", "note", (record.id,), text)
            continue
        yield score_weakly(sample, found)
