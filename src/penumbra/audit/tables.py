"""What an audit found, as tables: findings and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penumbra.audit.conflicts import Compared
from penumbra.data.sample import Finding
from penumbra.storage import atomic_path

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("a", "b", "level", "kind")
_WHOLE = ("turn", "shift_y", "shift_x", "area_a", "area_b")


def findings_frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """Give findings as a frame, one a row."""
    import pandas as pd  # noqa: PLC0415

    columns = ("kind", "severity", "samples", "message", "details")
    return pd.DataFrame([finding.to_json() for finding in findings], columns=list(columns))


def _rows(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    scores = ("dice", "iou", "area_ratio", "distance", "hd95")
    columns: dict[str, list[Any]] = {
        "a": [pair.a for pair in compared],
        "b": [pair.b for pair in compared],
        "level": [pair.level for pair in compared],
        "rms": [pair.rms for pair in compared],
    }
    for name in scores:
        columns[name] = [getattr(pair.disagreement, name, None) for pair in compared]
    columns["score"] = [pair.score for pair in compared]
    columns["kind"] = [pair.kind for pair in compared]
    columns["turn"] = [pair.turn for pair in compared]
    columns["shift_y"] = [pair.shift[0] for pair in compared]
    columns["shift_x"] = [pair.shift[1] for pair in compared]
    for place, name in enumerate(("area_a", "area_b")):
        columns[name] = [
            None if pair.disagreement is None else pair.disagreement.areas[place]
            for pair in compared
        ]
    return columns


def pairs_frame(compared: Sequence[Compared]) -> pd.DataFrame:
    """Give pairs of duplicates as a frame, one a row.

    Columns: ids ``a`` and ``b``; ``level``; ``rms`` of the images, 0–255; of the masks ``dice``,
    ``iou``, ``area_ratio``, ``distance`` and ``hd95`` (pixels) and ``score``, missing where there
    are not two; ``kind`` in words; ``turn``, ``shift_y`` and ``shift_x`` that lay b over a; and the
    areas of the masks in pixels.
    """
    import pandas as pd  # noqa: PLC0415

    types = {
        name: "string" if name in _TEXTS else "Int64" if name in _WHOLE else "float64"
        for name in _rows(())
    }
    return pd.DataFrame(_rows(compared)).astype(types)


def write_pairs(path: Path, compared: Sequence[Compared]) -> None:
    """Write the pairs as Parquet, atomically; see `pairs_frame` for the columns.

    Raises:
        StorageError: the file cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415  # tens of megabytes that reading findings does without
    from pyarrow import parquet  # noqa: PLC0415

    rows = _rows(compared)
    schema = pa.schema(
        [
            (
                name,
                pa.string() if name in _TEXTS else pa.int64() if name in _WHOLE else pa.float64(),
            )
            for name in rows
        ]
    )
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(rows, schema=schema), temporary)
