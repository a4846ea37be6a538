"""What every filter of a chain has: a name, settings, and a mode of use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_serializer

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters.levels import luma

Mode = Literal["replace", "blend", "channels", "prompt"]
Levels = NDArray[np.float32]
DEFAULT_WEIGHT = 0.5
DEFAULT_POINTS = 3


class Filter(BaseModel, ABC):
    """One filter and how it is used.

    Attributes:
        mode: ``replace``: the filtered image takes the image's place. ``blend``: the sum
            (1 − λ) · image + λ · filtered. ``channels``: three channels, (luma, luma with its
            contrast raised, edges): the filter fills its own place, and CLAHE or Sobel with
            their defaults the other. ``prompt``: pixels stay, and the edges become a prompt.
        weight: λ of ``blend``, 0–1, 0.5 where it is not said; for no other mode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: ClassVar[str]
    # Which fields a mode of use has beyond the filter's own; all others are left out of the text.
    fields_of_modes: ClassVar[dict[str, Mode]] = {"weight": "blend"}

    mode: Mode = "replace"
    weight: float | None = Field(default=None, ge=0, le=1)

    def model_post_init(self, _context: Any) -> None:
        """Refuse settings that the mode has no use for, and say the defaults of those it has.

        Raises:
            SettingsError: such a setting is given.
        """
        self._default(weight=DEFAULT_WEIGHT)
        for field, mode in self.fields_of_modes.items():
            if self.mode != mode and getattr(self, field) is not None:
                raise SettingsError(
                    expected(f"`{field}` of the filter {self.name}", f"there in mode: {mode} only",
                             f"mode: {self.mode}", f"mode: {mode}, or leaving {field} out")
                )  # fmt: skip

    def _default(self, **values: Any) -> None:
        """Say settings that were left out, so that equal filters are written alike."""
        for field, value in values.items():
            if self.mode == self.fields_of_modes[field] and getattr(self, field) is None:
                object.__setattr__(self, field, value)

    @abstractmethod
    def filtered(self, levels: Levels) -> Levels:
        """Filter levels (H, W, C) in 0–1; the result has the same shape and may leave 0–1."""

    @abstractmethod
    def stacked(self, grey: Levels, contrast: Filter, edge: Filter) -> tuple[Levels, Levels]:
        """Give the planes (contrast, edge) of ``channels``, each (H, W), of the luma (H, W)."""

    def changed(self, levels: Levels, *, contrast: Filter, edge: Filter) -> Levels:
        """Use the filter as its mode says.

        Args:
            levels: (H, W, C) float32 in 0–1.
            contrast: what raises the contrast in ``channels`` where this filter finds edges.
            edge: what finds edges in ``channels`` where this filter raises the contrast.

        Returns:
            Levels of the same shape, clipped to 0–1; (H, W, 3) in ``channels``.
        """
        if self.mode == "prompt":
            return levels
        if self.mode == "channels":
            grey = luma(levels)
            changed = np.stack([grey, *self.stacked(grey, contrast, edge)], axis=2)
        elif self.mode == "blend":
            share = np.float32(DEFAULT_WEIGHT if self.weight is None else self.weight)
            changed = (1 - share) * levels + share * np.clip(self.filtered(levels), 0.0, 1.0)
        else:
            changed = self.filtered(levels)
        return np.asarray(np.clip(changed, 0.0, 1.0), dtype=np.float32)

    def described(self) -> dict[str, Any]:
        """Give every setting that is in force as plain values, defaults included."""
        document: dict[str, Any] = {}
        for field in type(self).model_fields:
            mode = self.fields_of_modes.get(field)
            if mode is None or mode == self.mode:
                document[field] = getattr(self, field)
        return document

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        return {self.name: self.described()}


class EdgeFilter(Filter):
    """A filter that finds edges, in the luma of a colour image.

    Attributes:
        form: of the prompt in ``prompt``: a ``mask`` (as where it is not said) or ``points``.
        points: how many points each prompt has, with ``form: points``; 3 where it is not said.
    """

    fields_of_modes: ClassVar[dict[str, Mode]] = {
        "weight": "blend",
        "form": "prompt",
        "points": "prompt",
    }

    form: Literal["mask", "points"] | None = None
    points: int | None = Field(default=None, ge=1, le=32)

    def model_post_init(self, _context: Any) -> None:
        """Refuse settings that the mode has no use for, and say the defaults of those it has.

        Raises:
            SettingsError: such a setting is given.
        """
        super().model_post_init(_context)
        self._default(form="mask")
        if self.form == "mask" and self.points is not None:
            raise SettingsError(
                expected(f"`points` of the filter {self.name}", "there with form: points only",
                         "form: mask", "form: points, or leaving points out")
            )  # fmt: skip
        if self.form == "points":
            self._default(points=DEFAULT_POINTS)

    @abstractmethod
    def edges(self, grey: Levels) -> Levels:
        """Give the strength of the edges in 0–1, (H, W) float32, of levels (H, W)."""

    def filtered(self, levels: Levels) -> Levels:
        """Give the edges of the luma in every channel."""
        found = self.edges(np.ascontiguousarray(luma(levels)))
        return np.repeat(found[..., None], levels.shape[2], axis=2)

    def stacked(self, grey: Levels, contrast: Filter, edge: Filter) -> tuple[Levels, Levels]:  # noqa: ARG002 - this is the edge filter
        """Give (the other filter's contrast, own edges)."""
        return contrast.filtered(grey[..., None])[..., 0], self.edges(np.ascontiguousarray(grey))

    def described(self) -> dict[str, Any]:
        """Give every setting that is in force as plain values, defaults included."""
        document = super().described()
        if self.form == "mask":
            del document["points"]
        return document


class ContrastFilter(Filter):
    """A filter that changes contrast and keeps the image an image; no prompt comes of it."""

    def model_post_init(self, _context: Any) -> None:
        """Refuse settings that the mode has no use for, and the mode ``prompt``.

        Raises:
            SettingsError: such a setting is given.
        """
        super().model_post_init(_context)
        if self.mode == "prompt":
            raise SettingsError(
                expected("the filter of mode: prompt", "sobel, canny or log, which find edges",
                         self.name, "{sobel: {mode: prompt}}")
            )  # fmt: skip

    def stacked(self, grey: Levels, contrast: Filter, edge: Filter) -> tuple[Levels, Levels]:  # noqa: ARG002 - this is the contrast filter
        """Give (own contrast, the other filter's edges)."""
        own = self.filtered(grey[..., None])[..., 0]
        return own, edge.filtered(grey[..., None])[..., 0]
