"""Files that come or go in the folders of a source while it is audited."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from penumbra.data.layouts.pairs import counted
from penumbra.data.sample import Finding, Record
from penumbra.imaging.files import IMAGE_SUFFIXES

_SUFFIXES = tuple(IMAGE_SUFFIXES)
_MOST = 100
"""Names of either kind that a finding lists."""


def listing(records: Iterable[Record]) -> dict[Path, frozenset[str]]:
    """Name the image files in each folder that a file of the records lies in.

    A folder that cannot be listed counts as empty.
    """
    return {folder: _names(folder) for folder in folders_of(records)}


def folders_of(records: Iterable[Record]) -> tuple[Path, ...]:
    """Give each folder that a file of the records lies in, once, in their order."""
    # As text, since a path builds its parent anew for each of a million files.
    files = (str(path) for record in records for path in (record.image, *record.masks))
    return tuple(map(Path, dict.fromkeys(map(os.path.dirname, files))))


def _names(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return frozenset()
    return frozenset(name for name in names if name.lower().endswith(_SUFFIXES))


def changed_folders(before: Mapping[Path, frozenset[str]]) -> tuple[Finding, ...]:
    """Find what came or went since `listing`: one ``changed-folder`` (warning) a folder.

    Args:
        before: what the folders held when the audit began.
    """
    findings = []
    for folder, names in before.items():
        now = _names(folder)
        came, went = sorted(now - names), sorted(names - now)
        if came or went:
            files = counted(len(came), "file", "files")
            message = (
                f"{folder.name}/ changed while it was audited: {files} came and {len(went)} went; "
                "audit again to have them counted."
            )
            details = {"came": came[:_MOST], "went": went[:_MOST]}
            findings.append(Finding("changed-folder", "warning", (), message, details))
    return tuple(findings)
