"""CSV tables that come with data sets: read whole, checked, as plain dictionaries."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from penumbra.errors import SourceError, expected

MAX_BYTES = 2**30
"""The largest table that is read."""

_HEAD = 65_536


def read_table(
    path: Path, columns: Sequence[str], *, delimiters: str = ","
) -> list[dict[str, str]]:
    """Read a UTF-8 CSV file with a head line.

    Args:
        path: the file; a byte-order mark and any line ends are understood.
        columns: columns that must be there; others are kept too.
        delimiters: what may stand between cells; the one that the head line has most of counts.

    Returns:
        One dictionary per row; cells that a short row lacks are empty strings.

    Raises:
        SourceError: the file cannot be read, is no CSV in UTF-8, is over 1 GiB, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            _check_size(path)
            head_line = handle.readline(_HEAD)
            handle.seek(0)
            delimiter = max(delimiters, key=head_line.count)
            reader = csv.DictReader(handle, restval="", delimiter=delimiter)
            head = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            expected(str(path), "a CSV file in UTF-8", error, "exporting the table again")
        ) from error
    missing = [column for column in columns if column not in head]
    if missing:
        raise SourceError(
            expected(
                str(path),
                f"a CSV file with the columns {', '.join(columns)}",
                f"one with {', '.join(head) or 'no head line'}",
                f"adding {', '.join(missing)}",
            )
        )
    return rows


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SourceError(
            expected(
                str(path),
                f"at most {MAX_BYTES:,} bytes",
                f"{size:,}",
                "a table of its own per part",
            )
        )


def whole_number(path: Path, row: dict[str, str], column: str) -> int:
    """Read a cell as a whole number.

    Raises:
        SourceError: it is none; the text names file, column and cell.
    """
    try:
        return int(row[column])
    except ValueError as error:
        raise SourceError(
            expected(
                f"column {column} of {path}",
                "a whole number",
                repr(row[column]),
                "correcting the table",
            )
        ) from error
