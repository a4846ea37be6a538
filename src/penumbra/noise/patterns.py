"""Which noise: the pattern of a field, as plain settings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PatternName = Literal["gaussian", "lattice", "perlin", "simplex"]


class Pattern(BaseModel):
    """The pattern of a noise field.

    Attributes:
        name: ``gaussian`` (white), ``lattice`` (low-frequency), ``perlin`` or ``simplex``.
        length: correlation length in image pixels, the same at every level of a network: the
            side of a cell. White noise has none.
        octaves: how many fields of halved length are added up.
        persistence: amplitude of each octave relative to the one before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: PatternName = "lattice"
    length: float = Field(default=32.0, gt=0)
    octaves: int = Field(default=1, ge=1, le=8)
    persistence: float = Field(default=0.5, gt=0, le=1)
