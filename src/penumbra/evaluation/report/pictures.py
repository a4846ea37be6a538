"""Turn evaluated images into small pictures that the page carries inside itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation.report.data import ReportPicture
from penumbra.evaluation.report.words import metric, number
from penumbra.imaging.overlay import evaluation_overlay, heatmap, overlay_mask, to_display, viridis
from penumbra.inference.prediction import Prediction, entropy

LONGEST_SIDE = 640
MOST_WORST = 10
MOST_BYTES = 12_000_000
"""Of all pictures together, as text in the page; beyond it they are drawn smaller."""

_LINE = 2


@dataclass(frozen=True)
class Scale:
    """The bar below a map: which gradient, and the numbers along it."""

    kind: str
    ticks: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One drawing of one image."""

    kind: str
    title: str
    uri: str
    width: int
    height: int
    scale: Scale | None = None


@dataclass(frozen=True)
class Shown:
    """All drawings of one image, with its scores in words."""

    id: str
    role: str
    scores: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]

    def panel(self, kind: str) -> Panel | None:
        """Give the drawing of a kind, if there is one."""
        return next((panel for panel in self.panels if panel.kind == kind), None)


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Give (height, width) with the longer one at `side`, at least 1 each.

    Small images grow too, so that outlines are drawn as fine as the screen allows.

    Examples:
        >>> fitted(256, 128, 640), fitted(4000, 3, 640)
        ((640, 320), (640, 1))
    """
    factor = side / max(height, width)
    return max(round(height * factor), 1), max(round(width * factor), 1)


def _resized(array: NDArray[np.uint8] | NDArray[np.float32], size: tuple[int, int]) -> NDArray[Any]:
    shrinks = size[0] < array.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    if array.dtype != np.uint8:
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(array, (size[1], size[0]), interpolation=how))


def _resized_mask(mask: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize class indices by the share of each class, so that edges stay where they are."""
    values = np.unique(mask)
    shares = [_resized((mask == value).astype(np.float32), size) for value in values]
    return np.asarray(values[np.argmax(np.stack(shares), axis=0)], dtype=np.uint8)


# Full colour resolution: halved, as is usual, it would smear the coloured outlines.
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    88,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)


def _uri(picture: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], _JPEG)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _panel(kind: str, title: str, picture: NDArray[np.uint8], scale: Scale | None = None) -> Panel:
    return Panel(kind, title, _uri(picture), picture.shape[1], picture.shape[0], scale)


def _doubt(prediction: Prediction) -> NDArray[np.float32]:
    known = prediction.uncertainty.get("entropy")
    return entropy(prediction.probabilities) if known is None else known


def draw(picture: ReportPicture, *, side: int, maps: bool) -> Shown:
    """Draw one image.

    Args:
        picture: what to draw.
        side: the longer side of the drawings in pixels.
        maps: also draw the probability, and the classes where there are more than two.
    """
    prediction = picture.prediction
    height, width = prediction.mask.shape
    size = fitted(height, width, side)
    image = _resized(to_display(picture.image), size).astype(np.uint8)
    mask = _resized_mask(prediction.mask, size)
    maximum = math.log(prediction.n_classes)
    panels = [_panel("image", "Image", image)]
    if picture.truth is None or (maps and prediction.n_classes > 2):
        panels.append(_panel("mask", "Mask", overlay_mask(image, mask, line=_LINE)))
    if picture.truth is not None:
        truth = _resized_mask(picture.truth, size)
        against = evaluation_overlay(image, mask, truth, line=_LINE)
        panels.append(_panel("truth", "Mask against truth", against))
    doubt = np.asarray(_resized(_doubt(prediction), size), dtype=np.float32)
    ticks = ("0 certain", number(maximum / 2), f"{number(maximum)} nats")
    glow = heatmap(image, doubt, maximum=maximum)
    panels.append(_panel("doubt", "Doubt", glow, Scale("heat", ticks)))
    if maps:
        panels.append(_probability(prediction, size))
    scores = tuple(
        (metric(name).label, number(value, digits=metric(name).digits))
        for name, value in picture.scores.items()
    )
    return Shown(picture.id, picture.role, scores, tuple(panels))


def _probability(prediction: Prediction, size: tuple[int, int]) -> Panel:
    binary = prediction.n_classes == 2
    values = prediction.foreground if binary else prediction.probabilities.max(axis=0)
    title = "Probability of foreground" if binary else "Probability of the chosen class"
    coloured = viridis(_resized(np.asarray(values, dtype=np.float32), size))
    return _panel("probability", title, coloured, Scale("viridis", ("0", "0.5", "1")))


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report: the large ones, and the worst."""

    large: tuple[Shown, ...]
    worst: tuple[Shown, ...]


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
    for side in (LONGEST_SIDE, 448, 320):
        drawn = Gallery(
            tuple(draw(picture, side=side, maps=True) for picture in large),
            tuple(draw(picture, side=min(side, 512), maps=False) for picture in worst),
        )
        total = sum(len(p.uri) for shown in (*drawn.large, *drawn.worst) for p in shown.panels)
        if total <= MOST_BYTES:
            break
    return drawn
