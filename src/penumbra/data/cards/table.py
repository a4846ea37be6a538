"""The table of true corners that lies beside a set of card photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penumbra.data.tables import read_table
from penumbra.errors import SourceError, expected

SETTINGS_FILE = "id_cards.json"
CORNERS_FILE = "corners.csv"

CORNER_COLUMNS = ("tl_x", "tl_y", "tr_x", "tr_y", "br_x", "br_y", "bl_x", "bl_y")
"""The corners of the card as it reads, in pixels from the outer corner of the first pixel."""

_SHARES = ("outside", "covered", "glare", "blur", "motion")

COLUMNS = (
    "id", "group", "template", "background", "width", "height", *CORNER_COLUMNS, *_SHARES,
    "upside_down",
)  # fmt: skip
"""The head of ``corners.csv``: shares are of the card's area (outside) or of its part in the
frame (covered, glare), blur and motion in pixels, upside_down 0 or 1."""


@dataclass(frozen=True, eq=False)
class CardTruth:
    """What is known about one photograph.

    Attributes:
        id: of the sample.
        group: what it must be held out with.
        template: number of the card's template.
        background: number of the ground.
        size: (height, width) of the photograph.
        corners: (4, 2) TL, TR, BR, BL in pixels; they may lie outside the frame.
        upside_down: whether the card reads upside down.
    """

    id: str
    group: str
    template: int
    background: int
    size: tuple[int, int]
    corners: NDArray[np.float64]
    upside_down: bool


def read_corners(root: Path | str) -> dict[str, CardTruth]:
    """Read the true corners of a set of card photographs.

    Args:
        root: the set's folder.

    Returns:
        What is known about each photograph, by its id.

    Raises:
        SourceError: there is no such table, or a cell is no number.
    """
    path = Path(root) / CORNERS_FILE
    rows = read_table(path, COLUMNS)
    try:
        return {row["id"]: _truth(row) for row in rows}
    except ValueError as error:
        raise SourceError(
            expected(str(path), "a table of finite numbers", error, "making the set again")
        ) from error


def _truth(row: dict[str, str]) -> CardTruth:
    corners = np.array([float(row[name]) for name in CORNER_COLUMNS]).reshape(4, 2)
    if not np.isfinite(corners).all():
        raise ValueError(f"a corner that is not finite in {row['id']}")
    return CardTruth(
        id=row["id"],
        group=row["group"],
        template=int(row["template"]),
        background=int(row["background"]),
        size=(int(row["height"]), int(row["width"])),
        corners=corners,
        upside_down=row["upside_down"] == "1",
    )
