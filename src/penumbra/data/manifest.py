"""The manifest: a table that pins which sample of which source is in which split."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from penumbra.data.assignment import SPLITS, Assignment, checked_split, select
from penumbra.data.corrected import corrected_mask_of, with_corrected_masks
from penumbra.data.layouts.catalogue import layout_named
from penumbra.data.sample import Split
from penumbra.data.source import Source
from penumbra.data.tables import read_table, whole_number
from penumbra.errors import SourceError, expected
from penumbra.storage import write_text

__all__ = [
    "COLUMNS",
    "Assignment",
    "is_manifest",
    "read_assignment",
    "read_manifest",
    "select",
    "write_manifest",
]

COLUMNS = ("id", "group", "split", "fold", "layout", "root", "target", "image")
"""The columns of a manifest; `image` is relative to `root`, and `root` to the manifest."""

MASK = "mask"
"""A further column, where masks were corrected: a file of class indices relative to the manifest,
empty where the mask is the data set's own."""

_Row = dict[str, str]


def is_manifest(path: str | Path) -> bool:
    """Tell whether a path is an existing CSV file."""
    file = Path(path)
    return file.suffix.lower() == ".csv" and file.is_file()


def write_manifest(
    path: str | Path, source: Source, assignment: Assignment, *, unassigned: bool = False
) -> None:
    """Write which sample is in which split, one row per assigned sample in the source's order.

    The root is written relative to the manifest where both lie on one drive, with forward slashes,
    so that the two can be moved together.

    Args:
        path: the CSV file; its folder is made.
        source: what was split.
        assignment: its splits; samples that it does not name are left out.
        unassigned: write samples that it does not name all the same, with an empty split.

    Raises:
        SourceError: the assignment names a sample that the source does not have.
        StorageError: the file cannot be written.
    """
    file = Path(path)
    unknown = set(assignment.splits) - {record.id for record in source.records}
    if unknown:
        raise SourceError(
            expected(
                "every id of the split",
                f"a sample of {source.name}",
                f"{sorted(unknown)[:3]}",
                "splitting this source again",
            )
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    corrected = {record.id: corrected_mask_of(record) for record in source.records}
    has_masks = any(corrected.values())
    writer.writerow((*COLUMNS, MASK) if has_masks else COLUMNS)
    root = _relative(source.root, file.parent)
    for record in source.records:
        if record.id not in assignment.splits and not unassigned:
            continue
        fold = "" if assignment.folds is None else assignment.folds.get(record.id, "")
        image, mask = _relative(record.image, source.root), corrected[record.id]
        writer.writerow(
            (
                record.id,
                record.group,
                assignment.splits.get(record.id, ""),
                fold,
                source.layout,
                root,
                source.target or "",
                image,
                *((_relative(mask, file.parent) if mask else "",) if has_masks else ()),
            )
        )
    write_text(file, text.getvalue())


def read_assignment(path: str | Path) -> Assignment:
    """Read the splits and folds of a manifest alone; its data need not be there.

    Raises:
        SourceError: the file cannot be read or is no manifest.
    """
    file = Path(path)
    rows = read_table(file, COLUMNS)
    _check(file, rows)
    return _assignment(file, rows)


def read_manifest(
    path: str | Path, *, target: str | None = None, class_names: Sequence[str] | None = None
) -> tuple[Source, Assignment]:
    """Open the source that a manifest describes, restricted to and ordered by its rows.

    Groups are taken from the manifest: an audit may have merged groups there. So are masks that
    were corrected (column `mask`). A row whose split is empty is in the source and in no split.

    Args:
        path: what `write_manifest` wrote.
        target: what the masks are expected to show; the manifest's own where not given.
        class_names: names for the classes, where the layout lets them be given.

    Returns:
        The source, and the splits with folds where the manifest has them.

    Raises:
        SourceError: the file cannot be read, a column is missing, it has no row, an id occurs
            twice, a split is unknown, the target is another, the root is gone, or samples are gone
            from it.
    """
    file = Path(path)
    rows = read_table(file, COLUMNS)
    _check(file, rows)
    if target is not None and target != rows[0]["target"]:
        raise SourceError(
            expected(
                f"the target for {file}",
                f"that of the manifest, {rows[0]['target'] or 'which names none'}",
                repr(target),
                "leaving --target out, or splitting the source with the other target",
            )
        )
    source = _opened(file, rows[0], None if class_names is None else tuple(class_names))
    records = {record.id: record for record in source.records}
    gone = [row["id"] for row in rows if row["id"] not in records]
    if gone:
        raise SourceError(
            expected(
                f"every id of {file}",
                f"a sample of {source.name}",
                f"{len(gone)} that are gone, such as {gone[0]!r}",
                "restoring the files, or splitting again",
            )
        )
    chosen = tuple(
        replace(
            records[row["id"]],
            group=row["group"] or row["id"],
            split=checked_split(row["split"]) if row["split"] else None,
        )
        for row in rows
    )
    masks = {row["id"]: _beside(file, row[MASK]) for row in rows if row.get(MASK)}
    assignment = _assignment(file, rows)
    pinned = replace(source, records=chosen, pinned=bool(assignment.splits))
    return with_corrected_masks(pinned, masks), assignment


def _assignment(file: Path, rows: list[_Row]) -> Assignment:
    splits: dict[str, Split] = {
        row["id"]: checked_split(row["split"]) for row in rows if row["split"]
    }
    return Assignment(splits, _folds(file, rows))


def _check(file: Path, rows: list[_Row]) -> None:
    if not rows:
        raise SourceError(
            expected(str(file), "a manifest with a row per sample", "no row", "splitting again")
        )
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise SourceError(
            expected(
                f"every id of {file}",
                "there once",
                f"{len(repeated)} repeated, such as {repeated[0]!r}",
                "removing the repeated rows",
            )
        )
    unknown = sorted({row["split"] for row in rows if row["split"]} - set(SPLITS))
    if unknown:
        raise SourceError(
            expected(
                f"every split of {file}",
                f"one of {', '.join(SPLITS)}",
                ", ".join(map(repr, unknown[:3])),
                "correcting the column split",
            )
        )
    if len({(row["layout"], row["root"], row["target"]) for row in rows}) > 1:
        raise SourceError(
            expected(
                f"layout, root and target of {file}",
                "the same in every row",
                "several",
                "one manifest per source",
            )
        )


def _opened(file: Path, row: _Row, class_names: tuple[str, ...] | None) -> Source:
    root = _beside(file, row["root"])
    if not root.is_dir():
        raise SourceError(
            expected(
                f"the root of {file}",
                "a folder",
                f"{row['root']!r}, that is {root}, which is not there",
                "moving the manifest together with its data, or correcting the column root",
            )
        )
    layout = layout_named(row["layout"])
    return layout.open(root, target=row["target"] or None, class_names=class_names)


def _folds(file: Path, rows: list[_Row]) -> dict[str, int] | None:
    if not any(row["fold"] for row in rows):
        return None
    return {row["id"]: whole_number(file, row, "fold") for row in rows if row["split"]}


def _beside(file: Path, written: str) -> Path:
    # An absolute path stays as it is: joining a path to an absolute one gives the latter.
    return Path(os.path.normpath(file.parent / Path(PurePosixPath(written))))


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        # On Windows nothing on another drive has a relative path.
        return path.resolve().as_posix()
