"""Turn evaluated images into small pictures that the page carries inside itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.report.data import ReportPicture
from penumbra.evaluation.report.outlines import MOST, draw_outlines
from penumbra.evaluation.report.words import metric
from penumbra.imaging.overlay import evaluation_overlay, heatmap, overlay_mask, to_display, viridis
from penumbra.inference.prediction import Prediction, entropy
from penumbra.pages.panels import Panel, Scale, fitted, panel, resized, resized_mask
from penumbra.pages.words import count, number

LONGEST_SIDE = 640
MOST_WORST = 10
MOST_BYTES = 12_000_000
"""Of all pictures together, as text in the page; beyond it they are drawn smaller."""

_LINE = 2
_Map = NDArray[np.float32]


@dataclass(frozen=True)
class Ends:
    """Where the scales of doubt and of disagreement end, in nats; the same for every picture.

    A scale up to the most that is possible, ln C, would leave the doubt of a good network dark.

    Attributes:
        doubt: the 99.9th percentile of the entropy of all shown pixels, and at least 5 % of ln C.
        disagreement: the same of the mutual information, and at least 1 % of ln C: what is less
            than that should not glow.
        most: ln C.
    """

    doubt: float
    disagreement: float
    most: float

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Ends:
        """Find the ends for the pictures that are shown together."""
        most = math.log(max((p.n_classes for p in predictions), default=2))
        told = [p.uncertainty["mutual_information"] for p in predictions if _several(p)]
        return cls(
            doubt=_end([_doubt(p) for p in predictions], least=0.05 * most, most=most),
            disagreement=_end(told, least=0.01 * most, most=most),
            most=most,
        )


def _end(maps: Sequence[_Map], *, least: float, most: float) -> float:
    values = [m[np.isfinite(m)] for m in maps]
    if not sum(v.size for v in values):
        return most
    return min(max(float(np.percentile(np.concatenate(values), 99.9)), least), most)


def _several(prediction: Prediction) -> bool:
    return prediction.passes > 1 and "mutual_information" in prediction.uncertainty


@dataclass(frozen=True)
class Shown:
    """All drawings of one image, with its scores in words, and whether it was flagged."""

    id: str
    role: str
    scores: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    flagged: bool | None = None

    def panel(self, kind: str) -> Panel | None:
        """Give the drawing of a kind, if there is one."""
        return next((found for found in self.panels if found.kind == kind), None)


def _doubt(prediction: Prediction) -> _Map:
    known = prediction.uncertainty.get("entropy")
    return entropy(prediction.probabilities) if known is None else known


def draw(picture: ReportPicture, *, side: int, maps: bool, ends: Ends | None = None) -> Shown:
    """Draw one image.

    Args:
        picture: what to draw.
        side: the longer side of the drawings in pixels.
        maps: draw everything there is: classes, probability, doubt, disagreement and samples;
            else image, errors and doubt.
        ends: of the scales; by default those of this picture alone.
    """
    prediction = picture.prediction
    height, width = prediction.mask.shape
    size = fitted(height, width, side)
    image = resized(to_display(picture.image), size).astype(np.uint8)
    ends = ends or Ends.of([prediction])
    if maps:
        panels = _in_rows(
            _what(picture, image, size),
            _sure(picture, image, size, ends),
            many=prediction.n_classes > 2,
        )
    else:
        doubt = _glow("doubt", "Doubt", image, _doubt(prediction), ends.doubt)
        wanted = ("image", "mask" if picture.truth is None else "truth")
        what = _what(picture, image, size)
        panels = (*(found for found in what if found.kind in wanted), doubt)
    scores = tuple(
        (metric(name).label, number(value, digits=metric(name).digits))
        for name, value in picture.scores.items()
    )
    return Shown(picture.id, picture.role, scores, panels, prediction.flagged)


def _what(picture: ReportPicture, image: NDArray[np.uint8], size: tuple[int, int]) -> list[Panel]:
    """Draw what is there: the image, the true and the found classes, and how they compare."""
    mask = resized_mask(picture.prediction.mask, size)
    panels = [panel("image", "Image", image)]
    if picture.truth is None:
        return [*panels, panel("mask", "Mask", overlay_mask(image, mask, line=_LINE))]
    truth = resized_mask(picture.truth, size)
    return [
        *panels,
        panel("classes", "Truth", overlay_mask(image, truth, line=_LINE)),
        panel("mask", "Mask", overlay_mask(image, mask, line=_LINE)),
        panel("truth", "Mask against truth", evaluation_overlay(image, mask, truth, line=_LINE)),
    ]


def _sure(
    picture: ReportPicture, image: NDArray[np.uint8], size: tuple[int, int], ends: Ends
) -> list[Panel]:
    """Draw how sure that is: probability, doubt, and where there are passes what they say."""
    prediction = picture.prediction
    doubt = _doubt(prediction)
    panels = [
        _probability(prediction, size),
        _glow("doubt", "Doubt", image, doubt, ends.doubt),
    ]
    if _several(prediction):
        apart = prediction.uncertainty["mutual_information"]
        panels.append(_glow("disagreement", "Disagreement", image, apart, ends.disagreement))
    if prediction.samples is not None and len(prediction.samples) > 1:
        # A third as bright as the map of doubt, and less where doubt is weak: lines are to be
        # read on it.
        share = np.asarray(resized(doubt, size) / ends.doubt, dtype=np.float32)
        glow = heatmap(image, np.square(np.clip(share, 0, 1)), maximum=3.0)
        drawn = draw_outlines(glow, prediction.samples, threshold=picture.threshold)
        shown = min(len(prediction.samples), MOST)
        panels.append(panel("samples", count(shown, "sample"), drawn))
    return panels


def _in_rows(what: list[Panel], sure: list[Panel], *, many: bool) -> tuple[Panel, ...]:
    """Order panels so that two rows are full, and probability, doubt and disagreement neighbours.

    With two classes, mask against truth says all that truth and mask say alone, so these fill a
    gap at most. The outlines of samples are masks too, so they may stand in the first row.
    """
    if len(what) == 4:
        left_out = {
            (True, 0): (),
            (True, 1): ("classes",),
            (False, 0): ("classes", "mask"),
            (False, 1): ("classes",),
        }[many, len(sure) % 2]
        what = [found for found in what if found.kind not in left_out]
    if len(what) < len(sure):
        return (*what, *sure[3:], *sure[:3])
    return (*what, *sure)


def _glow(kind: str, title: str, image: NDArray[np.uint8], doubt: _Map, end: float) -> Panel:
    values = np.asarray(resized(doubt, image.shape[:2]), dtype=np.float32)
    ticks = ("0", number(end / 2), f"{number(end)} nats")
    return panel(kind, title, heatmap(image, values, maximum=end), Scale("heat", ticks))


def _probability(prediction: Prediction, size: tuple[int, int]) -> Panel:
    binary = prediction.n_classes == 2
    values = prediction.foreground if binary else prediction.probabilities.max(axis=0)
    # One short word: the tooltip and the alternative text say of what.
    title = "Probability" if binary else "Probability of the chosen class"
    coloured = viridis(resized(np.asarray(values, dtype=np.float32), size))
    return panel("probability", title, coloured, Scale("viridis", ("0", "0.5", "1")))


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report: the large ones, the worst, and where their scales end."""

    large: tuple[Shown, ...]
    worst: tuple[Shown, ...]
    ends: Ends

    @property
    def disagrees(self) -> bool:
        """Whether any picture shows where passes disagree."""
        return any(shown.panel("disagreement") for shown in self.large)


