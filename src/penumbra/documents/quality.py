"""How far a straight crop can be trusted: one number, the parts it comes from, and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.documents.corners import Corners
from penumbra.documents.hidden_side import placement_doubt
from penumbra.documents.outline import Area
from penumbra.documents.quad import (
    Quad,
    along_side,
    area_in_frame,
    area_of,
    distances_to,
    fill_quad,
    shown_share,
)
from penumbra.documents.settings import RectifySettings

BLUR_WIDTH = 428
"""Longer side in pixels that a crop is brought to before its sharpness is measured: 5 per mm."""

_SATURATED = 254 / 255

_SPOT = 0.035
"""Of a crop's longer side, 3 mm of ID-1: saturated paper between letters is no glare."""


class Ramp(NamedTuple):
    """From a measured value to a part in [0, 1]: 0 at `worst`, 1 at `best`, straight between."""

    worst: float
    best: float
    complaint: str

    def __call__(self, value: float) -> float:
        """Give the part of a measured value."""
        return float(np.clip((value - self.worst) / (self.best - self.worst), 0.0, 1.0))


RAMPS: Mapping[str, Ramp] = {
    "convexity": Ramp(0.75, 0.95, "the outline is dented: it fills {:.0%} of its convex hull"),
    "agreement": Ramp(
        0.70, 0.92, "four sides do not describe it: their IoU with the mask is {:.2f}"
    ),
    "straightness": Ramp(0.020, 0.006, "its sides are bent: by {:.1%} of its diagonal"),
    # Of the cards that MIDV-500's frames hold whole, none is off by more than 4 %.
    "ratio": Ramp(0.18, 0.06, "its sides are not as a card's: the ratio is off by {:.0%}"),
    "support": Ramp(0.20, 0.60, "a side is hidden: {:.0%} of it is seen"),
    "inside": Ramp(0.55, 0.95, "it leaves the frame: {:.0%} of it is inside"),
    "placement": Ramp(
        0.12,
        0.04,
        "where its side outside the frame is cannot be told: {:.0%} of its diagonal are open",
    ),
    "sharpness": Ramp(0.002, 0.010, "the crop is blurred: its sharpness is {:.4f}"),
    "glare": Ramp(0.40, 0.05, "glare hides it: {:.0%} of the crop is saturated"),
    "certainty": Ramp(0.70, 0.30, "its border is in doubt: by {:.0%} of the most there can be"),
}
"""What is measured, from where to where it counts, and how it is said when it is not enough."""


@dataclass(frozen=True)
class Quality:
    """How far a crop can be trusted.

    Attributes:
        parts: name → share in [0, 1], see `RAMPS`.
        measured: name → the value that the part comes from.
    """

    parts: Mapping[str, float]
    measured: Mapping[str, float]

    @property
    def score(self) -> float:
        """The least part, in [0, 1]: one fault is enough to spoil a crop."""
        return min(self.parts.values())

    def reasons(self, limit: float) -> tuple[str, ...]:
        """Say which parts are below a limit, the worst first."""
        below = [name for name in self.parts if self.parts[name] < limit]
        ordered = sorted(below, key=lambda name: self.parts[name])
        return tuple(RAMPS[name].complaint.format(self.measured[name]) for name in ordered)

    def to_json(self) -> dict[str, Any]:
        """Give the score, its parts and what they come from."""
        return {"score": self.score, "parts": dict(self.parts), "measured": dict(self.measured)}


def quality_of(measured: Mapping[str, float]) -> Quality:
    """Turn measured values into parts.

    Examples:
        >>> quality_of({"inside": 0.75}).reasons(0.6)
        ('it leaves the frame: 75% of it is inside',)
    """
    return Quality({name: RAMPS[name](value) for name, value in measured.items()}, dict(measured))


def measure_shape(area: Area, corners: Corners, settings: RectifySettings) -> dict[str, float]:
    """Measure how much like a card's photograph an area and its quad are.

    Returns:
        ``convexity``: pixels of the area over those of its convex hull. ``agreement``: IoU of
        quad, cut off at the frame, and area. ``straightness``: median distance of the outline
        from the quad's sides over the quad's diagonal. ``ratio``: |ln(true ratio / expected)|.
        ``support``: of the side that is seen least, the share of its length inside the frame
        with outline near it. ``inside``: share of the quad's area inside the frame.
        ``placement``, only where a side was placed by the ratio: see `placement_doubt`.
    """
    quad, size = corners.points, area.inside.shape
    drawn = fill_quad(quad, (size[0], size[1]))
    union = int((drawn | area.inside).sum())
    diagonal = float(np.hypot(*(quad[[2, 3]] - quad[[0, 1]]).T).mean())
    away = float(np.median(distances_to(area.outline, quad))) if len(area.outline) else np.inf
    longer = max(corners.ratio, 1 / corners.ratio)
    # One whole side may be cut off by the frame; `inside` says how much that takes away.
    shown = [side for side in range(4) if shown_share(quad, side, size) > 0]
    seen = [_support(area, quad, side, diagonal) for side in shown]
    hidden = [side for side in range(4) if side not in shown]
    placed = [placement_doubt(quad, side, size, settings.ratio) for side in hidden]
    return {
        "convexity": area.solidity,
        "agreement": int((drawn & area.inside).sum()) / max(union, 1),
        "straightness": away / diagonal,
        "ratio": abs(float(np.log(longer / settings.ratio))),
        "support": min(seen) if len(seen) > 2 else 0.0,
        "inside": area_in_frame(quad, (size[0], size[1])) / area_of(quad),
        **({"placement": max(placed)} if placed else {}),
    }


