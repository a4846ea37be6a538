"""Filters that change contrast: CLAHE, percentile window, unsharp mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters.equalise import equalised
from penumbra.imaging.filters.levels import blurred, luma
from penumbra.imaging.filters.step import ContrastFilter, Levels


class Clahe(ContrastFilter):
    """Contrast-limited adaptive histogram equalisation; see `equalised`.

    In a colour image the luma is equalised, and each channel moves by what the luma moved, so
    that colour differences stay.

    Attributes:
        clip: most that a bin of a tile's histogram may hold, over the mean of all bins; what is
            above is spread over all bins. 1 leaves the image nearly as it is.
        tiles: tiles along each side; fewer where a tile would be less than 8 pixels wide.
    """

    name: ClassVar[str] = "clahe"
    clip: float = Field(default=2.0, ge=1, le=256)
    tiles: int = Field(default=8, ge=1, le=64)

    def filtered(self, levels: Levels) -> Levels:
        """Equalise levels (H, W, C)."""
        grey = luma(levels)
        moved = equalised(grey, clip=self.clip, tiles=self.tiles) - grey
        return np.asarray(levels + moved[..., None], dtype=np.float32)


class Window(ContrastFilter):
    """The percentile window: (x − P_low) / (P_high − P_low), clipped to 0–1.

    The percentiles are taken over all channels together, so that colours keep their hue. Where
    they are equal, because the image is empty but for a few pixels, the least and the greatest
    level take their place; a constant image stays as it is.

    Attributes:
        low: percentile that becomes black.
        high: percentile that becomes white.
    """

    name: ClassVar[str] = "window"
    low: float = Field(default=0.5, ge=0, le=100)
    high: float = Field(default=99.5, ge=0, le=100)

    def model_post_init(self, _context: Any) -> None:
        """Check the percentiles against each other.

        Raises:
            SettingsError: `low` is not below `high`, or the mode has no use for a setting.
        """
        super().model_post_init(_context)
        if self.low >= self.high:
            raise SettingsError(
                expected("`low` of the filter window", f"below `high`, which is {self.high:g}",
                         f"{self.low:g}", "low: 0.5 and high: 99.5")
            )  # fmt: skip

    def filtered(self, levels: Levels) -> Levels:
        """Stretch levels (H, W, C)."""
        low, high = np.percentile(levels, (self.low, self.high))
        if high <= low:
            low, high = levels.min(), levels.max()
        if high <= low:
            return levels
        stretched = (levels - np.float32(low)) / np.float32(high - low)
        return np.asarray(np.clip(stretched, 0.0, 1.0), dtype=np.float32)


class Unsharp(ContrastFilter):
    """The unsharp mask: I + a (I − G_σ ∗ I), each channel for itself.

    Attributes:
        sigma: of the Gaussian in pixels.
        amount: a; 0 leaves the image as it is.
    """

    name: ClassVar[str] = "unsharp"
    sigma: float = Field(default=2.0, gt=0, le=32)
    amount: float = Field(default=1.0, ge=0, le=16)

    def filtered(self, levels: Levels) -> Levels:
        """Sharpen levels (H, W, C)."""
        detail = levels - blurred(levels, self.sigma)
        return np.asarray(levels + np.float32(self.amount) * detail, dtype=np.float32)
