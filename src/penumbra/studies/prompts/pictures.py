"""The picture of a cell: what the encoder sees, what was asked, and how the answer compares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SourceError
from penumbra.evaluation.prompted_objects import objects_of
from penumbra.imaging.filters import FilterChain
from penumbra.imaging.overlay import evaluation_overlay, to_display
from penumbra.pages.panels import fitted, resized, resized_mask
from penumbra.promptable.drawing import draw_prompts
from penumbra.promptable.prompts import Prompts
from penumbra.storage import write_bytes
from penumbra.studies.prompts.asking import Seen

SIDE = 384
"""The longer side of a picture in pixels."""


def example_of(source: Source, *, least_area: int) -> Sample | None:
    """Choose the image that every picture shows: the one whose objects' area is the median.

    Args:
        source: the samples that are scored.
        least_area: of an object.

    Returns:
        The sample; ``None`` where no readable one has an object.
    """
    areas: list[tuple[float, int]] = []
    for index in range(len(source)):
        try:
            sample = source[index]
        except (ImageFileError, SourceError):
            continue
        if sample.mask is None:
            continue
        first = 1 if source.has_background else 0
        found = objects_of(
            sample.mask, n_classes=source.n_classes, first=first, least_area=least_area
        )
        if len(found):
            areas.append((float(found.union.mean()), index))
    if not areas:
        return None
    return source[sorted(areas)[len(areas) // 2][1]]


def draw_cell(sample: Sample, chain: FilterChain, seen: Seen) -> NDArray[np.uint8]:
    """Draw the filtered image, the answer against the truth, and the prompts on top.

    Args:
        sample: the example, with its mask.
        chain: of the cell.
        seen: what was asked about it, and answered.

    Returns:
        (h, w, 3) uint8 whose longer side is `SIDE`.
    """
    height, width = sample.image.shape[:2]
    size = fitted(height, width, SIDE)
    shown = resized(to_display(chain.pixels.apply(sample.image)), size).astype(np.uint8)
    truth = np.zeros((height, width), np.uint8) if sample.mask is None else sample.mask
    found = np.zeros((height, width), bool) if seen.union is None else seen.union
    # One colour of truth: a study scores objects, whatever their class.
    merged = np.where(truth == 255, truth, (truth > 0).astype(np.uint8))
    drawn = evaluation_overlay(
        shown, resized_mask(found.astype(np.uint8), size), resized_mask(merged, size), line=2
    )
    scale = np.array([size[1] / width, size[0] / height], dtype=np.float32)
    if seen.boxes:
        drawn = draw_prompts(drawn, Prompts(size, boxes=np.stack(seen.boxes) * np.tile(scale, 2)))
    if seen.points:
        points = np.stack(seen.points) * scale
        drawn = draw_prompts(drawn, Prompts(size, points=points, labels=np.stack(seen.labels)))
    return drawn


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture (h, w, 3) as PNG, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    write_bytes(path, encoded.tobytes())


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """Read a picture that a study wrote, (h, w, 3); ``None`` where there is none."""
    try:
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if found is None else np.ascontiguousarray(found[..., ::-1], dtype=np.uint8)
