"""Was something said to be there where something is, and nothing where nothing is?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penumbra.pages.tables import Cell, Column, Table
from penumbra.pages.words import count, is_number, number, spread

Presence = Mapping[str, Mapping[str, Any]]

_ROWS = (("present", "dice_present"), ("absent", "specificity"))
_SAID = "images whose mask has pixels of the class"


def table(presence: Presence) -> Table | None:
    """Give the confusion table, two rows for each class; ``None`` where nothing was counted."""
    if not presence:
        return None
    columns = (
        Column("Class", numeric=False),
        Column("Truth", numeric=False),
        Column("said present", _SAID),
        Column("said absent", "images whose mask has none"),
        Column("Dice", "mean over these images; 1 where truth and mask are both empty"),
    )
    rows = []
    for name, found in presence.items():
        for truth, score in _ROWS:
            counted, dice = found["table"][f"truth_{truth}"], found[score]
            numbers = [counted["predicted_present"], counted["predicted_absent"]]
            cells = [Cell(str(n), repr(float(n))) for n in numbers]
            key = repr(float(dice["mean"])) if is_number(dice["mean"]) else ""
            last = Cell(number(dice["mean"]), key, below=spread(dice))
            rows.append((Cell(name, name), Cell(truth, truth), *cells, last))
    return Table(columns, tuple(rows), len(rows))


def sentence(presence: Presence) -> str:
    r"""Say what the rule of the challenge gives, for a set of one foreground class.

    Examples:
        >>> class_ = {"n_images": 4, "dice": {"mean": 0.7}, "table": {
        ...     "truth_present": {"predicted_present": 2, "predicted_absent": 0},
        ...     "truth_absent": {"predicted_present": 1, "predicted_absent": 1}}}
        >>> sentence({"nerve": class_})
        'Mean Dice over images, empty against empty being 1: 0.700. Of 2 images without nerve, 1 was left empty.'
    """  # noqa: E501 - a doctest's line
    if len(presence) != 1:
        return ""
    ((name, found),) = presence.items()
    absent = found["table"]["truth_absent"]
    left, every = absent["predicted_absent"], sum(absent.values())
    mean = number(found["dice"]["mean"])
    says = f"Mean Dice over images, empty against empty being 1: {mean}."
    if not every:
        return says
    was = "was" if left == 1 else "were"
    return f"{says} Of {count(every, 'image')} without {name}, {left} {was} left empty."
