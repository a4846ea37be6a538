"""Filters that find edges: Sobel, Canny, Laplacian of Gaussian.

Strengths are scaled by the image itself, so that a faint radiograph and a bright micrograph both
show their edges: by the 99th percentile of all strengths, but no less than a tenth of the
greatest, so that the noise of an empty ground does not become edges, and no less than 10⁻⁵ of the
display range, so that rounding does not.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters.levels import blurred
from penumbra.imaging.filters.step import EdgeFilter, Levels

_LEAST = 1e-5
_FINE = 2048
"""Steps of a Canny gradient between nothing and the scale."""


def _scale(strength: NDArray[np.float32]) -> float:
    greatest = float(strength.max())
    return max(float(np.percentile(strength, 99.0)), greatest / 10, _LEAST)


def _gradient(grey: Levels, sigma: float) -> tuple[Levels, Levels]:
    """Give ∂/∂x and ∂/∂y in levels per pixel by Sobel's 3×3 kernels over 8."""
    smooth = np.ascontiguousarray(blurred(grey, sigma))
    dx, dy = (
        cv2.Sobel(smooth, cv2.CV_32F, *axes, ksize=3, scale=0.125, borderType=cv2.BORDER_REFLECT)
        for axes in ((1, 0), (0, 1))
    )
    return np.asarray(dx, dtype=np.float32), np.asarray(dy, dtype=np.float32)


def _length(dx: Levels, dy: Levels) -> Levels:
    return np.asarray(np.sqrt(dx * dx + dy * dy), dtype=np.float32)


class Sobel(EdgeFilter):
    """The gradient: √(gx² + gy²) of Sobel's 3×3 kernels, over the image's scale, at most 1.

    Attributes:
        sigma: of a Gaussian blur before it, in pixels; 0 is none.

    Examples:
        >>> step = np.repeat([[0, 0, 1, 1]], 4, axis=0).astype(np.float32)
        >>> Sobel().edges(step)[1].tolist()
        [0.0, 1.0, 1.0, 0.0]
    """

    name: ClassVar[str] = "sobel"
    sigma: float = Field(default=0.0, ge=0, le=32)

    def edges(self, grey: Levels) -> Levels:
        """Give the gradient's strength in 0–1, (H, W) float32."""
        strength = _length(*_gradient(grey, self.sigma))
        return np.asarray(np.minimum(strength / _scale(strength), 1.0), dtype=np.float32)


class Canny(EdgeFilter):
    """Canny's lines: crests of the gradient above `high`, followed down to `low`; 0 or 1.

    After [Canny 1986](https://doi.org/10.1109/TPAMI.1986.4767851): blurred by a Gaussian, the
    gradient by Sobel, kept where it is greatest across the edge, then hysteresis.

    Attributes:
        sigma: of the Gaussian in pixels.
        low: gradient that a line may fall to, as a share of the image's scale.
        high: gradient that a line must reach somewhere, as a share of the image's scale.
    """

    name: ClassVar[str] = "canny"
    sigma: float = Field(default=1.5, ge=0, le=32)
    low: float = Field(default=0.2, ge=0, le=1)
    high: float = Field(default=0.5, ge=0, le=1)

    def model_post_init(self, _context: Any) -> None:
        """Check the thresholds against each other.

        Raises:
            SettingsError: `low` is above `high`, or the mode has no use for a setting.
        """
        super().model_post_init(_context)
        if self.low > self.high:
            raise SettingsError(
                expected("`low` of the filter canny", f"at most `high`, which is {self.high}",
                         self.low, "low: 0.2 and high: 0.5")
            )  # fmt: skip

    def edges(self, grey: Levels) -> Levels:
        """Give 1 on an edge and 0 elsewhere, (H, W) float32."""
        dx, dy = _gradient(grey, self.sigma)
        scale = _scale(_length(dx, dy))
        whole = [
            np.clip(np.rint(d * (_FINE / scale)), -32767, 32767).astype(np.int16) for d in (dx, dy)
        ]
        # A threshold of 0 would make a line of every pixel of a constant image.
        low, high = (max(1.0, share * _FINE) for share in (self.low, self.high))
        lines = cv2.Canny(whole[0], whole[1], low, high, L2gradient=True)
        return np.asarray(lines, dtype=np.float32) / np.float32(255.0)


class LaplacianOfGaussian(EdgeFilter):
    """The strength |∇²(G_σ ∗ I)|, over the image's scale, at most 1.

    It is zero on an edge itself and great on both of its sides, and in blobs of radius √2 σ
    ([Marr and Hildreth 1980](https://doi.org/10.1098/rspb.1980.0020)).

    Attributes:
        sigma: of the Gaussian in pixels.
    """

    name: ClassVar[str] = "log"
    sigma: float = Field(default=2.0, ge=0.5, le=32)

    def edges(self, grey: Levels) -> Levels:
        """Give the strength in 0–1, (H, W) float32."""
        strength = np.abs(self.response(grey))
        return np.asarray(np.minimum(strength / _scale(strength), 1.0), dtype=np.float32)

    def response(self, grey: Levels) -> Levels:
        """Compute ∇²(G_σ ∗ I) with its sign, (H, W) float32, the kernels cut at 4σ."""
        radius = int(4 * self.sigma + 0.5)
        x = np.arange(-radius, radius + 1, dtype=np.float64)
        smooth = np.exp(-0.5 * (x / self.sigma) ** 2)
        smooth /= smooth.sum()
        second = (x**2 / self.sigma**4 - 1 / self.sigma**2) * smooth
        # Cut off, it no longer sums to zero, and a flat ground would seem curved.
        second -= smooth * second.sum()
        plane = np.ascontiguousarray(grey)
        along, across = (
            cv2.sepFilter2D(plane, cv2.CV_32F, kx, ky, borderType=cv2.BORDER_REFLECT)
            for kx, ky in ((second, smooth), (smooth, second))
        )
        return np.asarray(along + across, dtype=np.float32)
