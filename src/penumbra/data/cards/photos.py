"""The user's own photographs as grounds for cards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.draws import Pixels
from penumbra.data.layouts.base import image_files
from penumbra.data.layouts.pixels import read_colour
from penumbra.data.sample import Finding
from penumbra.errors import ImageFileError, SourceError, expected


@dataclass(frozen=True)
class Photos:
    """Photographs that can be read, in natural order.

    Attributes:
        paths: their files.
        findings: about files that could not be read.
    """

    paths: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, folder: Path | str) -> Photos:
        """Find the photographs of a folder; each is read once, and left out where it cannot be.

        Raises:
            SourceError: the folder holds no photograph that can be read.
        """
        folder = Path(folder)
        paths, findings = [], []
        for path in image_files(folder) if folder.is_dir() else []:
            try:
                read_colour(path)
            except ImageFileError as error:
                findings.append(Finding("unreadable", "error", (path.name,), str(error)))
            else:
                paths.append(path)
        if not paths:
            got = f"{len(findings)} files that cannot be read" if findings else "no image"
            raise SourceError(
                expected(
                    f"--backgrounds {folder}",
                    "a folder with photographs (PNG, JPEG, TIFF …)",
                    got if folder.is_dir() else "no such folder",
                    "another folder, or no --backgrounds for grounds that are drawn",
                )
            )
        return cls(tuple(paths), tuple(findings))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> list[str]:
        """The files' names, by the number of the background."""
        return [path.name for path in self.paths]

    def read(self, number: int, frame: tuple[int, int]) -> Pixels:
        """Read a photograph as (h, w, 3) uint8, no larger than a frame needs.

        Args:
            number: of the photograph.
            frame: (width, height) of the frame that will be cut out of it.
        """
        image = _eight_bits(read_colour(self.paths[number]))
        scale = 1.25 * max(frame[0] / image.shape[1], frame[1] / image.shape[0])
        if scale < 1:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        return image


def _eight_bits(image: NDArray[np.generic]) -> Pixels:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image, dtype=np.uint8)
    values = image.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return np.asarray((255 * (values - low) / max(high - low, 1e-6)).astype(np.uint8))
