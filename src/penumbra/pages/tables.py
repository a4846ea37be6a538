"""Tables as words ready to be put into cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell: what it shows, what it sorts by, a small second line, and what pointing says."""

    text: str
    key: str = ""
    below: str = ""
    swatch: str = ""
    says: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading; `says` is shown when it is pointed at."""

    name: str
    says: str = ""
    numeric: bool = True
    swatch: str = ""


@dataclass(frozen=True)
class Table:
    """Columns, rows, how many rows there were before the table was cut, and closing rows."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int
    foot: tuple[tuple[Cell, ...], ...] = ()
