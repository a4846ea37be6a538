"""File stems that every file system takes, for ids that came from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

from penumbra.data.sample import Record

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_MOST_BYTES = 200


def safe_stem(name: str) -> str:
    """Turn a name into a file stem that Linux, macOS and Windows take.

    Characters that Windows forbids become ``_``; names that it reserves, names that begin with a
    dot, and dots and blanks at the end are mended; long names are cut to 200 bytes.

    Examples:
        >>> safe_stem("a/b: c?"), safe_stem("CON"), safe_stem("..")
        ('a_b_ c_', '_CON', '_')
    """
    stem = _FORBIDDEN.sub("_", name)
    cut = stem.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore").rstrip(". ")
    if not cut or cut.startswith(".") or _RESERVED.fullmatch(cut):
        cut = f"_{cut}"
    return cut


def stems_of(records: Iterable[Record]) -> dict[str, str]:
    """Give each record's id a safe stem; equal ones, also but for case, get a number.

    Examples:
        >>> stems_of([Record("A", "g", image=None), Record("a", "g", image=None)])
        {'A': 'A', 'a': 'a_2'}
    """
    taken: set[str] = set()
    stems = {}
    for record in records:
        base = safe_stem(record.id)
        stem, number = base, 2
        while stem.casefold() in taken:
            stem, number = f"{base}_{number}", number + 1
        taken.add(stem.casefold())
        stems[record.id] = stem
    return stems
