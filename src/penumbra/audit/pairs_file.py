"""The pairs of duplicates that an audit wrote: ``pairs.parquet``."""

from __future__ import annotations

from pathlib import Path

from penumbra.audit.placement import Duplicate
from penumbra.errors import SourceError, expected

PAIRS = "pairs.parquet"
"""The file's name in the folder of an audit."""

_COLUMNS = ("a", "b", "level", "rms")
_PLACED = ("turn", "shift_y", "shift_x")


def read_pairs(path: str | Path) -> tuple[Duplicate, ...]:
    """Read the pairs of an audit.

    Args:
        path: ``pairs.parquet``, or the folder that holds it.

    Raises:
        SourceError: the file is missing, no Parquet file, or not that of an audit.
    """
    import pyarrow as pa  # noqa: PLC0415  # 40 MB that most of the audit does without
    from pyarrow import parquet  # noqa: PLC0415

    file = Path(path) / PAIRS if Path(path).is_dir() else Path(path)
    try:
        table = parquet.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise SourceError(
            expected(str(file), "the pairs of an audit", reason.splitlines()[0],
                     "the folder that `penumbra audit SOURCE --out DIR` wrote")
        ) from error  # fmt: skip
    lacking = [name for name in _COLUMNS if name not in table.column_names]
    if lacking:
        raise SourceError(
            expected(str(file), f"a table with the columns {', '.join(_COLUMNS)}",
                     f"one without {', '.join(lacking)}", "auditing again")
        )  # fmt: skip
    columns = [table.column(name).to_pylist() for name in _COLUMNS]
    places = [
        table.column(name).to_pylist() if name in table.column_names else [0] * table.num_rows
        for name in _PLACED
    ]
    return tuple(
        Duplicate(str(a), str(b), str(level), float(rms), (int(turn), int(dy), int(dx)))
        for a, b, level, rms, turn, dy, dx in zip(*columns, *places, strict=True)
    )
