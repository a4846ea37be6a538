"""A drawing with the words around it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading and its sentence; a wide one takes the room of two."""

    title: str
    says: str
    drawing: Markup
    legend: tuple[tuple[str, str], ...] = ()
    wide: bool = False
