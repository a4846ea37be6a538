"""What an audit was made of: ``samples.parquet``, so that a stale audit is never used unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from penumbra.audit.facts import Scanned
from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.storage import atomic_path

SAMPLES = "samples.parquet"
"""The file's name in the folder of an audit."""

_Stamp = tuple[int, int, str]
"""Bytes of the image file, when it was changed (nanoseconds), and its SHA-256."""


def write_samples(path: Path, samples: Sequence[Scanned]) -> None:
    """Write one row a sample, atomically.

    Columns: ``id``; ``group`` and ``split``; ``height``, ``width``, ``channels``, ``dtype`` and
    ``format``, empty or 0 where the image could not be read; ``bytes``, ``modified_ns`` and
    ``sha256`` of its file; and ``foreground``, the mask's pixels of any class but 0, missing where
    there is no mask.

    Raises:
        StorageError: the file cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415  # tens of megabytes that reading findings does without
    from pyarrow import parquet  # noqa: PLC0415

    text, whole = pa.string(), pa.int64()
    columns = {
        "id": (text, [s.id for s in samples]),
        "group": (text, [s.group for s in samples]),
        "split": (text, [s.split for s in samples]),
        "height": (whole, [s.size[0] for s in samples]),
        "width": (whole, [s.size[1] for s in samples]),
        "channels": (whole, [s.channels for s in samples]),
        "dtype": (text, [s.dtype for s in samples]),
        "format": (text, [s.format for s in samples]),
        "bytes": (whole, [s.file_bytes for s in samples]),
        "modified_ns": (whole, [0 if s.changed else _modified(s.image) for s in samples]),
        "sha256": (text, [s.file_digest for s in samples]),
        "foreground": (whole, [None if s.mask is None else s.mask.foreground for s in samples]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    table = pa.table({name: values for name, (_, values) in columns.items()}, schema=schema)
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except (OSError, ValueError):
        return 0


def check_audited(folder: Path, source: Source) -> None:
    """Check that an audit is of these samples, as they are now.

    Every sample has to be among the audited ones, and its image file has to be the same: of equal
    size and time of change, or else of equal content. An audit may be of more samples.

    Args:
        folder: of the audit; one without `SAMPLES`, such as one with pairs made by hand, passes.
        source: that its pairs are to be used for.

    Raises:
        SourceError: samples are unknown to the audit, or their images changed since.
    """
    known = _read(folder / SAMPLES)
    if known is None:
        return
    new = [record.id for record in source.records if record.id not in known]
    changed = [r.id for r in source.records if r.id in known and not _same(r, known[r.id])]
    if not new and not changed:
        return
    if len(new) == len(source):
        got = f"one of {len(known)} other samples"
    else:
        parts = [(new, "unknown to it"), (changed, "changed since")]
        got = "one with " + " and ".join(
            f"{len(ids)} {says} ({some(ids)})" for ids, says in parts if ids
        )
    raise SourceError(
        expected(
            f"the audit in {folder}",
            f"of the {len(source)} samples of {source.name} as they are now",
            got,
            f"`penumbra audit {source.name} --out {folder}` again, or the folder of another audit",
        )
    )


def _same(record: Record, kept: _Stamp) -> bool:
    size, modified, digest = kept
    try:
        found = record.image.stat()
        if found.st_size != size:
            return False
        # Copied files have other times and the same content.
        return found.st_mtime_ns == modified or _digest(record.image) == digest
    except (OSError, ValueError):
        # It could not be read then either, or reading it will say what is wrong.
        return not digest


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read(path: Path) -> Mapping[str, _Stamp] | None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    names = ("id", "bytes", "modified_ns", "sha256")
    if not path.is_file():
        return None
    try:
        table = parquet.ParquetFile(path).read(columns=list(names))
        ids, *values = (table.column(name).to_pylist() for name in names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            expected(str(path), "the samples of an audit", str(error).splitlines()[0],
                     "auditing again")
        ) from error  # fmt: skip
    return dict(zip(ids, zip(*values, strict=True), strict=True))
