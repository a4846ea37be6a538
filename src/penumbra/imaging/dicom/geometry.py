"""Where a frame lies in the patient, and where one frame's pixels fall on another's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penumbra.imaging.dicom.elements import Elements
from penumbra.imaging.dicom.header import scopes

Vector = NDArray[np.float64]

_PARALLEL = 1e-3
_SAME_PLANE = 0.5
"""Millimetres between planes up to which, at least, two frames are taken for the same slice."""


@dataclass(frozen=True)
class Plane:
    """A frame's place in the patient (PS3.3 C.7.6.2.1.1), in millimetres.

    Attributes:
        origin: (3,) centre of the first pixel.
        along_row: (3,) unit vector in which columns are counted.
        along_column: (3,) unit vector in which rows are counted.
        spacing: millimetres between rows and between columns.
        thickness: of the slice; 0 where unknown.
    """

    origin: Vector
    along_row: Vector
    along_column: Vector
    spacing: tuple[float, float]
    thickness: float = 0.0

    @property
    def normal(self) -> Vector:
        """(3,) unit vector across the plane."""
        return np.cross(self.along_row, self.along_column)

    def is_same_slice(self, other: Plane) -> bool:
        """Tell whether two frames are parallel and not further apart than half a slice."""
        if abs(abs(float(self.normal @ other.normal)) - 1.0) > _PARALLEL:
            return False
        apart = abs(float(self.normal @ (other.origin - self.origin)))
        return apart <= max(_SAME_PLANE, min(self.thickness, other.thickness) / 2)

    def pixels_on(self, target: Plane, size: tuple[int, int]) -> tuple[Vector, Vector]:
        """Give where the pixels of `target` fall in this frame.

        Args:
            target: the frame whose pixels are asked about.
            size: its (height, width).

        Returns:
            Rows and columns in this frame, each of shape `size`, not rounded.
        """
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
        points = (
            target.origin
            + columns[..., None] * target.spacing[1] * target.along_row
            + rows[..., None] * target.spacing[0] * target.along_column
        ) - self.origin
        return (
            points @ self.along_column / self.spacing[0],
            points @ self.along_row / self.spacing[1],
        )


def plane_of(elements: Elements, frame: int) -> Plane | None:
    """Read where a frame lies; ``None`` where the file does not say, or not sensibly."""
    position = _first(elements, frame, "PlanePositionSequence", "ImagePositionPatient")
    directions = _first(elements, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _first(elements, frame, "PixelMeasuresSequence", "PixelSpacing")
    thickness = _first(elements, frame, "PixelMeasuresSequence", "SliceThickness")
    known = len(position) == 3 and len(directions) == 6 and len(spacing) == 2
    if not known or not all(map(math.isfinite, (*position, *directions, *spacing))):
        return None
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(spacing) <= 0 or min(lengths) < 0.5:
        return None
    return Plane(
        np.array(position, dtype=np.float64),
        along_row / lengths[0],
        along_column / lengths[1],
        (float(spacing[0]), float(spacing[1])),
        float(thickness[0]) if thickness and math.isfinite(thickness[0]) else 0.0,
    )


def _first(elements: Elements, frame: int, group: str, keyword: str) -> tuple[float, ...]:
    found = (scope.numbers(keyword) for scope in scopes(elements, frame, group))
    return next((values for values in found if values), ())
