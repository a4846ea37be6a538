"""From ``LAYOUT:PATH``, a bare path or a manifest to a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# The module and not its names: a manifest opens layouts, so the two import each other.
from penumbra.data import manifest
from penumbra.data.layouts.catalogue import layout_named, look_up
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected

# Two letters at least: "C:\\data" is a Windows path, not a layout named C.
_PREFIX = re.compile(r"(?P<layout>[A-Za-z][\w-]+):(?P<path>.*)", re.DOTALL)


def open_source(
    text: str | Path,
    *,
    target: str | None = None,
    class_names: Sequence[str] | None = None,
    keep_identifiers: bool = False,
) -> Source:
    """Open a source lazily: files are listed, nothing is decoded.

    Args:
        text: ``LAYOUT:PATH`` such as ``folder:photos``, a bare path whose layout is recognised,
            or the path of a manifest (``manifest.csv``).
        target: what the masks show, where the layout offers several.
        class_names: one name per class index, background included.
        keep_identifiers: name groups by the patient ids in DICOM files, where a layout groups by
            them, instead of by pseudonyms. A manifest's groups stay what they are.

    Raises:
        SourceError: unknown layout, missing or unrecognised folder, unknown target, or class names
            that do not fit.
    """
    names = None if class_names is None else tuple(class_names)
    match = _PREFIX.fullmatch(str(text))
    if match is not None and not Path(text).exists():
        layout = layout_named(match["layout"])
        return layout.open(
            match["path"], target=target, class_names=names, keep_identifiers=keep_identifiers
        )
    if manifest.is_manifest(text):
        return manifest.read_manifest(text, target=target, class_names=names)[0]
    if Path(text).suffix.lower() == ".csv" and not Path(text).exists():
        raise SourceError(
            expected(f"the manifest {text}", "an existing file", "a path that does not exist",
                     "checking the spelling, or `penumbra split` to write one")
        )  # fmt: skip
    layout, findings = look_up(text)
    source = layout.open(text, target=target, class_names=names, keep_identifiers=keep_identifiers)
    return replace(source, findings=(*source.findings, *findings)) if findings else source
