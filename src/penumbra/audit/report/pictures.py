"""Conflicts as pictures: both images with their masks, the masks on each other, the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.balance import Balance
from penumbra.audit.conflicts import Compared
from penumbra.audit.placement import lay_over
from penumbra.audit.threads import in_threads
from penumbra.data.sample import IGNORE
from penumbra.errors import PenumbraError
from penumbra.imaging.overlay import evaluation_overlay, overlay_mask, to_display
from penumbra.imaging.palette import viridis
from penumbra.pages.panels import Panel, Scale, fitted, panel, resized, resized_mask
from penumbra.pages.words import number

if TYPE_CHECKING:
    from penumbra.audit.audit import Audit

MOST = 16
"""Conflicts that are drawn."""
SIDE = 384
_LEAST_END = 16
_OUTSIDE = 128

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Side:
    """One image of a pair: the bare image, and the one with its mask."""

    id: str
    bare: Panel
    drawn: Panel


@dataclass(frozen=True)
class Shown:
    """All drawings of one conflict, with its scores in words."""

    id: str
    title: str
    a: Side
    b: Side
    against: Panel
    difference: Panel
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Read:
    pair: Compared
    images: tuple[Picture, Picture]
    masks: tuple[Picture, Picture]


def draw_conflicts(found: Audit) -> tuple[list[Shown], int]:
    """Draw the first conflicts that have two masks.

    Returns:
        The drawings, and how many could not be made since a file is gone.
    """
    index = {sample.id: place for place, sample in enumerate(found.scan.samples)}
    chosen = [pair for pair in found.conflicts if pair.disagreement is not None][:MOST]
    with in_threads() as pool:
        read = list(pool.map(lambda pair: _read(found, pair, index), chosen))
        there = [one for one in read if one is not None]
        end = _end([_difference(one) for one in there])
        return list(pool.map(lambda one: _draw(one, end), there)), len(read) - len(there)


def _read(found: Audit, pair: Compared, index: dict[str, int]) -> _Read | None:
    source = found.scan.source
    samples = [found.scan.samples[index[name]] for name in (pair.a, pair.b)]
    images, masks = [], []
    try:
        for sample in samples:
            record = source.records[index[sample.id]]
            images.append(to_display(source.read_image(record.image)))
            mask = source.read_mask(record, sample.size)
            if mask is None or mask.shape != images[-1].shape[:2]:
                return None
            masks.append(mask)
    except (PenumbraError, OSError, ValueError):
        return None
    size, place = samples[0].size, (pair.turn, *pair.shift)
    if images[0].shape[:2] != size:
        return None
    second = np.stack([lay_over(images[1][..., k], size, place) for k in range(3)], axis=-1)
    # Where the second image does not reach, grey: black or white could be of the image.
    reached = lay_over(np.zeros(images[1].shape[:2], np.uint8), size, place) != IGNORE
    second[~reached] = _OUTSIDE
    return _Read(pair, (images[0], second), (masks[0], lay_over(masks[1], size, place)))


def _difference(read: _Read) -> NDArray[np.float32]:
    one, other = (image.astype(np.float32).mean(axis=-1) for image in read.images)
    return np.asarray(np.abs(one - other), dtype=np.float32)


def _end(differences: list[NDArray[np.float32]]) -> float:
    """Find where the scale of the differences ends; the same for all, so that they compare."""
    ends = [float(np.percentile(each, 99.5)) for each in differences]
    return float(min(max([_LEAST_END, *ends]), 255))


def _draw(read: _Read, end: float) -> Shown:
    pair = read.pair
    height, width = read.masks[0].shape
    size = fitted(height, width, SIDE)
    images = [resized(image, size).astype(np.uint8) for image in read.images]
    masks = [resized_mask(mask, size) for mask in read.masks]
    sides = [
        Side(
            name,
            panel("image", "Image", image),
            panel("mask", name, overlay_mask(image, mask, line=2)),
        )
        for name, image, mask in zip((pair.a, pair.b), images, masks, strict=True)
    ]
    # What either mask ignores was not compared.
    truth = np.where(masks[1] == IGNORE, IGNORE, masks[0])
    against = evaluation_overlay(images[0], masks[1], truth, line=2)
    grey = np.clip(resized(_difference(read), size) * (255 / end), 0, 255).astype(np.uint8)
    scale = Scale("grey", ("0", number(end / 2, digits=0), number(end, digits=0)))
    return Shown(
        id=f"{pair.a} and {pair.b}",
        title=_title(pair),
        a=sides[0],
        b=sides[1],
        against=panel("against", "Masks", against),
        difference=panel("difference", "Difference", np.repeat(grey[..., None], 3, -1), scale),
        scores=_scores(pair),
    )


_LEVELS = {"bytes": "same bytes", "pixels": "same pixels", "near": "near"}


def _title(pair: Compared) -> str:
    moved = []
    if pair.turn:
        moved.append("turned")
    if any(pair.shift):
        moved.append(f"moved by {pair.shift[0]}, {pair.shift[1]}")
    return ", ".join([_LEVELS.get(pair.level, pair.level), *moved])


def _scores(pair: Compared) -> tuple[tuple[str, str], ...]:
    found = pair.disagreement
    if found is None:
        return ()
    return (
        ("Score", number(pair.score, digits=2)),
        ("RMS", number(pair.rms, digits=1)),
        ("Dice", number(found.dice, digits=2)),
        ("IoU", number(found.iou, digits=2)),
        ("Boundary", f"{number(found.distance, digits=1)} px"),
        ("Area ratio", number(found.area_ratio, digits=2)),
    )


def mean_mask(balance: Balance) -> Panel | None:
    """Draw the mean of all masks, with the middles of objects as dots; nothing without masks."""
    top = float(balance.mean_mask.max())
    if not balance.whole.masks or top <= 0:
        return None
    large = np.asarray(resized(balance.mean_mask, (SIDE, SIDE)), dtype=np.float32)
    picture = viridis(np.clip(large / top, 0, 1))
    for x, y in np.clip(balance.positions[:2000] * SIDE, 1, SIDE - 2).astype(int):
        picture[y - 1 : y + 1, x - 1 : x + 1] = 255
    scale = Scale("viridis", ("0", number(top / 2, digits=2), number(top, digits=2)))
    return panel("mean", "Mean mask", picture, scale)