def _chosen(pictures: Sequence[ReportPicture]) -> tuple[list[ReportPicture], list[ReportPicture]]:
    large: dict[str, ReportPicture] = {}
    for role in ("best", "median", "worst"):
        first = next((picture for picture in pictures if picture.role == role), None)
        if first is not None:
            # One image can be best and worst at once; once is enough.
            large.setdefault(first.id, first)
    worst = [picture for picture in pictures if picture.role == "worst"]
    return list(large.values()), worst[:MOST_WORST]


def gallery(pictures: Sequence[ReportPicture]) -> Gallery:
    """Draw the first best, median and worst image large, and up to ten of the worst.

    All are drawn smaller when the page would otherwise grow beyond about 12 MB.
    """
    large, worst = _chosen(pictures)
    ends = Ends.of([picture.prediction for picture in {p.id: p for p in (*large, *worst)}.values()])
    for side in (LONGEST_SIDE, 448, 320):
        drawn = Gallery(
            tuple(draw(picture, side=side, maps=True, ends=ends) for picture in large),
            tuple(draw(picture, side=min(side, 512), maps=False, ends=ends) for picture in worst),
            ends,
        )
        total = sum(len(p.uri) for shown in (*drawn.large, *drawn.worst) for p in shown.panels)
        if total <= MOST_BYTES:
            break
    return drawn
