"""Segment images for a challenge: one row of run lengths per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding
from penumbra.data.submission import check_row_name, write_submission
from penumbra.errors import (
    ImageFileError,
    NotFiniteError,
    SettingsError,
    SourceError,
    expected,
)
from penumbra.inference.contract import ImagePredictor
from penumbra.progress import Progress, silent


@dataclass(frozen=True)
class NamedImage:
    """An image that is read when its turn comes.

    Attributes:
        name: of its row.
        read: gives (H, W, C).
    """

    name: str
    read: Callable[[], NDArray[np.generic]]


@dataclass
class Submitted:
    """What `submit` wrote.

    Attributes:
        rows: of the table.
        empty: rows without foreground, those of findings among them.
        sizes: (height, width) of the images that were read.
        findings: images that could not be read, or for which a network gave NaN.
    """

    rows: int = 0
    empty: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def submit(
    predictor: ImagePredictor,
    images: Sequence[NamedImage],
    path: str | Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Submitted:
    """Segment images and write ``img,pixels``: pairs "start length" from 1, down the columns.

    An image that cannot be read, or for which a network gives NaN, is a finding and has an empty
    cell, since a table that lacks a row is refused whole.

    Args:
        predictor: of two classes; a network or a classical method.
        images: one per row, in this order.
        path: the CSV file.
        seed: of the passes.
        progress: wraps the images to show a progress bar.

    Raises:
        SettingsError: the predictor has more than two classes.
        SourceError: two images have one name, or one has a name that a spreadsheet would compute.
        StorageError: the file cannot be written.
    """
    if len(predictor.class_names) != 2:
        raise SettingsError(
            expected("the run", "one of two classes, since a row is one mask",
                     f"{len(predictor.class_names)} classes", "a run of background and one class")
        )  # fmt: skip
    _check_names(images)
    done = Submitted()

    def masks() -> Iterator[tuple[str, NDArray[np.uint8] | None]]:
        for image in progress(images, total=len(images), what="segmenting"):
            mask = _mask(predictor, image, done, seed=seed)
            done.rows += 1
            done.empty += mask is None or not mask.any()
            yield image.name, mask

    write_submission(path, masks(), one_size=False)
    return done


def _mask(
    predictor: ImagePredictor, image: NamedImage, done: Submitted, *, seed: int
) -> NDArray[np.uint8] | None:
    try:
        pixels = image.read()
        (prediction,) = predictor([pixels], seed=seed)
    except (ImageFileError, SourceError) as error:
        done.findings.append(Finding("unreadable", "error", (image.name,), str(error)))
        return None
    except NotFiniteError as error:
        text = f"{image.name}: {error}"
        done.findings.append(Finding("not-finite", "error", (image.name,), text))
        return None
    done.sizes.add((pixels.shape[0], pixels.shape[1]))
    return prediction.mask


def _check_names(images: Sequence[NamedImage]) -> None:
    """Refuse names that meet or are formulas, before the hours that the images may cost."""
    seen: set[str] = set()
    for image in images:
        check_row_name(image.name)
        if image.name in seen:
            raise SourceError(
                expected("the names of the images", "each there once", f"{image.name} twice",
                         "one folder at a time")
            )  # fmt: skip
        seen.add(image.name)
