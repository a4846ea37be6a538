"""Good and missed frames of a scored run side by side, and the overlays of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penumbra.evaluation.evaluation import Evaluation, ImageMean
from penumbra.imaging.contact_sheet import Frame, Section, contact_sheet
from penumbra.imaging.overlay import evaluation_overlay
from penumbra.imaging.palette import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from penumbra.inference.prediction import Prediction
from penumbra.progress import Progress, silent
from penumbra.storage import atomic_path

if TYPE_CHECKING:
    from penumbra.evaluation.of_run import RunEvaluation

Predict = Callable[[Sequence[NDArray[np.generic]]], list[Prediction]]

KEYS = (
    (TRUE_POSITIVE, "found (true positive)"),
    (FALSE_NEGATIVE, "missed (false negative)"),
    (FALSE_POSITIVE, "too much (false positive)"),
)
"""Colours of the overlays, and what they mean."""


def good_and_missed(
    evaluation: Evaluation, *, most: int = 12
) -> tuple[tuple[ImageMean, ...], tuple[ImageMean, ...]]:
    """Choose the frames of a contact sheet.

    Args:
        evaluation: what was found.
        most: of each kind.

    Returns:
        The good: highest Dice first, of the images that show something, one of each group before a
        second of any. The missed: lowest Dice first, of all images that are not perfect. No image
        is in both, and neither takes more than half of the images.
    """
    there = {row.id for row in evaluation.per_image if row.scored and row.area_truth}
    known = [image for image in evaluation.sorted_by("dice") if not math.isnan(image.dice)]
    missed = [image for image in known if image.dice < 1][: min(most, (len(known) + 1) // 2)]
    taken = {image.id for image in missed}
    best = [image for image in reversed(known) if image.id in there and image.id not in taken]
    return tuple(_in_turns(best)[:most]), tuple(missed)


def _in_turns(images: Iterable[ImageMean]) -> list[ImageMean]:
    """Put the first of each group before the second of any, order kept otherwise."""
    seen: dict[str, int] = {}
    ranked = []
    for image in images:
        seen[image.group] = seen.get(image.group, -1) + 1
        ranked.append((seen[image.group], image))
    return [image for _, image in sorted(ranked, key=lambda pair: pair[0])]


def write_contact_sheet(
    path: Path, scored: RunEvaluation, predict: Predict, *, most: int = 12, columns: int = 4
) -> Path:
    """Write good and missed frames as one PNG: purple found, yellow missed, green too much.

    The few frames that are shown are predicted again, so that not all of them had to be kept.

    Args:
        path: the PNG file.
        scored: what `score_run` gave.
        predict: what predicted.
        most: frames of each kind.
        columns: frames in a row.

    Raises:
        SettingsError: no frame has a Dice.
        StorageError: the file cannot be written.
    """
    good, missed = good_and_missed(scored.evaluation, most=most)
    places = {record.id: index for index, record in enumerate(scored.source.records)}

    def section(title: str, images: Sequence[ImageMean]) -> Section:
        frames = (
            Frame(_overlay(scored, predict, places[image.id]), f"{image.id}  {image.dice:.2f}")
            for image in images
        )
        return Section(title, tuple(frames))

    sheet = contact_sheet(
        [section("Best of each group in turn", good), section("Missed: lowest Dice", missed)],
        columns=columns,
        keys=KEYS,
    )
    _write(path, sheet)
    return path


def write_overlays(
    folder: Path, scored: RunEvaluation, predict: Predict, *, progress: Progress = silent
) -> int:
    """Write ``ID_overlay.png`` for every scored image, in the colours of the contact sheet.

    Returns:
        How many were written.

    Raises:
        StorageError: a file cannot be written.
    """
    places = {record.id: index for index, record in enumerate(scored.source.records)}
    images = scored.evaluation.images
    for image in progress(images, total=len(images), what="overlays"):
        _write(folder / f"{image.id}_overlay.png", _overlay(scored, predict, places[image.id]))
    return len(images)


def _overlay(scored: RunEvaluation, predict: Predict, place: int) -> NDArray[np.uint8]:
    sample = scored.source[place]
    (prediction,) = predict([sample.image])
    # What was scored has a mask; without one nothing would be missed.
    truth = np.zeros_like(prediction.mask) if sample.mask is None else sample.mask
    return evaluation_overlay(sample.image, prediction.mask, truth)


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="png", compress_level=4)
