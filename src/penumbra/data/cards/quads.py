"""Where the four corners of a photographed card lie: a description of real frames, drawn from.

A quadrilateral has eight numbers. With its mean corner c, half of its mean width u and half of
its mean height v as vectors, and the rest w that makes it no parallelogram,

    TL = c − u − v + w,  TR = c + u − v − w,  BR = c + u + v + w,  BL = c − u + v − w.

Described as centre, width |2u|, angle of u, ratio |u|/|v|, skew (the angle from u to v less 90°)
and w = p·u + q·v, the perspective: p > 0 where the far edge is at the bottom, q > 0 where it is
at the right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

PARTS = ("centre_x", "centre_y", "width", "angle", "ratio", "skew", "p", "q")
"""What a quadrilateral is described by; centres in units of the frame's width and height, the
card's width in units of the frame's width, angles in radians."""

LEVELS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
"""The quantiles that the description keeps of each part."""

_TRIES = 64
_MOST_OUTSIDE = 0.98


def parts_of(quads: Array, frame: tuple[float, float]) -> Array:
    """Describe quadrilaterals.

    Args:
        quads: (N, 4, 2) corners (x, y) in pixels: TL, TR, BR, BL.
        frame: (width, height) of the frame in pixels.

    Returns:
        (N, 8) in the order of `PARTS`.

    Examples:
        >>> box = np.array([[[10, 20], [70, 20], [70, 50], [10, 50]]])
        >>> parts_of(box, (100, 200)).round(3).tolist()
        [[0.4, 0.175, 0.6, 0.0, 2.0, 0.0, 0.0, 0.0]]
    """
    top_left, top_right, low_right, low_left = np.moveaxis(np.asarray(quads, np.float64), 1, 0)
    centre = (top_left + top_right + low_right + low_left) / 4
    u = (top_right - top_left + low_right - low_left) / 4
    v = (low_left - top_left + low_right - top_right) / 4
    w = (top_left - top_right + low_right - low_left) / 4
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    angle = np.arctan2(u[:, 1], u[:, 0])
    long, short = np.hypot(*u.T), np.hypot(*v.T)
    turned = np.arctan2(area, (u * v).sum(axis=1)) - np.pi / 2
    p = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
    q = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
    return np.stack(
        (centre[:, 0] / frame[0], centre[:, 1] / frame[1], 2 * long / frame[0], angle,
         long / short, turned, p, q),
        axis=1,
    )  # fmt: skip


def quads_of(parts: Array, frame: tuple[float, float]) -> Array:
    """Give the corners (N, 4, 2) in pixels that (N, 8) parts describe; inverse of `parts_of`."""
    x, y, width, angle, ratio, skew, p, q = np.asarray(parts, np.float64).T
    centre = np.stack([x * frame[0], y * frame[1]], axis=1)
    half = width * frame[0] / 2
    u = half[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = angle + skew + np.pi / 2
    v = (half / ratio)[:, None] * np.stack([np.cos(across), np.sin(across)], axis=1)
    w = p[:, None] * u + q[:, None] * v
    corners = [centre - u - v + w, centre + u - v - w, centre + u + v + w, centre - u + v - w]
    return np.stack(corners, axis=1)


def share_outside(quad: Array, frame: tuple[float, float]) -> float:
    """Give the share of a quadrilateral's area that lies outside the frame, in [0, 1].

    Args:
        quad: (4, 2) corners of a convex quadrilateral in pixels.
        frame: (width, height) in pixels.

    Examples:
        >>> share_outside(np.array([[-1, 0], [1, 0], [1, 1], [-1, 1]]), (4, 4))
        0.5
    """
    width, height = frame
    border = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    inside, _ = cv2.intersectConvexConvex(np.asarray(quad, dtype=np.float32), border)
    x, y = np.asarray(quad, dtype=np.float64).T
    whole = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
    return max(0.0, min(1.0, round(1 - float(inside) / float(whole), 6)))


@dataclass(frozen=True)
class Description:
    """How quadrilaterals are spread: quantiles of each part, and how the parts go together.

    Attributes:
        quantiles: (8, 9) rows by `PARTS`, columns by `LEVELS`.
        correlation: (8, 8) correlation of the parts' normal scores.
        source: where the described quadrilaterals come from.
    """

    quantiles: Array
    correlation: Array
    source: str

    @classmethod
    def of(cls, quads: Array, frame: tuple[float, float], source: str) -> Description:
        """Describe (N, 4, 2) corners seen in frames of one size, N ≥ 2."""
        parts = parts_of(quads, frame)
        ranks = parts.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        scores = ndtri((ranks + 0.5) / len(parts))
        quantiles = np.quantile(parts, LEVELS, axis=0).T
        return cls(quantiles, np.asarray(np.corrcoef(scores, rowvar=False)), source)

    def draw(self, rng: np.random.Generator, frame: tuple[float, float]) -> Array:
        """Draw one quadrilateral: a Gaussian copula under the quantiles, joined by straight lines.

        Args:
            rng: where the draw comes from.
            frame: (width, height) of the frame to draw for, in pixels.

        Returns:
            (4, 2) corners: TL, TR, BR, BL.
        """
        # An eigenvalue a rounding below zero is zero: Cholesky would refuse it.
        values, vectors = np.linalg.eigh(self.correlation)
        mixed = vectors @ (np.sqrt(np.clip(values, 0, None)) * rng.standard_normal(len(PARTS)))
        levels = ndtr(mixed)
        pairs = zip(levels, self.quantiles, strict=True)
        drawn = [np.interp(level, LEVELS, row) for level, row in pairs]
        return np.asarray(quads_of(np.array([drawn]), frame)[0])

    def to_json(self) -> dict[str, Any]:
        """Give the description for a JSON file."""
        return {
            "source": self.source,
            "levels": list(LEVELS),
            "quantiles": {
                name: [round(float(value), 4) for value in row]
                for name, row in zip(PARTS, self.quantiles, strict=True)
            },
            "correlation": [[round(float(value), 3) for value in row] for row in self.correlation],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Description:
        """Read what `to_json` gave."""
        quantiles = np.array([document["quantiles"][name] for name in PARTS], dtype=np.float64)
        correlation = np.array(document["correlation"], dtype=np.float64)
        return cls(quantiles, correlation, str(document["source"]))


def leaves(quad: Array, frame: tuple[float, float]) -> bool:
    """Say whether a corner lies outside a frame (width, height)."""
    return bool((np.asarray(quad) < 0).any() or (np.asarray(quad) > np.array(frame)).any())


@dataclass(frozen=True)
class Frames:
    """Frames as they were seen: those that hold the whole card, and those that it leaves.

    One description of both blurs the border between them, and too many cards would leave.

    Attributes:
        leaving: share of the frames that the card leaves, in [0, 1].
        whole: describes the quadrilaterals in the others.
        cut: describes the quadrilaterals in these.
    """

    leaving: float
    whole: Description
    cut: Description

    @classmethod
    def of(cls, quads: Array, frame: tuple[float, float], source: str) -> Frames:
        """Describe (N, 4, 2) corners; at least two must leave the frame and two must not."""
        out = np.array([leaves(quad, frame) for quad in quads])
        whole, cut = (Description.of(quads[part], frame, source) for part in (~out, out))
        return cls(float(out.mean()), whole, cut)

    def draw(self, rng: np.random.Generator, frame: tuple[float, float]) -> Array:
        """Draw the corners (4, 2) of one card, part of which is always in the frame."""
        wanted = bool(rng.uniform() < self.leaving)
        description = self.cut if wanted else self.whole
        for _ in range(_TRIES):
            quad = description.draw(rng, frame)
            if leaves(quad, frame) == wanted and share_outside(quad, frame) < _MOST_OUTSIDE:
                break
        return quad

    def to_json(self) -> dict[str, Any]:
        """Give the description for a JSON file."""
        parts = {"whole": self.whole.to_json(), "cut": self.cut.to_json()}
        return {"leaving": round(self.leaving, 4), **parts}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Frames:
        """Read what `to_json` gave."""
        whole, cut = (Description.from_json(document[name]) for name in ("whole", "cut"))
        return cls(float(document["leaving"]), whole, cut)


@cache
def described() -> Frames:
    """Give the description of MIDV-500's frames that comes with the package.

    Nine quantiles of each part and their correlations over 600 frames of two documents
    (``quads.json``, written by ``benchmarks/id_cards.py --describe``); it holds no frame's
    quadrilateral. Source: Arlazarov et al., MIDV-500, Computer Optics 43 (2019).
    """
    text = resources.files("penumbra.data.cards").joinpath("quads.json").read_text("utf-8")
    return Frames.from_json(json.loads(text))


@dataclass(frozen=True)
class Geometry:
    """Where the quadrilaterals of a set come from.

    Attributes:
        quads: real corners to choose from, each (4, 2) with its frame's (width, height); none
            draws from `described`.
        source: in words, for the record.
    """

    quads: Sequence[tuple[Array, tuple[float, float]]] = ()
    source: str = "description of MIDV-500"

    def draw(self, rng: np.random.Generator, frame: tuple[int, int]) -> Array:
        """Draw the corners (4, 2) of one card in pixels of a frame (width, height).

        A real quadrilateral is scaled by the frames' widths and keeps the relative place of its
        centre, so that it keeps its shape where the frames' ratios differ.
        """
        size = (float(frame[0]), float(frame[1]))
        if not self.quads:
            return described().draw(rng, size)
        quad, seen_in = self.quads[int(rng.integers(len(self.quads)))]
        return np.asarray(quads_of(parts_of(quad[None], seen_in), size)[0])