def _support(area: Area, quad: Quad, side: int, diagonal: float) -> float:
    """Give the share of a side in the frame that has outline near it; 0 where none is inside."""
    height, width = area.inside.shape
    along, off, length = along_side(area.outline, quad, side)
    count = int(np.clip(length / 3, 8, 100))
    middles = (np.arange(count) + 0.5) / count
    places = quad[side] + middles[:, None] * (quad[(side + 1) % 4] - quad[side])
    within = (places > 2).all(axis=1) & (places < np.array([width, height]) - 2).all(axis=1)
    near = (np.abs(off) <= max(0.006 * diagonal, 2.0)) & (along >= 0) & (along < 1)
    seen = np.zeros(count, dtype=bool)
    seen[(along[near] * count).astype(int)] = True
    return float(seen[within].mean()) if within.any() else 0.0


def border_doubt(doubt: NDArray[np.floating], quad: Quad, *, most: float) -> float:
    """Compute the mean doubt along a quad's border, as a share of the most there can be.

    The band reaches 2 % of the diagonal to both sides: at the border itself every network is in
    doubt, and a sharp border is one whose doubt stays there.

    Args:
        doubt: (H, W) such as an entropy.
        quad: (4, 2) corners.
        most: the doubt's upper bound, such as ln C.

    Returns:
        A share in [0, 1]; 1 where no border is in the frame.
    """
    diagonal = float(np.hypot(*(quad[2] - quad[0])))
    width = max(3, 2 * round(0.02 * diagonal) + 1)
    band = np.zeros(doubt.shape, dtype=np.uint8)
    points = np.clip(np.rint(quad - 0.5), -(2**14), 2**14).astype(np.int32)
    cv2.polylines(band, [points], isClosed=True, color=1, thickness=min(width, 255))
    return float(doubt[band > 0].mean(dtype=np.float64) / most) if band.any() else 1.0


def measure_crop(crop: NDArray[np.generic], known: NDArray[np.bool_]) -> dict[str, float]:
    """Measure a crop as a picture.

    Returns:
        ``sharpness``: variance of the Laplacian over the variance of the grey values, at
        `BLUR_WIDTH`, so that neither contrast nor resolution of the file count; 0 of a crop of
        one grey. ``glare``: share of pixels in spots of at least 3 × 3 mm (of ID-1) that are
        saturated in every channel.
    """
    unit = as_unit(crop)
    bright = _opened((unit >= _SATURATED).all(axis=2) & known)
    grey = unit.mean(axis=2, dtype=np.float32)
    scale = BLUR_WIDTH / max(grey.shape)
    size = (max(3, round(grey.shape[1] * scale)), max(3, round(grey.shape[0] * scale)))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    seen = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    # The edge of what is known is no detail of the card.
    inner = cv2.erode(seen, np.ones((5, 5), np.uint8), borderValue=0) > 0
    spread = float(grey[inner].var(dtype=np.float64)) if inner.any() else 0.0
    detail = cv2.Laplacian(grey, cv2.CV_32F)[inner]
    sharp = float(detail.var(dtype=np.float64)) / spread if spread > 1e-6 else 0.0
    return {"sharpness": sharp, "glare": float(bright.sum() / max(int(known.sum()), 1))}


def _opened(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the parts of a mask that a square spot fits into."""
    side = max(3, round(_SPOT * max(bright.shape)))
    square = np.ones((side, side), np.uint8)
    kept = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, square)
    return np.asarray(kept > 0)


def as_unit(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Bring pixels to [0, 1]: 8 and 16 bits by their range, others by their largest value above 1.

    Examples:
        >>> as_unit(np.array([0.25, 0.5])).tolist(), as_unit(np.array([50.0, 200.0])).tolist()
        ([0.25, 0.5], [0.25, 1.0])
    """
    unit = np.asarray(image, dtype=np.float32)
    most = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(image.dtype)
    if most is None:
        most = max(1.0, float(unit.max(initial=0)))
    return np.asarray(unit / np.float32(most), dtype=np.float32)
